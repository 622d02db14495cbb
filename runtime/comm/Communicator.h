// Communicator: how the ranks of a job exchange bytes. A rank is one of the workers that run a plan together: a thread
// (comm/local) or a process (comm/mpi). Backends move bytes and never add numbers: sums are kernels, in an order that
// the plan names.
//
// Rules of use:
// - One communicator for each rank, used by one thread (the first that calls it).
// - All ranks of a group run the same operations on it, in the same order. Ranks check that of each other.
// - An operation is started, and later waited for. In between its memory belongs to comm.
// - An error ends the job: give it to abort(), or destroy the communicator. Then every other rank's calls fail too
//   (local), or its process ends (mpi).
// Codes: MOEC-N001 .. N006 here, N007 Launch.h, N008 .. N010 mpi/MpiWorld.h; table in runtime/README.md.
#ifndef MOEC_RUNTIME_COMM_COMMUNICATOR_H
#define MOEC_RUNTIME_COMM_COMMUNICATOR_H

#include "runtime/base/Hash.h"
#include "runtime/base/Result.h"

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace moec::rt {

class Transport;
class RingWriter;
struct CommGroup;
struct Exchange;
enum class ExchangeKind : uint32_t;

/// Where an operation stands, for reports. All ranks of a group pass the same name and instruction. Copied at once.
struct CommSite {
  std::string_view name;      // of the value: "layers.0.moe.up.grad"
  uint32_t instruction = 0;   // index in the plan
  std::string_view section{}; // of the spec: "/model/moe"
};

/// What this rank gave to operations, without start checks, barriers and broadcasts. A pure function of the calls: it
/// does not depend on backend or timing.
struct CommCounters {
  uint64_t operations = 0;
  uint64_t bytes = 0; // sent to other ranks; what a rank keeps for itself does not count
};

struct CommOptions {
  /// How long a rank waits for others before meet() is done, in seconds: programs start, data is opened.
  double startSeconds = 1800;
  /// How long afterwards. Longer than the slowest rank takes between two operations.
  double waitSeconds = 600;
  /// Where each rank keeps a ring of what it did last (Ring.h); empty: it keeps none.
  std::string ringFolder{};
};

using CommRequest = uint64_t;

/// All ranks, in order.
inline constexpr uint32_t kWorldGroup = 0;

class Communicator {
public:
  Communicator(std::unique_ptr<Transport> transport, const CommOptions &options);
  /// Without close() before, this rank ends before its work was done: as abort().
  ~Communicator();
  Communicator(const Communicator &) = delete;
  Communicator &operator=(const Communicator &) = delete;

  int rank() const;
  int size() const;
  /// "local", "mpi (Open MPI 4.1.4)".
  std::string_view backend() const;

  /// Collective over the world, before the first step: all ranks come here, and all run the same plan. Starts the
  /// watch. MOEC-N003 names the ranks of each plan, or says that a plan for `plannedSize` ranks runs on another number.
  Status meet(const Digest &plan, int plannedSize);

  /// Collective over the world: all ranks call it in the same order, each with the group that it belongs to. Together
  /// these groups partition the world (as one axis of a mesh does), or it is MOEC-N002 on every rank. Parts of an
  /// operation lie in the order of `ranks`, which is the same on all of them.
  Result<uint32_t> addGroup(std::span<const int> ranks);

  /// Ranks of a group of addGroup().
  std::span<const int> ranksOf(uint32_t group) const;

  /// `receive` gets the `bytes` bytes of each rank, in group order. In place: send == receive + position * bytes.
  Result<CommRequest> allGather(uint32_t group, const void *send, void *receive, uint64_t bytes, const CommSite &site);
  /// Part i of `send` goes to rank i of the group, part i of `receive` comes from it; `bytes` each.
  Result<CommRequest> allToAll(uint32_t group, const void *send, void *receive, uint64_t bytes, const CommSite &site);
  /// As allToAll, with a number of rows of `rowBytes` for each rank of the group. Rows for and from one rank lie
  /// together, in group order. sendRows[i] here is what receiveRows says at rank i: counts were exchanged before.
  Result<CommRequest> exchangeRows(uint32_t group, const void *send, std::span<const uint64_t> sendRows, void *receive,
                                   std::span<const uint64_t> receiveRows, uint64_t rowBytes, const CommSite &site);

  /// Returns when the operation's memory is free again, with the received bytes in place. Every request is waited for
  /// once, in any order. MOEC-N004 after the time limit, with the ranks that have not come.
  Status wait(CommRequest request);
  /// Gives the backend a moment; never waits. Some MPIs move large messages only while they are called, so an executor
  /// with requests under way calls it between launches.
  Status progress();

  /// Returns when all ranks of the group have called it.
  Status barrier(uint32_t group, const CommSite &site);
  /// Rank 0's bytes to everybody; small control data. Returns when all ranks have called it.
  Status broadcast(void *data, uint64_t bytes, const CommSite &site);

  /// One record of `bytes` from each rank; `all` holds this rank's at its place. Counted as control.
  Status gatherControl(void *all, uint64_t bytes, const CommSite &site);

  /// Ends the job, everywhere, in bounded time. On mpi: prints `why`, and this process ends with `exitCode`. On local:
  /// the other ranks' calls fail with MOEC-N006, and no memory given to this communicator is used any more.
  void abort(const Status &why, int exitCode = 1);
  /// Collective over the world: all work is done. MOEC-N001 when requests have not been waited for.
  Status close();

  const CommCounters &counters(uint32_t group) const;
  /// Over all groups.
  CommCounters counters() const;
  /// Barriers, broadcasts and start checks. Headers of messages are counted nowhere.
  const CommCounters &controlCounters() const { return control; }

  /// For the ring: operations from here on belong to this step.
  void beginStep(uint64_t step);

private:
  Status checkCaller(uint32_t group);
  Result<Exchange *> prepare(ExchangeKind kind, uint32_t group, uint64_t unit, const CommSite &site);
  Result<CommRequest> post(Exchange &exchange);
  Status finish(std::unique_ptr<Exchange> exchange);
  /// Starts, and waits.
  Status run(Result<CommRequest> request);
  Status failed(const Status &why);
  Status lateStatus(const Exchange &exchange, double seconds);

  std::unique_ptr<Transport> transport;
  CommOptions options;
  std::deque<CommGroup> groups; // exchanges point into it
  std::vector<std::unique_ptr<Exchange>> pending, spare;
  CommCounters control;
  Status failure; // once failed, always failed
  std::thread::id caller;
  CommRequest nextRequest = 1;
  std::unique_ptr<RingWriter> ring; // may be null
  bool met = false, closed = false;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_COMM_COMMUNICATOR_H
