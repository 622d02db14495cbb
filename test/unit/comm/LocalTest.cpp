// The conformance suite on ranks that are threads.
#include "test/unit/comm/Conformance.h"

#include "runtime/base/Clock.h"
#include "runtime/comm/local/LocalWorld.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <functional>
#include <thread>

using namespace moec::rt;
using namespace moec::rt::test;

using Ranks = std::vector<std::unique_ptr<Communicator>>;

static Ranks localWorld(int size, const CommOptions &options = {}) {
  Result<Ranks> world = makeLocalWorld(size, options);
  REQUIRE(world.isOk());
  return std::move(*world);
}

/// Runs `work` on a thread for each rank; a communicator ends with its thread.
static void onEachRank(Ranks ranks, const std::function<void(Communicator &)> &work) {
  std::vector<std::thread> threads;
  for (auto &rank : ranks)
    threads.emplace_back([&work, comm = std::move(rank)] { work(*comm); });
  for (std::thread &thread : threads)
    thread.join();
}

TEST_CASE("local: every operation on 1, 2, 3, 4 and 8 ranks", "[local]") {
  for (int size : {1, 2, 3, 4, 8})
    for (const GoodCase &test : goodCases()) {
      INFO(test.name << " on " << size << " ranks");
      std::vector<Findings> findings(size);
      onEachRank(localWorld(size), [&](Communicator &comm) {
        Findings &own = findings[comm.rank()];
        own.expectOk(meetAll(comm), "meet", __LINE__);
        test.run(comm, own);
        own.expectOk(comm.close(), "close", __LINE__);
      });
      for (int rank = 0; rank < size; ++rank)
        for (const std::string &text : findings[rank].texts) {
          INFO("rank " << rank << ", Conformance.cpp, " << text);
          CHECK(false);
        }
    }
}

TEST_CASE("local: all cases one after another on one world", "[local]") {
  std::vector<Findings> findings(4);
  onEachRank(localWorld(4), [&](Communicator &comm) {
    Findings &own = findings[comm.rank()];
    own.expectOk(meetAll(comm), "meet", __LINE__);
    for (const GoodCase &test : goodCases())
      test.run(comm, own);
    own.expectOk(comm.close(), "close", __LINE__);
  });
  for (const Findings &own : findings)
    CHECK(own.texts == std::vector<std::string>{});
}

// Hidden: ten seconds.
TEST_CASE("local: delays of 200 seeds", "[.seeds]") {
  auto delays = std::find_if(goodCases().begin(), goodCases().end(),
                             [](const GoodCase &c) { return c.name == std::string("delays"); });
  REQUIRE(delays != goodCases().end());
  for (delaySeed = 1; delaySeed <= 200; ++delaySeed) {
    int size = delaySeed % 2 ? 4 : 8;
    std::vector<Findings> findings(size);
    onEachRank(localWorld(size), [&](Communicator &comm) {
      Findings &own = findings[comm.rank()];
      own.expectOk(meetAll(comm), "meet", __LINE__);
      delays->run(comm, own);
      own.expectOk(comm.close(), "close", __LINE__);
    });
    INFO("seed " << delaySeed);
    for (const Findings &own : findings)
      CHECK(own.texts == std::vector<std::string>{});
  }
  delaySeed = 0;
}

TEST_CASE("local: a fault ends every rank in bounded time, with its words", "[local]") {
  for (int size : {1, 2, 3, 8})
    for (const FaultCase &test : faultCases()) {
      if (size < test.leastRanks)
        continue;
      INFO(test.name << " on " << size << " ranks");
      std::vector<Status> statuses(size);
      double start = nowSeconds();
      onEachRank(localWorld(size, test.options()), [&](Communicator &comm) { statuses[comm.rank()] = test.run(comm); });
      CHECK(nowSeconds() - start < 10);
      std::string all;
      for (const Status &status : statuses) {
        CHECK_FALSE(status.isOk());
        all += status.text() + "\n";
      }
      INFO(all);
      for (const char *words : test.words) {
        INFO(words);
        CHECK(all.find(words) != std::string::npos);
      }
      CHECK(all.find("MOEC-X999") == std::string::npos);
    }
}

TEST_CASE("local: who stopped is named, and who failed first", "[local]") {
  std::vector<Status> statuses(4);
  onEachRank(localWorld(4, {10, 0.2}), [&](Communicator &comm) {
    if (!meetAll(comm).isOk())
      return;
    // Ranks 1 and 3 are the group of one axis; 3 does not come. The others wait in another operation.
    int partner = comm.rank() ^ 2;
    Result<uint32_t> axis =
        comm.addGroup(std::vector<int>{std::min(comm.rank(), partner), std::max(comm.rank(), partner)});
    if (comm.rank() == 3)
      std::this_thread::sleep_for(std::chrono::milliseconds(900));
    else if (comm.rank() != 1)
      std::this_thread::sleep_for(std::chrono::milliseconds(600));
    statuses[comm.rank()] = comm.barrier(comm.rank() == 1 ? *axis : kWorldGroup, {"there", 4, "/parallel"});
  });
  CHECK(statuses[1].text() == "MOEC-N004: /parallel: rank 1 waited 0.2 s in barrier of \"there\" (instruction 4), "
                              "operation 0 of group 1 (ranks 1, 3), and rank 3 has not come to it; look at what it did "
                              "last. If it is only slow, raise MOEC_WAIT_SECONDS");
  for (int rank : {0, 2, 3})
    CHECK(statuses[rank].text() == "MOEC-N006: rank 1 ended the job: " + statuses[1].text());
}

TEST_CASE("local: who waits hears at once that another rank has ended", "[local]") {
  double start = nowSeconds();
  std::vector<Status> statuses(3);
  onEachRank(localWorld(3, {100, 100}), [&](Communicator &comm) {
    statuses[comm.rank()] = meetAll(comm);
    if (comm.rank() == 2)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    else if (statuses[comm.rank()].isOk())
      statuses[comm.rank()] = comm.barrier(kWorldGroup, {"x"});
  });
  CHECK(nowSeconds() - start < 30);
  for (int rank : {0, 1})
    CHECK(statuses[rank].text() == "MOEC-N006: rank 2 ended before its work was done");
}

TEST_CASE("local: the words for ranks of other plans name all of them", "[local]") {
  std::vector<Status> statuses(8);
  onEachRank(localWorld(8), [&](Communicator &comm) {
    Digest plan{uint8_t(comm.rank() == 3 || comm.rank() == 7 ? 0xbb : 0xaa)};
    statuses[comm.rank()] = comm.meet(plan, 8);
  });
  for (const Status &status : statuses)
    CHECK(status.text() == "MOEC-N003: ranks run different plans (ranks 0-2, 4-6: aa00000000000000; ranks 3, 7: "
                           "bb00000000000000); give all of them the same plan file or spec, and the same moec");
}

TEST_CASE("local: starting waits for nobody, and whoever waits copies for those who compute", "[local]") {
  Ranks ranks = localWorld(3);
  uint8_t send[3] = {10, 11, 12}, receive[3][3] = {};
  CommRequest requests[3];
  // One thread starts for all: a start that waited would never return.
  for (int i = 0; i < 3; ++i) {
    Result<CommRequest> request = ranks[i]->allGather(kWorldGroup, &send[i], receive[i], 1, {"x"});
    REQUIRE(request.isOk());
    requests[i] = *request;
  }
  REQUIRE(ranks[0]->wait(requests[0]).isOk());
  for (int i : {1, 2}) {
    REQUIRE(ranks[i]->progress().isOk());
    REQUIRE(ranks[i]->progress().isOk());
    CHECK(ranks[i]->wait(requests[i]).isOk());
  }
  for (auto &row : receive)
    CHECK(std::equal(row, row + 3, send));
}

TEST_CASE("local: a rank is one thread", "[local]") {
  Ranks ranks = localWorld(1);
  CHECK(ranks[0]->barrier(kWorldGroup, {"first"}).isOk());
  std::thread([&] { CHECK(ranks[0]->barrier(kWorldGroup, {"second"}).code() == "MOEC-N001"); }).join();
  CHECK(ranks[0]->close().isOk());
  CHECK(ranks[0]->barrier(kWorldGroup, {"third"}).code() == "MOEC-N001");
  CHECK(makeLocalWorld(0).status().code() == "MOEC-N001");
}
