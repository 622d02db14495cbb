#include "runtime/comm/local/LocalWorld.h"

#include "runtime/comm/Exchange.h"

#include <cassert>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>

namespace moec::rt {

namespace {

/// One operation of one group, from the first rank that comes until the last that has waited.
struct Meeting {
  std::vector<Exchange *> members; // by position; nullptr: has not come
  size_t arrived = 0;
  size_t taken = 0;  // receivers whose copies somebody has begun
  size_t copied = 0; // receivers whose copies are done
  size_t left = 0;
  std::condition_variable changed;
};

/// Shared by the threads; everything is guarded by `mutex`, except the bytes that are copied.
struct World {
  std::mutex mutex;
  Status failure; // of the first rank that failed
  int failedRank = -1;
  size_t copying = 0; // threads that copy now
  std::condition_variable copiesDone;
  /// By group, first rank of the group, and number of the operation. Few are open at a time.
  std::map<std::tuple<uint32_t, int, uint64_t>, Meeting> meetings;
};

struct LocalExchange : Exchange {
  Meeting *meeting = nullptr; // nullptr: done
};

using Lock = std::unique_lock<std::mutex>;

class LocalTransport : public Transport {
public:
  LocalTransport(std::shared_ptr<World> world, int rank, int size)
      : Transport("local", rank, size), world(std::move(world)) {}

  std::unique_ptr<Exchange> makeExchange() override { return std::make_unique<LocalExchange>(); }
  Status addGroup(const CommGroup &) override { return Status::ok(); }
  Status post(Exchange &exchange) override;
  Result<bool> finish(Exchange &exchange, double seconds) override;
  std::vector<int> missing(const Exchange &exchange) override;
  void fail(const Status &why) override;
  void abort(const Status &why, int) override { fail(why); }
  Status close() override { return Status::ok(); }

private:
  Status failureSeenHere() const;
  void failLocked(Lock &lock, const Status &why);
  void copyFor(Lock &lock, Meeting &meeting, size_t receiver);

  std::shared_ptr<World> world;
};

} // namespace

/// The world's failure in this rank's words. What is about all ranks (they disagree, or one has ended) is told to all
/// in the same words, whoever found it.
Status LocalTransport::failureSeenHere() const {
  for (const char *code : {"MOEC-N002", "MOEC-N003", "MOEC-N005", "MOEC-N006"})
    if (world->failure.code() == code)
      return world->failure;
  if (world->failedRank == rank())
    return world->failure;
  return Status::error("MOEC-N006", "", "rank ", world->failedRank, " ended the job: ", world->failure.text());
}

static Status compare(const Exchange &a, const Exchange &b) {
  size_t aPlace = a.group->position, bPlace = b.group->position;
  ExchangeHeader toB = a.header, toA = b.header;
  toB.bytes = a.parts[bPlace].sendBytes;
  toA.bytes = b.parts[aPlace].sendBytes;
  MOEC_RETURN_IF_ERROR(checkAgreement(a, toB, toA, b.parts[aPlace].receiveBytes));
  return checkAgreement(a, toA, toB, a.parts[bPlace].receiveBytes);
}

Status LocalTransport::post(Exchange &exchange) {
  Lock lock(world->mutex);
  if (!world->failure.isOk())
    return failureSeenHere();
  const CommGroup &group = *exchange.group;
  Meeting &meeting = world->meetings[{group.id, group.ranks.front(), exchange.header.sequence}];
  static_cast<LocalExchange &>(exchange).meeting = &meeting;
  meeting.members.resize(group.size());
  assert(!meeting.members[group.position] && "a rank comes once to each operation");
  for (Exchange *other : meeting.members)
    if (other)
      if (Status status = compare(exchange, *other); !status.isOk()) {
        failLocked(lock, status);
        return status;
      }
  meeting.members[group.position] = &exchange;
  if (++meeting.arrived == group.size())
    meeting.changed.notify_all();
  return Status::ok();
}

/// Copies what one member of the meeting receives, without the lock.
void LocalTransport::copyFor(Lock &lock, Meeting &meeting, size_t receiver) {
  ++world->copying;
  lock.unlock();
  Exchange &to = *meeting.members[receiver];
  for (size_t i = 0; i < to.parts.size(); ++i) {
    const std::byte *from = meeting.members[i]->parts[receiver].send;
    if (to.parts[i].receiveBytes && from != to.parts[i].receive)
      std::memcpy(to.parts[i].receive, from, to.parts[i].receiveBytes);
  }
  lock.lock();
  if (++meeting.copied == meeting.members.size())
    meeting.changed.notify_all();
  if (--world->copying == 0)
    world->copiesDone.notify_all();
}

Result<bool> LocalTransport::finish(Exchange &exchange, double seconds) {
  using Clock = std::chrono::steady_clock;
  auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  auto &own = static_cast<LocalExchange &>(exchange);
  if (!own.meeting)
    return true;
  Meeting &meeting = *own.meeting;
  Lock lock(world->mutex);
  size_t size = exchange.group->size();
  auto waitFor = [&](auto &&condition) {
    meeting.changed.wait_until(lock, deadline, [&] { return !world->failure.isOk() || condition(); });
    return world->failure.isOk() && condition();
  };
  if (waitFor([&] { return meeting.arrived == size; }))
    while (world->failure.isOk() && meeting.taken < size)
      copyFor(lock, meeting, meeting.taken++);
  bool done = waitFor([&] { return meeting.copied == size; });
  if (!world->failure.isOk())
    return failureSeenHere();
  if (!done)
    return false;
  own.meeting = nullptr;
  if (++meeting.left == size)
    world->meetings.erase({exchange.group->id, exchange.group->ranks.front(), exchange.header.sequence});
  return true;
}

std::vector<int> LocalTransport::missing(const Exchange &exchange) {
  Lock lock(world->mutex);
  const Meeting &meeting = *static_cast<const LocalExchange &>(exchange).meeting;
  std::vector<int> ranks;
  for (size_t i = 0; i < meeting.members.size(); ++i)
    if (!meeting.members[i])
      ranks.push_back(exchange.group->ranks[i]);
  return ranks;
}

/// Nobody begins to copy any more; returns when those who do have ended, so that memory is free.
void LocalTransport::failLocked(Lock &lock, const Status &why) {
  if (world->failure.isOk()) {
    world->failure = why;
    world->failedRank = rank();
    for (auto &[key, meeting] : world->meetings)
      meeting.changed.notify_all();
  }
  world->copiesDone.wait(lock, [&] { return world->copying == 0; });
}

void LocalTransport::fail(const Status &why) {
  Lock lock(world->mutex);
  failLocked(lock, why);
}

Result<std::vector<std::unique_ptr<Communicator>>> makeLocalWorld(int ranks, const CommOptions &options) {
  if (ranks < 1)
    return Status::error("MOEC-N001", "", "a job of ", ranks, " ranks; it needs at least one");
  auto world = std::make_shared<World>();
  std::vector<std::unique_ptr<Communicator>> communicators;
  for (int rank = 0; rank < ranks; ++rank)
    communicators.push_back(
        std::make_unique<Communicator>(std::make_unique<LocalTransport>(world, rank, ranks), options));
  return communicators;
}

} // namespace moec::rt
