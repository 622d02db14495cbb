// All ranks of a plan as threads of this process.
#ifndef MOEC_RUNTIME_API_LOCALRANKS_H
#define MOEC_RUNTIME_API_LOCALRANKS_H

#include "runtime/api/moec.h"
#include "runtime/comm/Launch.h"
#include "runtime/comm/local/LocalWorld.h"
#include "runtime/exec/Devices.h"

#include <algorithm>
#include <thread>
#include <vector>

namespace moec::rt {

/// Options of one of the ranks of which `here` run in this machine: they share its threads, and only the first prints,
/// traces, writes the plan and listens to signals.
inline RunOptions optionsOfRank(const RunOptions &options, int rank, int here) {
  RunOptions own = options;
  if (own.threads == 0)
    own.threads = std::max(1u, defaultThreads() / static_cast<unsigned>(here));
  if (rank == 0)
    return own;
  own.out = nullptr;
  own.json = own.profile = own.handleSignals = false;
  own.tracePath.clear();
  own.planBytes = {};
  return own;
}

/// run(options, communicator) on every rank; the first one's result, or the error of the rank that failed first. A rank
/// whose `run` failed must have ended the others (Communicator::abort).
template <typename T, typename Run> Result<T> runLocalRanks(const Plan &plan, const RunOptions &options, Run run) {
  MOEC_ASSIGN_OR_RETURN(CommOptions limits, commOptions(currentEnvironment()));
  auto numRanks = static_cast<int>(plan.numRanks());
  MOEC_ASSIGN_OR_RETURN(std::vector<std::unique_ptr<Communicator>> world, makeLocalWorld(numRanks, limits));
  std::vector<Status> ends(world.size());
  auto runRank = [&](int rank) {
    auto index = static_cast<size_t>(rank);
    Result<T> result = run(optionsOfRank(options, rank, numRanks), world[index].get());
    ends[index] = result.isOk() ? Status::ok() : result.status();
    return result;
  };
  std::vector<std::thread> others;
  for (int rank = 1; rank < numRanks; ++rank)
    others.emplace_back(runRank, rank);
  Result<T> first = runRank(0);
  for (std::thread &other : others)
    other.join();
  constexpr char kOtherEnded[] = "MOEC-N006";
  if (first.isOk() || first.status().code() != kOtherEnded)
    return first;
  for (size_t rank = 1; rank < ends.size(); ++rank)
    if (!ends[rank].isOk() && ends[rank].code() != kOtherEnded)
      return Status::error(ends[rank].code(), ends[rank].place(), "rank ", rank, ": ", ends[rank].message());
  return first;
}

} // namespace moec::rt

#endif // MOEC_RUNTIME_API_LOCALRANKS_H
