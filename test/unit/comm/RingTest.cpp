// Rings: what is in them after SIGKILL, files that are damaged, and the exact words about jobs that hang.
#include "test/unit/comm/Conformance.h"

#include "runtime/base/File.h"
#include "runtime/comm/Exchange.h"
#include "runtime/comm/Ring.h"
#include "runtime/comm/local/LocalWorld.h"

#include <catch2/catch.hpp>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace moec::rt;
using namespace moec::rt::test;

namespace {
struct TempFolder {
  std::string path = "/tmp/moec-ring-XXXXXX";
  TempFolder() { REQUIRE(::mkdtemp(path.data())); }
  ~TempFolder() { (void)removeTree(path); }
};

/// A ring made by hand, so that times, hosts and processes are known.
class HandMade {
public:
  HandMade(int rank, int size, double started = 1000) {
    header.rank = rank;
    header.size = size;
    header.process = 100 + rank;
    header.started = started;
    std::strcpy(header.host, rank < 2 ? "node-a" : "node-b");
  }

  HandMade &step(uint64_t number, double seconds) {
    current = number;
    return add({0, seconds, 0, RingEvent::Step, 0, 0, 0, 0, 0, 0, {}});
  }

  HandMade &operation(RingEvent event, double seconds, const char *name, uint32_t instruction, uint64_t sequence,
                      uint32_t group = 0, int leader = 0, uint32_t groupSize = 0) {
    RingRecord record{0,      seconds, 0,        event, uint32_t(ExchangeKind::AllGather), instruction, group,
                      leader, 0,       sequence, {}};
    record.groupSize = groupSize ? groupSize : uint32_t(header.size);
    std::strcpy(record.name, name);
    return add(record);
  }

  HandMade &add(RingRecord record) {
    record.number = records.size() + 1;
    record.step = current;
    records.push_back(record);
    return *this;
  }

  std::string bytes() {
    header.capacity = uint32_t(records.size());
    return std::string(reinterpret_cast<char *>(&header), sizeof header) +
           std::string(reinterpret_cast<char *>(records.data()), records.size() * sizeof(RingRecord));
  }

  void write(const std::string &folder) {
    REQUIRE(writeFileAtomic(folder + "/rank-" + std::to_string(header.rank) + ".ring", bytes()).isOk());
  }

  RingHeader header;
  std::vector<RingRecord> records;

private:
  uint64_t current = 0;
};
} // namespace

static std::string diagnosed(const std::string &folder) {
  Result<std::string> text = diagnoseRings(folder);
  return text.isOk() ? *text : text.status().text();
}

TEST_CASE("ring: the newest records are kept, in order", "[ring]") {
  TempFolder folder;
  auto writer = RingWriter::create(folder.path + "/rings", 2, 4, 8);
  REQUIRE(writer.isOk());
  for (uint64_t step = 1; step <= 20; ++step)
    (*writer)->beginStep(step);
  Result<Ring> ring = readRing(folder.path + "/rings/rank-2.ring");
  REQUIRE(ring.isOk());
  CHECK(ring->header.rank == 2);
  CHECK(ring->header.size == 4);
  CHECK(ring->header.process == ::getpid());
  REQUIRE(ring->records.size() == 8);
  for (size_t i = 0; i < 8; ++i) {
    CHECK(ring->records[i].step == 13 + i);
    CHECK(ring->records[i].number == 13 + i);
  }
  // Another job takes its place.
  REQUIRE(RingWriter::create(folder.path + "/rings", 2, 3).isOk());
  CHECK(readRing(folder.path + "/rings/rank-2.ring")->records.empty());
  CHECK(RingWriter::create("/proc/nowhere", 0, 1).status().code() == "MOEC-I003");
}

TEST_CASE("ring: what a rank did is there after SIGKILL", "[ring]") {
  TempFolder folder;
  pid_t child = ::fork();
  if (child == 0) {
    auto world = makeLocalWorld(1, {20, 20, folder.path});
    Communicator &comm = *world->front();
    uint8_t byte = 0;
    bool met = comm.meet({}, 1).isOk();
    comm.beginStep(41);
    Result<CommRequest> request = comm.allGather(kWorldGroup, &byte, &byte, 1, {"weights", 7, "/model"});
    ::raise(met && request.isOk() ? SIGKILL : SIGTERM);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WTERMSIG(status) == SIGKILL);
  Result<Ring> ring = readRing(folder.path + "/rank-0.ring");
  REQUIRE(ring.isOk());
  REQUIRE(ring->records.size() == 5); // the meeting: start, wait, done
  CHECK(ring->records[3].event == RingEvent::Step);
  CHECK(ring->records[4].event == RingEvent::Start);
  CHECK(ring->records[4].step == 41);
  CHECK(std::string(ring->records[4].name) == "weights");
  CHECK(diagnosed(folder.path)
            .find("computes, after starting all_gather of \"weights\" (instruction 7), operation 1 of "
                  "group 0 (1 rank)") != std::string::npos);
}

TEST_CASE("ring: no place for it is an error at the start", "[ring]") {
  auto world = makeLocalWorld(1, {20, 20, "/proc/nowhere"});
  REQUIRE(world.isOk());
  CHECK(world->front()->meet({}, 1).code() == "MOEC-I003");
}

TEST_CASE("ring: damaged files are refused or read as far as they are whole", "[ring]") {
  TempFolder folder;
  std::string path = folder.path + "/rank-0.ring";
  HandMade good(0, 2);
  good.step(1, 5).step(2, 6).step(3, 7);
  auto read = [&](const std::string &bytes) {
    REQUIRE(writeFileAtomic(path, bytes).isOk());
    Result<Ring> ring = readRing(path);
    return ring.isOk() ? std::to_string(ring->records.size()) : ring.status().text();
  };
  std::string whole = good.bytes();
  CHECK(read(whole) == "3");
  CHECK(read("") == "MOEC-N011: " + path + ": this file of 0 bytes is too short for a ring");
  CHECK(read(whole.substr(0, 100)) == "MOEC-N011: " + path + ": this file of 100 bytes is too short for a ring");
  for (size_t cut = 128; cut < whole.size(); cut += 37)
    CHECK(read(whole.substr(0, cut)).find("bytes instead of 512") != std::string::npos);
  CHECK(read("X" + whole.substr(1)).find("this file is no ring of a rank") != std::string::npos);
  auto damaged = [&](auto &&damage) {
    HandMade other = good;
    std::string bytes = other.bytes();
    damage(*reinterpret_cast<RingHeader *>(bytes.data()), *reinterpret_cast<RingRecord *>(bytes.data() + 256));
    return read(bytes);
  };
  std::string head = "MOEC-N011: " + path + ": the head of this ring is damaged, or another version of moec wrote it";
  CHECK(damaged([](RingHeader &h, RingRecord &) { h.capacity = 0xffffffff; }) == head);
  CHECK(damaged([](RingHeader &h, RingRecord &) { h.recordBytes = 64; }) == head);
  CHECK(damaged([](RingHeader &h, RingRecord &) { h.rank = 2; }) == head);
  CHECK(damaged([](RingHeader &h, RingRecord &) { h.rank = -1; }) == head);
  CHECK(damaged([](RingHeader &h, RingRecord &) { std::memset(h.host, 'x', sizeof h.host); }) == "3");
  // Half written when its rank died.
  CHECK(damaged([](RingHeader &, RingRecord &r) { r.number = 0; }) == "2");
  CHECK(damaged([](RingHeader &, RingRecord &r) { r.event = RingEvent(77); }) == "2");
  CHECK(damaged([](RingHeader &, RingRecord &r) { r.kind = 99; }) == "2");
  CHECK(damaged([](RingHeader &, RingRecord &r) { std::memset(r.name, 'x', sizeof r.name); }) == "2");
}

TEST_CASE("ring: a job in which a rank skips an operation of an axis", "[ring]") {
  TempFolder folder;
  for (int rank = 0; rank < 4; ++rank) {
    HandMade ring(rank, 4);
    ring.step(11, 99).operation(RingEvent::Start, 99.5, "w", 3, 20).operation(RingEvent::Wait, 99.5, "w", 3, 20);
    ring.operation(RingEvent::Done, 99.5, "w", 3, 20).step(12, 100);
    int leader = rank % 2;
    ring.operation(RingEvent::Start, 101, "rows", 8, 5, 1, leader, 2);
    ring.operation(RingEvent::Wait, 101, "rows", 8, 5, 1, leader, 2);
    ring.operation(RingEvent::Done, 102, "rows", 8, 5, 1, leader, 2);
    if (rank != 3) {
      ring.operation(RingEvent::Start, 103, "grads", 9, 6, 1, leader, 2);
      ring.operation(RingEvent::Wait, 103 + rank, "grads", 9, 6, 1, leader, 2);
      if (rank != 1) {
        ring.operation(RingEvent::Done, 106, "grads", 9, 6, 1, leader, 2);
        ring.operation(RingEvent::Start, 107, "w", 3, 21).operation(RingEvent::Wait, 107.5, "w", 3, 21);
      }
    }
    ring.write(folder.path);
  }
  CHECK(
      diagnosed(folder.path) ==
      "rank  host    process  step  seconds before the last record  what it did last\n"
      "   0  node-a      100    12                             0.0  waits in all_gather of \"w\" (instruction 3), "
      "operation 21 of group 0 (4 ranks from rank 0)\n"
      "   1  node-a      101    12                             3.5  waits in all_gather of \"grads\" (instruction 9), "
      "operation 6 of group 1 (2 ranks from rank 1)\n"
      "   2  node-b      102    12                             0.0  waits in all_gather of \"w\" (instruction 3), "
      "operation 21 of group 0 (4 ranks from rank 0)\n"
      "   3  node-b      103    12                             5.5  computes, after all_gather of \"rows\" "
      "(instruction 8), operation 5 of group 1 (2 ranks from rank 1)\n"
      "ranks 0, 2 are stuck in all_gather of \"w\" (instruction 3), operation 21 of group 0 (4 ranks from rank 0), and "
      "ranks 1, 3 have not come to it\n"
      "rank 1 is stuck in all_gather of \"grads\" (instruction 9), operation 6 of group 1 (2 ranks from rank 1), and "
      "rank 3 has not come to it\n");
}

TEST_CASE("ring: missing and damaged rings, a rank behind, another order", "[ring]") {
  TempFolder folder;
  HandMade first(0, 4), second(1, 4), old(3, 8, 10);
  first.step(12, 100).operation(RingEvent::Start, 101, "a", 3, 7).operation(RingEvent::Wait, 101, "a", 3, 7);
  second.step(11, 99).operation(RingEvent::Start, 100, "b", 4, 7).operation(RingEvent::Failed, 102, "b", 4, 7);
  old.step(1, 1);
  first.write(folder.path);
  second.write(folder.path);
  old.write(folder.path);
  REQUIRE(writeFileAtomic(folder.path + "/rank-2.ring", "MOECRNG1").isOk());
  CHECK(
      diagnosed(folder.path) ==
      "rank  host    process  step  seconds before the last record  what it did last\n"
      "   0  node-a      100    12                             1.0  waits in all_gather of \"a\" (instruction 3), "
      "operation 7 of group 0 (4 ranks from rank 0)\n"
      "   1  node-a      101    11                             0.0  failed in all_gather of \"b\" (instruction 4), "
      "operation 7 of group 0 (4 ranks from rank 0)\n"
      "MOEC-N011: " +
          folder.path +
          "/rank-2.ring: this file of 8 bytes is too short for a ring\n"
          "the ring of rank 3 is of another job, of 8 ranks\n"
          "no ring of ranks 2, 3\n"
          "rank 0 is at all_gather of \"a\" (instruction 3), operation 7 of group 0 (4 ranks from rank 0), and rank 1 "
          "at all_gather of \"b\" (instruction 4), operation 7 of group 0 (4 ranks from rank 0): they run different "
          "operations\n"
          "rank 1 is behind: at step 11, others at step 12\n");
  TempFolder empty;
  CHECK(diagnosed(empty.path) == "MOEC-N011: " + empty.path + ": there is no ring in this folder (rank-0.ring, ...)");
  CHECK(diagnosed("/nowhere").find("MOEC-I001: /nowhere: cannot read this folder") == 0);
}

TEST_CASE("ring: a job whose rank stopped names it afterwards", "[ring]") {
  TempFolder folder;
  auto world = makeLocalWorld(3, {20, kShortLimit, folder.path});
  REQUIRE(world.isOk());
  std::vector<std::thread> threads;
  for (auto &rank : *world)
    threads.emplace_back([comm = std::move(rank)] {
      if (!meetAll(*comm).isOk())
        return;
      comm->beginStep(1);
      if (comm->rank() == 1)
        std::this_thread::sleep_for(std::chrono::duration<double>(2 * kShortLimit));
      (void)comm->barrier(kWorldGroup, {"loss", 5, "/losses"});
    });
  for (std::thread &thread : threads)
    thread.join();
  std::string text = diagnosed(folder.path);
  INFO(text);
  CHECK(text.find("ranks 0, 2 are stuck in barrier of \"loss\" (instruction 5), operation 1 of group 0 (3 ranks from "
                  "rank 0), and rank 1 has not come to it\n") != std::string::npos);
}
