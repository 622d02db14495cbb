// Cases of the conformance suite in which the job must end: on every rank, in bounded time, with words that name who
// did what.
#include "test/unit/comm/Conformance.h"

#include <chrono>
#include <thread>
#include <vector>

namespace moec::rt::test {

static Status gatherBytes(Communicator &comm, uint64_t bytes, const CommSite &site) {
  std::vector<uint8_t> send(bytes), receive(bytes * comm.size());
  Result<CommRequest> request = comm.allGather(kWorldGroup, send.data(), receive.data(), bytes, site);
  return request.isOk() ? comm.wait(*request) : request.status();
}

/// After a failure nothing works, and says why.
static Status failedForGood(Communicator &comm, Status status) {
  if (status.isOk())
    status = comm.barrier(kWorldGroup, {"after the fault", 99});
  if (status.isOk())
    return status;
  Status again = gatherBytes(comm, 1, {"again", 100});
  return again.code() == status.code() ? status : Status::error("MOEC-X999", "", "second call: ", again.text());
}

static Status otherBytes(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  return failedForGood(comm, gatherBytes(comm, comm.rank() == 1 ? 40000 : 48000, {"w", 3, "/model/moe"}));
}

static Status otherRows(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  std::vector<uint64_t> out(comm.size(), 2), in(comm.size(), 2);
  if (comm.rank() == 0)
    out[1] = 3;
  std::vector<uint8_t> send(8 * 3 * comm.size()), receive(send.size());
  Result<CommRequest> request =
      comm.exchangeRows(kWorldGroup, send.data(), out, receive.data(), in, 8, {"tokens", 4, "/model/moe"});
  return failedForGood(comm, request.isOk() ? comm.wait(*request) : request.status());
}

static Status otherRowSize(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  // As many bytes on each rank.
  uint64_t rows = comm.rank() == 1 ? 2 : 4, rowBytes = comm.rank() == 1 ? 16 : 8;
  std::vector<uint64_t> counts(comm.size(), rows);
  std::vector<uint8_t> send(32 * comm.size()), receive(send.size());
  Result<CommRequest> request =
      comm.exchangeRows(kWorldGroup, send.data(), counts, receive.data(), counts, rowBytes, {"tokens", 4});
  return failedForGood(comm, request.isOk() ? comm.wait(*request) : request.status());
}

static Status otherOrder(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  bool turned = comm.rank() == 1;
  Status status = gatherBytes(comm, 64, turned ? CommSite{"b", 6} : CommSite{"a", 5});
  if (status.isOk())
    status = gatherBytes(comm, 64, turned ? CommSite{"a", 5} : CommSite{"b", 6});
  return failedForGood(comm, status);
}

static Status otherKind(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  std::vector<uint8_t> send(64 * comm.size()), receive(64 * comm.size());
  if (comm.rank() != 1)
    return failedForGood(comm, gatherBytes(comm, 64, {"x", 8}));
  Result<CommRequest> request = comm.allToAll(kWorldGroup, send.data(), receive.data(), 64, {"x", 8});
  return failedForGood(comm, request.isOk() ? comm.wait(*request) : request.status());
}

static Status skippedOperation(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  if (comm.rank() != 1)
    MOEC_RETURN_IF_ERROR(gatherBytes(comm, 64, {"skipped", 9}));
  return failedForGood(comm, gatherBytes(comm, 64, {"next", 10}));
}

static Status otherPlan(Communicator &comm) {
  Digest plan{uint8_t(comm.rank() == 1 ? 0xbb : 0xaa)};
  return failedForGood(comm, comm.meet(plan, comm.size()));
}

static Status otherSize(Communicator &comm) { return failedForGood(comm, comm.meet(Digest{}, comm.size() + 4)); }

static Status overlappingGroups(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  std::vector<int> ranks = comm.rank() == 0 ? std::vector<int>{0, 1} : std::vector<int>{comm.rank()};
  return failedForGood(comm, comm.addGroup(ranks).status());
}

static Status turnedGroup(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  std::vector<int> ranks;
  for (int i = 0; i < comm.size(); ++i)
    ranks.push_back(comm.rank() == 1 ? comm.size() - 1 - i : i);
  return failedForGood(comm, comm.addGroup(ranks).status());
}

static Status groupWithoutItself(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  std::vector<int> ranks{comm.rank() == 1 ? 0 : comm.rank()};
  return failedForGood(comm, comm.addGroup(ranks).status());
}

static Status rankTwice(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  std::vector<int> ranks{comm.rank()};
  if (comm.rank() == 1)
    ranks.push_back(1);
  return failedForGood(comm, comm.addGroup(ranks).status());
}

static Status noSuchRank(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  std::vector<int> ranks{comm.rank()};
  if (comm.rank() == 1)
    ranks.push_back(64);
  return failedForGood(comm, comm.addGroup(ranks).status());
}

/// Rank 1 does something else for much longer than the limit.
static Status stoppedRank(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  if (comm.rank() == 1)
    std::this_thread::sleep_for(std::chrono::duration<double>(2 * kShortLimit));
  return failedForGood(comm, gatherBytes(comm, 1000, {"grads", 11, "/optimizer"}));
}

static Status endedRank(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  if (comm.rank() == 1)
    return Status::error("MOEC-D001", "text.txt", "no such file"); // its communicator is destroyed
  return failedForGood(comm, gatherBytes(comm, 1000, {"grads", 11, "/optimizer"}));
}

static Status abortedRank(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  if (comm.rank() == 1)
    comm.abort(Status::error("MOEC-D001", "text.txt", "no such file"));
  return failedForGood(comm, gatherBytes(comm, 1000, {"grads", 11, "/optimizer"}));
}

static Status closedEarly(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  if (comm.rank() == 1)
    return comm.close();
  return failedForGood(comm, gatherBytes(comm, 1000, {"grads", 11, "/optimizer"}));
}

static Status forgottenRequest(Communicator &comm) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  static thread_local uint8_t send[8], receive[8 * 64]; // outlive the call: nobody waits for it
  Result<CommRequest> request = comm.allGather(kWorldGroup, send, receive, 8, {"forgotten", 12});
  MOEC_RETURN_IF_ERROR(request.status());
  return failedForGood(comm, comm.close());
}

std::span<const FaultCase> faultCases() {
  static const FaultCase cases[] = {
      {"other_bytes",
       2,
       otherBytes,
       {"MOEC-N005: /model/moe: rank ", "rank 1 has 40000 bytes", " has 48000 bytes",
        " for each rank in all_gather of \"w\" (instruction 3), operation 1 of group 0 (ranks 0"}},
      {"other_rows",
       2,
       otherRows,
       {"MOEC-N005: /model/moe: rank 0 sends 24 bytes to rank 1, which expects 16, in exchange_rows of \"tokens\" "
        "(instruction 4), operation 1 of group 0 (ranks 0"}},
      {"other_row_size", 2, otherRowSize, {"rank 1 has 16 bytes", " has 8 bytes", " for each row in exchange_rows"}},
      {"other_order",
       2,
       otherOrder,
       {"MOEC-N005: rank ", "rank 1 ", "all_gather of \"b\" (instruction 6)", "all_gather of \"a\" (instruction 5)"}},
      {"other_kind", 2, otherKind, {"MOEC-N005: rank ", "rank 1 ", "all_gather of \"x\"", "all_to_all of \"x\""}},
      {"skipped_operation",
       2,
       skippedOperation,
       {"MOEC-N005: rank ", "rank 1 ", "\"skipped\" (instruction 9)", "\"next\" (instruction 10)"}},
      {"other_plan", 2, otherPlan, {"MOEC-N003: ranks run different plans (rank", "rank 1: bb00000000000000"}},
      {"other_size", 1, otherSize, {"MOEC-N003: the plan is for ", " ranks and the job has "}},
      {"overlapping_groups",
       2,
       overlappingGroups,
       {"MOEC-N002: groups do not partition the world: rank 0 gave [0, 1], a group of 2, and only rank 0 gave this "
        "list"}},
      {"turned_group", 2, turnedGroup, {"MOEC-N002: groups do not partition the world: rank 0 gave [0, 1"}},
      {"group_without_itself",
       2,
       groupWithoutItself,
       {"MOEC-N002: rank 1 gave the group [0], which does not have this rank in it"}},
      {"rank_twice", 2, rankTwice, {"MOEC-N002: rank 1 gave the group [1, 1], which names a rank twice"}},
      {"no_such_rank",
       2,
       noSuchRank,
       {"MOEC-N002: rank 1 gave the group [1, 64], which names a rank that is not in 0.."}},
      {"stopped_rank",
       2,
       stoppedRank,
       {"MOEC-N004: /optimizer: rank ",
        " waited 0.5 s in all_gather of \"grads\" (instruction 11), operation 1 of group 0 (ranks 0",
        "), and rank 1 has not come to it; look at what it did last"},
       true},
      {"ended_rank", 2, endedRank, {"rank 1 ended before its work was done"}},
      {"aborted_rank", 2, abortedRank, {"MOEC-D001: text.txt: no such file"}},
      {"closed_early",
       2,
       closedEarly,
       {"MOEC-N005: ", "rank 1 ", "all_gather of \"grads\" (instruction 11)", "barrier of \"the end\""}},
      {"forgotten_request",
       1,
       forgottenRequest,
       {"MOEC-N001: rank ", " closes while all_gather of \"forgotten\" (instruction 12) has not been waited for"}},
  };
  return cases;
}

} // namespace moec::rt::test
