#include "runtime/comm/Communicator.h"

#include "runtime/base/CheckedMath.h"
#include "runtime/base/Clock.h"
#include "runtime/base/Text.h"
#include "runtime/comm/Exchange.h"
#include "runtime/comm/Ring.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>

namespace moec::rt {

static Status wrongCall(const CommSite &site, std::string_view kind, const std::string &what) {
  return Status::error("MOEC-N001", std::string(site.section), kind, " of \"", site.name, "\" (instruction ",
                       site.instruction, "): ", what);
}

static bool overlap(const void *a, uint64_t aBytes, const void *b, uint64_t bBytes) {
  uintptr_t aBegin = reinterpret_cast<uintptr_t>(a), bBegin = reinterpret_cast<uintptr_t>(b);
  return aBytes && bBytes && (aBegin <= bBegin ? bBegin - aBegin < aBytes : aBegin - bBegin < bBytes);
}

/// Bytes of all parts; nothing when no memory can be that large.
static std::optional<uint64_t> totalBytes(uint64_t bytes, size_t parts) {
  std::optional<uint64_t> total = checkedMul<uint64_t>(bytes, parts);
  return total && *total <= uint64_t(INT64_MAX) ? total : std::nullopt;
}

Communicator::Communicator(std::unique_ptr<Transport> newTransport, const CommOptions &options)
    : transport(std::move(newTransport)), options(options) {
  CommGroup &world = groups.emplace_back();
  world.ranks.resize(transport->size());
  std::iota(world.ranks.begin(), world.ranks.end(), 0);
  world.position = transport->rank();
  failure = transport->addGroup(world);
}

Communicator::~Communicator() {
  if (!closed)
    transport->abort(failure.isOk() ? Status::error("MOEC-N006", "", "rank ", rank(), " ended before its work was done")
                                    : failure,
                     1);
}

int Communicator::rank() const { return transport->rank(); }
int Communicator::size() const { return transport->size(); }
std::string_view Communicator::backend() const { return transport->name(); }

//--- Starting an operation --------------------------------------------------------------------------------------------

Status Communicator::checkCaller(uint32_t group) {
  if (!failure.isOk())
    return failure;
  if (closed)
    return Status::error("MOEC-N001", "", "rank ", rank(), " has closed its communicator");
  if (caller == std::thread::id())
    caller = std::this_thread::get_id();
  if (caller != std::this_thread::get_id())
    return Status::error("MOEC-N001", "", "a second thread of rank ", rank(),
                         " communicates; all calls of a rank come from one thread");
  if (group >= groups.size())
    return Status::error("MOEC-N001", "", "there is no group ", group, "; there are ", groups.size());
  return Status::ok();
}

Result<Exchange *> Communicator::prepare(ExchangeKind kind, uint32_t group, uint64_t unit, const CommSite &site) {
  MOEC_RETURN_IF_ERROR(checkCaller(group));
  if (spare.empty())
    spare.push_back(transport->makeExchange());
  Exchange &exchange = *spare.back();
  exchange.group = &groups[group];
  exchange.header = {};
  exchange.header.kind = kind;
  exchange.header.rank = rank();
  exchange.header.unit = unit;
  exchange.header.instruction = site.instruction;
  std::memcpy(exchange.header.name, site.name.data(), std::min(site.name.size(), sizeof(exchange.header.name) - 1));
  exchange.section = site.section;
  exchange.parts.assign(exchange.group->size(), {});
  return &exchange;
}

static bool isControl(ExchangeKind kind) {
  return kind == ExchangeKind::Barrier || kind == ExchangeKind::Broadcast || kind == ExchangeKind::Control;
}

/// `exchange` is the last of `spare`; from here on it is pending.
Result<CommRequest> Communicator::post(Exchange &exchange) {
  CommGroup &group = *exchange.group;
  exchange.header.sequence = group.operations++;
  exchange.request = nextRequest++;
  CommCounters &counters = isControl(exchange.header.kind) ? control : group.counters;
  ++counters.operations;
  for (size_t i = 0; i < exchange.parts.size(); ++i)
    if (i != group.position)
      counters.bytes += exchange.parts[i].sendBytes;
  pending.push_back(std::move(spare.back()));
  spare.pop_back();
  Status status = transport->post(exchange);
  if (ring)
    ring->add(status.isOk() ? RingEvent::Start : RingEvent::Failed, exchange);
  if (!status.isOk())
    return failed(status);
  return exchange.request;
}

Result<CommRequest> Communicator::allGather(uint32_t group, const void *send, void *receive, uint64_t bytes,
                                            const CommSite &site) {
  MOEC_ASSIGN_OR_RETURN(Exchange * exchange, prepare(ExchangeKind::AllGather, group, bytes, site));
  size_t count = exchange->group->size(), own = exchange->group->position;
  auto *to = static_cast<std::byte *>(receive);
  std::optional<uint64_t> total = totalBytes(bytes, count);
  if (!total)
    return wrongCall(site, "all_gather", "the parts of all ranks together are larger than memory can be");
  if (send != to + own * bytes && overlap(send, bytes, receive, *total))
    return wrongCall(site, "all_gather",
                     "what is sent overlaps what is received; in place, send is this rank's part of receive");
  for (size_t i = 0; i < count; ++i)
    exchange->parts[i] = {static_cast<const std::byte *>(send), bytes, to + i * bytes, bytes};
  return post(*exchange);
}

Result<CommRequest> Communicator::allToAll(uint32_t group, const void *send, void *receive, uint64_t bytes,
                                           const CommSite &site) {
  MOEC_ASSIGN_OR_RETURN(Exchange * exchange, prepare(ExchangeKind::AllToAll, group, bytes, site));
  size_t count = exchange->group->size();
  std::optional<uint64_t> total = totalBytes(bytes, count);
  if (!total)
    return wrongCall(site, "all_to_all", "the parts of all ranks together are larger than memory can be");
  if (overlap(send, *total, receive, *total))
    return wrongCall(site, "all_to_all", "what is sent overlaps what is received");
  for (size_t i = 0; i < count; ++i)
    exchange->parts[i] = {static_cast<const std::byte *>(send) + i * bytes, bytes,
                          static_cast<std::byte *>(receive) + i * bytes, bytes};
  return post(*exchange);
}

Result<CommRequest> Communicator::exchangeRows(uint32_t group, const void *send, std::span<const uint64_t> sendRows,
                                               void *receive, std::span<const uint64_t> receiveRows, uint64_t rowBytes,
                                               const CommSite &site) {
  MOEC_ASSIGN_OR_RETURN(Exchange * exchange, prepare(ExchangeKind::ExchangeRows, group, rowBytes, site));
  size_t count = exchange->group->size(), own = exchange->group->position;
  if (sendRows.size() != count || receiveRows.size() != count)
    return wrongCall(site, "exchange_rows",
                     std::to_string(sendRows.size()) + " counts of rows to send and " +
                         std::to_string(receiveRows.size()) + " to receive; the group has " + std::to_string(count) +
                         " ranks");
  if (sendRows[own] != receiveRows[own])
    return wrongCall(site, "exchange_rows",
                     "this rank sends itself " + std::to_string(sendRows[own]) + " rows and expects " +
                         std::to_string(receiveRows[own]));
  uint64_t sent = 0, received = 0;
  for (size_t i = 0; i < count; ++i) {
    auto out = checkedMul(sendRows[i], rowBytes), in = checkedMul(receiveRows[i], rowBytes);
    auto outEnd = out ? checkedAdd<uint64_t>(sent, *out) : std::nullopt;
    auto inEnd = in ? checkedAdd<uint64_t>(received, *in) : std::nullopt;
    if (!outEnd || !inEnd || *outEnd > uint64_t(INT64_MAX) || *inEnd > uint64_t(INT64_MAX))
      return wrongCall(site, "exchange_rows", "the rows together are larger than memory can be");
    exchange->parts[i] = {static_cast<const std::byte *>(send) + sent, *out,
                          static_cast<std::byte *>(receive) + received, *in};
    sent = *outEnd;
    received = *inEnd;
  }
  if (overlap(send, sent, receive, received))
    return wrongCall(site, "exchange_rows", "what is sent overlaps what is received");
  return post(*exchange);
}

//--- Finishing it -----------------------------------------------------------------------------------------------------

Status Communicator::failed(const Status &why) {
  if (failure.isOk()) {
    failure = why;
    transport->fail(why);
  }
  return failure;
}

Status Communicator::lateStatus(const Exchange &exchange, double seconds) {
  std::vector<int> missing = transport->missing(exchange);
  std::string who = missing.empty()
                        ? "all ranks have come to it, and its bytes have not arrived"
                        : rankList(missing) + (missing.size() == 1 ? " has not come to it" : " have not come to it");
  return Status::error("MOEC-N004", exchange.section, "rank ", rank(), " waited ", formatFixed(seconds, 1), " s in ",
                       describeOperation(exchange.header), ", operation ", exchange.header.sequence, " of ",
                       exchange.group->text(), ", and ", who,
                       missing.empty() ? std::string("; look at the network between them")
                                       : "; look at what it did last. If it is only slow, raise " +
                                             std::string(met ? "MOEC_WAIT_SECONDS" : "MOEC_START_SECONDS"));
}

Status Communicator::finish(std::unique_ptr<Exchange> exchange) {
  double limit = met ? options.waitSeconds : options.startSeconds;
  if (ring)
    ring->add(RingEvent::Wait, *exchange);
  Result<bool> done = transport->finish(*exchange, limit);
  if (ring)
    ring->add(done.isOk() && *done ? RingEvent::Done : RingEvent::Failed, *exchange);
  if (done.isOk() && *done) {
    spare.push_back(std::move(exchange));
    return Status::ok();
  }
  Status status = failed(done.isOk() ? lateStatus(*exchange, limit) : done.status());
  pending.push_back(std::move(exchange)); // backends may still know it
  return status;
}

Status Communicator::wait(CommRequest request) {
  MOEC_RETURN_IF_ERROR(checkCaller(kWorldGroup));
  auto found = std::find_if(pending.begin(), pending.end(), [&](const auto &e) { return e->request == request; });
  if (found == pending.end())
    return Status::error("MOEC-N001", "", "rank ", rank(), " waits for request ", request,
                         request && request < nextRequest ? ", which it has waited for already"
                                                          : ", which was never started");
  std::unique_ptr<Exchange> exchange = std::move(*found);
  pending.erase(found);
  return finish(std::move(exchange));
}

Status Communicator::progress() {
  MOEC_RETURN_IF_ERROR(checkCaller(kWorldGroup));
  for (auto &exchange : pending)
    if (Result<bool> done = transport->finish(*exchange, 0); !done.isOk())
      return failed(done.status());
  return Status::ok();
}

Status Communicator::run(Result<CommRequest> request) {
  if (!request.isOk())
    return request.status();
  return wait(*request);
}

Status Communicator::barrier(uint32_t group, const CommSite &site) {
  MOEC_ASSIGN_OR_RETURN(Exchange * exchange, prepare(ExchangeKind::Barrier, group, 0, site));
  return run(post(*exchange));
}

Status Communicator::broadcast(void *data, uint64_t bytes, const CommSite &site) {
  MOEC_ASSIGN_OR_RETURN(Exchange * exchange, prepare(ExchangeKind::Broadcast, kWorldGroup, bytes, site));
  auto *at = static_cast<std::byte *>(data);
  if (rank() == 0)
    for (int i = 1; i < size(); ++i)
      exchange->parts[i] = {at, bytes, nullptr, 0};
  else
    exchange->parts[0] = {nullptr, 0, at, bytes};
  return run(post(*exchange));
}

//--- Start and end ----------------------------------------------------------------------------------------------------

Status Communicator::meet(const Digest &plan, int plannedSize) {
  MOEC_RETURN_IF_ERROR(checkCaller(kWorldGroup));
  if (!options.ringFolder.empty()) {
    auto made = RingWriter::create(options.ringFolder, rank(), size());
    if (!made.isOk())
      return failed(made.status());
    ring = std::move(*made);
  }
  std::vector<Digest> plans(size());
  plans[rank()] = plan;
  MOEC_RETURN_IF_ERROR(gatherControl(plans.data(), sizeof(Digest), {"plan hash", 0, {}}));
  std::map<std::string, std::vector<int>> ranksOfPlan;
  for (int i = 0; i < size(); ++i)
    ranksOfPlan[toHex(plans[i])].push_back(i);
  if (ranksOfPlan.size() > 1) {
    std::string who;
    for (const auto &[hash, ranks] : ranksOfPlan)
      who += (who.empty() ? "" : "; ") + rankList(ranks) + ": " + hash.substr(0, 16);
    return failed(Status::error("MOEC-N003", "", "ranks run different plans (", who,
                                "); give all of them the same plan file or spec, and the same moec"));
  }
  if (plannedSize != size())
    return failed(Status::error("MOEC-N003", "", "the plan is for ", plannedSize, " ranks and the job has ", size(),
                                "; start as many as the plan is for, or compile for ", size()));
  met = true;
  return Status::ok();
}

namespace {
/// Of a rank's list by itself.
enum class ListFault : int32_t { None, NotInIt, NoSuchRank, Twice };

/// What a rank says of its own group. Equal lists have equal digests, so all ranks come to the same verdict from these.
struct GroupRecord {
  Digest digest;
  ListFault fault;
  int32_t count;
  int32_t first[6]; // for words
};
} // namespace

static std::string describeGroup(const GroupRecord &record) {
  std::string text = "[";
  for (int i = 0; i < std::min(record.count, 6); ++i)
    text += (i ? ", " : "") + std::to_string(record.first[i]);
  return text + (record.count > 6 ? ", ...]" : "]");
}

static ListFault listFault(std::span<const int> ranks, int rank, int size) {
  std::vector<int> sorted(ranks.begin(), ranks.end());
  std::sort(sorted.begin(), sorted.end());
  if (!std::binary_search(sorted.begin(), sorted.end(), rank))
    return ListFault::NotInIt;
  if (sorted.front() < 0 || sorted.back() >= size)
    return ListFault::NoSuchRank;
  return std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end() ? ListFault::None : ListFault::Twice;
}

static std::string describeFault(ListFault fault, int size) {
  switch (fault) {
  case ListFault::NotInIt:
    return "does not have this rank in it";
  case ListFault::NoSuchRank:
    return "names a rank that is not in 0.." + std::to_string(size - 1);
  default:
    return "names a rank twice";
  }
}

Result<uint32_t> Communicator::addGroup(std::span<const int> ranks) {
  std::vector<GroupRecord> all(size());
  GroupRecord &own = all[rank()];
  own = {hashBytes(std::as_bytes(ranks)), listFault(ranks, rank(), size()), int32_t(ranks.size()), {}};
  std::copy_n(ranks.begin(), std::min<size_t>(ranks.size(), 6), own.first);
  MOEC_RETURN_IF_ERROR(gatherControl(all.data(), sizeof(GroupRecord), {"groups", uint32_t(groups.size()), {}}));
  std::map<Digest, std::vector<int>> ranksOfList;
  for (int i = 0; i < size(); ++i) {
    if (all[i].fault != ListFault::None)
      return failed(Status::error("MOEC-N002", "", "rank ", i, " gave the group ", describeGroup(all[i]), ", which ",
                                  describeFault(all[i].fault, size())));
    ranksOfList[all[i].digest].push_back(i);
  }
  // Each rank is in its own list, and lists name nobody twice. So they partition the world if as many ranks gave a list
  // as it names.
  for (int i = 0; i < size(); ++i) {
    const std::vector<int> &givers = ranksOfList[all[i].digest];
    if (givers.size() != size_t(all[i].count))
      return failed(Status::error("MOEC-N002", "", "groups do not partition the world: rank ", i, " gave ",
                                  describeGroup(all[i]), ", a group of ", all[i].count, ", and only ", rankList(givers),
                                  " gave this list; all ranks of a group give the same list, in the "
                                  "same order"));
  }
  CommGroup &group = groups.emplace_back();
  group.id = uint32_t(groups.size() - 1);
  group.ranks.assign(ranks.begin(), ranks.end());
  group.position = std::find(ranks.begin(), ranks.end(), rank()) - ranks.begin();
  if (Status status = transport->addGroup(group); !status.isOk())
    return failed(status);
  return group.id;
}

Status Communicator::gatherControl(void *all, uint64_t bytes, const CommSite &site) {
  MOEC_ASSIGN_OR_RETURN(Exchange * exchange, prepare(ExchangeKind::Control, kWorldGroup, bytes, site));
  auto *at = static_cast<std::byte *>(all);
  for (int i = 0; i < size(); ++i)
    exchange->parts[i] = {at + rank() * bytes, bytes, at + i * bytes, bytes};
  return run(post(*exchange));
}

void Communicator::abort(const Status &why, int exitCode) {
  if (closed)
    return;
  if (failure.isOk())
    failure = why;
  transport->abort(failure, exitCode);
}

Status Communicator::close() {
  if (closed)
    return Status::ok();
  MOEC_RETURN_IF_ERROR(checkCaller(kWorldGroup));
  if (!pending.empty())
    return failed(Status::error("MOEC-N001", pending.front()->section, "rank ", rank(), " closes while ",
                                describeOperation(pending.front()->header), " has not been waited for"));
  MOEC_RETURN_IF_ERROR(barrier(kWorldGroup, {"the end", 0, {}}));
  if (Status status = transport->close(); !status.isOk())
    return failed(status);
  closed = true;
  if (ring) {
    RingRecord end;
    end.event = RingEvent::End;
    ring->add(end);
  }
  return Status::ok();
}

void Communicator::beginStep(uint64_t step) {
  if (ring)
    ring->beginStep(step);
}

std::span<const int> Communicator::ranksOf(uint32_t group) const {
  assert(group < groups.size() && "no such group");
  return groups[group].ranks;
}

const CommCounters &Communicator::counters(uint32_t group) const {
  assert(group < groups.size() && "no such group");
  return groups[group].counters;
}

CommCounters Communicator::counters() const {
  CommCounters total;
  for (const CommGroup &group : groups) {
    total.operations += group.counters.operations;
    total.bytes += group.counters.bytes;
  }
  return total;
}

} // namespace moec::rt
