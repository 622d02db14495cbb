#include "runtime/comm/mpi/MpiTransport.h"

#include "runtime/base/Clock.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <sched.h>
#include <thread>

namespace moec::rt {

/// A rank that waits gives its processor to others at once, and sleeps when it has waited this long; there may be more
/// ranks than processors.
static constexpr double kYieldSeconds = 200e-6;
static constexpr auto kSleep = std::chrono::microseconds(50);
/// How long a launcher has to pass on what a rank said before it ended the job.
static constexpr auto kLastWords = std::chrono::milliseconds(200);

namespace {
/// A message that has not ended.
struct OpenMessage {
  uint64_t request;
  size_t place; // of the other rank in the group
  bool header, receive;
};
} // namespace

struct MpiTransport::MpiExchange : Exchange {
  std::vector<ExchangeHeader> sent, received; // by position; messages read and write them
  std::vector<bool> arrived;                  // headers
  std::vector<OpenMessage> open;
  size_t failedPlace = SIZE_MAX; // from there came bytes with an error; the header may tell why
  int failedCode = 0;
};

Status mpiError(const MoecMpiPlugin &plugin, int code, const std::string &what, const std::string &section) {
  char text[512] = "";
  plugin.describe(code, text, sizeof text);
  return Status::error("MOEC-N010", section, what, ": MPI says \"", text, "\" (code ", code, ")");
}

std::unique_ptr<Exchange> MpiTransport::makeExchange() { return std::make_unique<MpiExchange>(); }

/// Each group has a tag for headers and one for bytes. Messages of one tag between two ranks stay in order, and ranks
/// run the operations of a group in one order, so that is enough.
static int tagOf(const CommGroup &group, bool header) { return int(2 * group.id + (header ? 0 : 1)); }

Status MpiTransport::addGroup(const CommGroup &group) {
  if (tagOf(group, false) <= largestTag)
    return Status::ok();
  return Status::error("MOEC-N010", "", "this MPI has tags for ", (largestTag + 1) / 2, " groups, and this is group ",
                       group.id);
}

Status MpiTransport::post(Exchange &base) {
  auto &exchange = static_cast<MpiExchange &>(base);
  const CommGroup &group = *exchange.group;
  size_t count = group.size();
  exchange.sent.assign(count, exchange.header);
  exchange.received.assign(count, {});
  exchange.arrived.assign(count, false);
  exchange.open.clear();
  exchange.failedPlace = SIZE_MAX;

  auto message = [&](size_t place, bool header, bool receive, std::byte *data, uint64_t bytes) {
    // MPI counts in int. Both sides cut alike, as they agree on the size.
    for (uint64_t done = 0; done < bytes; done += chunkBytes) {
      uint64_t request = 0;
      int chunk = int(std::min(chunkBytes, bytes - done)), rank = group.ranks[place], tag = tagOf(group, header);
      int code = receive ? plugin.receive(data + done, chunk, rank, tag, &request)
                         : plugin.send(data + done, chunk, rank, tag, &request);
      if (code != 0)
        return mpiError(plugin, code, describeOperation(exchange.header), exchange.section);
      exchange.open.push_back({request, place, header, receive});
    }
    return Status::ok();
  };
  auto bytesOf = [](ExchangeHeader &header) { return reinterpret_cast<std::byte *>(&header); };
  // What comes has a place before anything is sent, and nobody sends to the same rank first.
  for (bool receive : {true, false})
    for (size_t i = 1; i < count; ++i) {
      size_t place = (group.position + (receive ? count - i : i)) % count;
      ExchangePart &part = exchange.parts[place];
      exchange.sent[place].bytes = part.sendBytes;
      ExchangeHeader &header = receive ? exchange.received[place] : exchange.sent[place];
      MOEC_RETURN_IF_ERROR(message(place, true, receive, bytesOf(header), sizeof header));
      MOEC_RETURN_IF_ERROR(message(place, false, receive, receive ? part.receive : const_cast<std::byte *>(part.send),
                                   receive ? part.receiveBytes : part.sendBytes));
    }
  ExchangePart &own = exchange.parts[group.position];
  if (own.receiveBytes && own.send != own.receive)
    std::memcpy(own.receive, own.send, own.receiveBytes);
  return Status::ok();
}

Status MpiTransport::headerArrived(MpiExchange &exchange, size_t place) {
  exchange.arrived[place] = true;
  const ExchangeHeader &header = exchange.received[place];
  if (header.magic != ExchangeHeader().magic)
    return Status::error("MOEC-N010", exchange.section, "what came from rank ", exchange.group->ranks[place], " in ",
                         describeOperation(exchange.header), " was not sent by this version of moec");
  return checkAgreement(exchange, header, exchange.header, exchange.parts[place].receiveBytes);
}

Result<bool> MpiTransport::advance(MpiExchange &exchange) {
  for (size_t i = 0; i < exchange.open.size();) {
    OpenMessage &message = exchange.open[i];
    int done = 0;
    int code = plugin.test(&message.request, &done);
    if (code != 0 && message.receive && !message.header) { // as when the other sends more than is expected
      exchange.failedPlace = message.place;
      exchange.failedCode = code;
      done = 1;
    } else if (code != 0) {
      return mpiError(plugin, code, describeOperation(exchange.header), exchange.section);
    }
    if (!done) {
      ++i;
      continue;
    }
    OpenMessage ended = message;
    exchange.open[i] = exchange.open.back();
    exchange.open.pop_back();
    if (ended.header && ended.receive)
      MOEC_RETURN_IF_ERROR(headerArrived(exchange, ended.place));
  }
  if (exchange.failedPlace != SIZE_MAX && exchange.arrived[exchange.failedPlace])
    return mpiError(plugin, exchange.failedCode, describeOperation(exchange.header), exchange.section);
  return exchange.open.empty();
}

Result<bool> MpiTransport::finish(Exchange &base, double seconds) {
  auto &exchange = static_cast<MpiExchange &>(base);
  double start = nowSeconds();
  while (true) {
    Result<bool> done = advance(exchange);
    double passed = nowSeconds() - start;
    if (!done.isOk() || *done || passed >= seconds)
      return done;
    if (passed < kYieldSeconds)
      ::sched_yield();
    else
      std::this_thread::sleep_for(kSleep);
  }
}

std::vector<int> MpiTransport::missing(const Exchange &base) {
  const auto &exchange = static_cast<const MpiExchange &>(base);
  std::vector<int> ranks;
  for (size_t i = 0; i < exchange.arrived.size(); ++i)
    if (i != exchange.group->position && !exchange.arrived[i])
      ranks.push_back(exchange.group->ranks[i]);
  return ranks;
}

void endMpiJob(const MoecMpiPlugin &plugin, int rank, const Status &why, int exitCode) {
  std::fprintf(stderr, "moec: rank %d ends the job: %s\n", rank, why.text().c_str());
  std::fflush(stderr);
  // Launchers end a job without reading what its ranks have just written.
  std::this_thread::sleep_for(kLastWords);
  plugin.abort(exitCode);
}

void MpiTransport::abort(const Status &why, int exitCode) { endMpiJob(plugin, rank(), why, exitCode); }

Status MpiTransport::close() {
  int code = plugin.finalize();
  return code == 0 ? Status::ok() : mpiError(plugin, code, "ending", "");
}

} // namespace moec::rt
