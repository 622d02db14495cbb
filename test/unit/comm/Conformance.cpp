#include "test/unit/comm/Conformance.h"

#include "runtime/base/Clock.h"
#include "runtime/base/Random.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <thread>

namespace moec::rt::test {

void Findings::expect(bool holds, const char *what, int line) {
  if (!holds && texts.size() < 10)
    texts.push_back("line " + std::to_string(line) + ": " + what);
}

void Findings::expectOk(const Status &status, const char *what, int line) {
  if (!status.isOk())
    expect(false, (std::string(what) + ": " + status.text()).c_str(), line);
}

void Findings::expectCode(const Status &status, const char *code, const char *what, int line) {
  if (status.code() != code)
    expect(false, (std::string(what) + ": " + status.text() + ", expected " + code).c_str(), line);
}

#define EXPECT(...) findings.expect((__VA_ARGS__), #__VA_ARGS__, __LINE__)
#define EXPECT_OK(...) findings.expectOk(__VA_ARGS__, #__VA_ARGS__, __LINE__)
#define EXPECT_CODE(code, ...) findings.expectCode(__VA_ARGS__, code, #__VA_ARGS__, __LINE__)

using Bytes = std::vector<uint8_t>;

static constexpr uint8_t kGuard = 0xA5;

uint64_t delaySeed = 0;

static uint64_t draw(uint64_t stream, uint64_t index) { return randomBits(stream, RandomStream::DataSet, index); }

/// The byte at `index` of what rank `from` sends to rank `to`; another in each repetition.
static uint8_t byteOf(int from, int to, uint64_t index, uint64_t repetition = 0) {
  uint64_t x = (uint64_t(from) * 131 + uint64_t(to) * 17 + index * 7 + repetition * 29 + 3) * 0x9E3779B97F4A7C15;
  return uint8_t(x >> 56);
}

static Bytes bytesOf(int from, int to, uint64_t count, uint64_t repetition = 0) {
  Bytes bytes(count);
  for (uint64_t i = 0; i < count; ++i)
    bytes[i] = byteOf(from, to, i, repetition);
  return bytes;
}

static bool holds(const Bytes &buffer, uint64_t offset, const Bytes &part) {
  return offset + part.size() <= buffer.size() && std::equal(part.begin(), part.end(), buffer.begin() + offset);
}

static Status started(Communicator &comm, Result<CommRequest> request) {
  return request.isOk() ? comm.wait(*request) : request.status();
}

static size_t placeIn(std::span<const int> ranks, int rank) {
  return std::find(ranks.begin(), ranks.end(), rank) - ranks.begin();
}

Status meetAll(Communicator &comm) {
  Digest plan{1, 2, 3};
  return comm.meet(plan, comm.size());
}

static constexpr uint64_t kSizes[] = {0, 1, 3, 8, 63, 1000, 4097, 70001};

//--- One operation at a time ------------------------------------------------------------------------------------------

static void gatherOn(Communicator &comm, uint32_t group, uint64_t bytes, bool inPlace, uint64_t repetition,
                     Findings &findings) {
  std::span<const int> ranks = comm.ranksOf(group);
  Bytes send = bytesOf(comm.rank(), -1, bytes, repetition), receive(bytes * ranks.size() + 1, kGuard);
  const void *from = send.data();
  if (inPlace) {
    uint64_t offset = placeIn(ranks, comm.rank()) * bytes;
    std::copy(send.begin(), send.end(), receive.begin() + offset);
    from = receive.data() + offset;
  }
  EXPECT_OK(started(comm, comm.allGather(group, from, receive.data(), bytes, {"gathered", uint32_t(bytes)})));
  for (size_t i = 0; i < ranks.size(); ++i)
    EXPECT(holds(receive, i * bytes, bytesOf(ranks[i], -1, bytes, repetition)));
  EXPECT(receive.back() == kGuard);
}

static void exchangeOn(Communicator &comm, uint32_t group, uint64_t bytes, uint64_t repetition, Findings &findings) {
  std::span<const int> ranks = comm.ranksOf(group);
  Bytes send, receive(bytes * ranks.size() + 1, kGuard);
  for (int to : ranks) {
    Bytes part = bytesOf(comm.rank(), to, bytes, repetition);
    send.insert(send.end(), part.begin(), part.end());
  }
  EXPECT_OK(started(comm, comm.allToAll(group, send.data(), receive.data(), bytes, {"exchanged", uint32_t(bytes)})));
  for (size_t i = 0; i < ranks.size(); ++i)
    EXPECT(holds(receive, i * bytes, bytesOf(ranks[i], comm.rank(), bytes, repetition)));
  EXPECT(receive.back() == kGuard);
}

using RowCount = uint64_t (*)(int from, int to, int size);

static void rowsOn(Communicator &comm, uint32_t group, RowCount count, uint64_t rowBytes, Findings &findings) {
  std::span<const int> ranks = comm.ranksOf(group);
  int size = int(ranks.size()), own = int(placeIn(ranks, comm.rank()));
  std::vector<uint64_t> out(size), in(size);
  Bytes send, expected;
  for (int i = 0; i < size; ++i) {
    out[i] = count(own, i, size);
    in[i] = count(i, own, size);
    Bytes part = bytesOf(comm.rank(), ranks[i], out[i] * rowBytes),
          arriving = bytesOf(ranks[i], comm.rank(), in[i] * rowBytes);
    send.insert(send.end(), part.begin(), part.end());
    expected.insert(expected.end(), arriving.begin(), arriving.end());
  }
  Bytes receive(expected.size() + 1, kGuard);
  EXPECT_OK(started(comm, comm.exchangeRows(group, send.data(), out, receive.data(), in, rowBytes, {"rows", 7})));
  EXPECT(holds(receive, 0, expected));
  EXPECT(receive.back() == kGuard);
}

static void allGatherCase(Communicator &comm, Findings &findings) {
  for (uint64_t bytes : kSizes)
    for (bool inPlace : {false, true})
      gatherOn(comm, kWorldGroup, bytes, inPlace, 0, findings);
}

static void allToAllCase(Communicator &comm, Findings &findings) {
  for (uint64_t bytes : kSizes)
    exchangeOn(comm, kWorldGroup, bytes, 0, findings);
}

static void exchangeRowsCase(Communicator &comm, Findings &findings) {
  RowCount counts[] = {
      [](int from, int to, int) { return uint64_t(from * 7 + to * 3) % 5; },                // unequal, some 0
      [](int, int, int) { return uint64_t(0); },                                            // nothing anywhere
      [](int from, int to, int size) { return uint64_t(to == (from + 1) % size ? 9 : 0); }, // a ring
      [](int, int to, int) { return uint64_t(to == 0 ? 11 : 0); },                          // all to one
      [](int from, int, int size) { return uint64_t(from == size - 1 ? 3 : 0); },           // one to all
  };
  for (RowCount count : counts)
    for (uint64_t rowBytes : {0, 1, 12, 4099})
      rowsOn(comm, kWorldGroup, count, rowBytes, findings);
}

//--- Groups -----------------------------------------------------------------------------------------------------------

/// Ranks of the row (or column) of a mesh with `columns` columns in which this rank is.
static std::vector<int> meshAxis(Communicator &comm, int columns, bool row) {
  std::vector<int> ranks;
  for (int i = 0; i < comm.size(); ++i)
    if (row ? i / columns == comm.rank() / columns : i % columns == comm.rank() % columns)
      ranks.push_back(i);
  return ranks;
}

/// The axes of each mesh of this many ranks, and the world turned around, so that order in a group is seen.
static std::vector<uint32_t> manyGroups(Communicator &comm, Findings &findings) {
  std::vector<uint32_t> groups;
  auto add = [&](const std::vector<int> &ranks) {
    Result<uint32_t> group = comm.addGroup(ranks);
    EXPECT_OK(group.status());
    if (!group.isOk())
      return;
    // All cases trust ranksOf.
    std::span<const int> kept = comm.ranksOf(*group);
    EXPECT(std::equal(kept.begin(), kept.end(), ranks.begin(), ranks.end()));
    groups.push_back(*group);
  };
  for (int columns = 1; columns <= comm.size(); ++columns)
    if (comm.size() % columns == 0) {
      add(meshAxis(comm, columns, true));
      add(meshAxis(comm, columns, false));
    }
  std::vector<int> reversed(comm.size());
  for (int i = 0; i < comm.size(); ++i)
    reversed[i] = comm.size() - 1 - i;
  add(reversed);
  return groups;
}

static void groupsCase(Communicator &comm, Findings &findings) {
  RowCount count = [](int from, int to, int) { return uint64_t(from + 2 * to); };
  for (uint32_t group : manyGroups(comm, findings)) {
    gatherOn(comm, group, 37, false, group, findings);
    gatherOn(comm, group, 37, true, group, findings);
    exchangeOn(comm, group, 5, group, findings);
    rowsOn(comm, group, count, 6, findings);
    EXPECT_OK(comm.barrier(group, {"group"}));
  }
}

//--- Several at a time ------------------------------------------------------------------------------------------------

namespace {
struct Flight {
  CommRequest request = 0;
  uint32_t group = 0;
  bool gather = false;
  uint64_t bytes = 0, repetition = 0;
  Bytes send, receive;
};
} // namespace

static Flight takeOff(Communicator &comm, uint32_t group, uint64_t bytes, uint64_t repetition, Findings &findings) {
  std::span<const int> ranks = comm.ranksOf(group);
  Flight flight{0, group, repetition % 2 == 0, bytes, repetition, {}, Bytes(bytes * ranks.size(), kGuard)};
  if (flight.gather) {
    flight.send = bytesOf(comm.rank(), -1, bytes, repetition);
  } else {
    for (int to : ranks) {
      Bytes part = bytesOf(comm.rank(), to, bytes, repetition);
      flight.send.insert(flight.send.end(), part.begin(), part.end());
    }
  }
  CommSite site{flight.gather ? "flying gather" : "flying exchange", uint32_t(repetition), "/model"};
  Result<CommRequest> request = flight.gather
                                    ? comm.allGather(group, flight.send.data(), flight.receive.data(), bytes, site)
                                    : comm.allToAll(group, flight.send.data(), flight.receive.data(), bytes, site);
  EXPECT_OK(request.status());
  flight.request = request.isOk() ? *request : 0;
  return flight;
}

/// After the wait both buffers are ours: what was received is there, and what we write into `send` reaches nobody.
static void land(Communicator &comm, Flight &flight, Findings &findings) {
  EXPECT_OK(comm.wait(flight.request));
  std::fill(flight.send.begin(), flight.send.end(), 0x5A);
  std::span<const int> ranks = comm.ranksOf(flight.group);
  for (size_t i = 0; i < ranks.size(); ++i)
    EXPECT(holds(flight.receive, i * flight.bytes,
                 bytesOf(ranks[i], flight.gather ? -1 : comm.rank(), flight.bytes, flight.repetition)));
  std::fill(flight.receive.begin(), flight.receive.end(), 0x3C);
}

static void inFlightCase(Communicator &comm, Findings &findings) {
  std::vector<uint32_t> groups = manyGroups(comm, findings);
  groups.push_back(kWorldGroup);
  for (uint64_t round = 0; round < 3; ++round) {
    std::vector<Flight> flights;
    for (uint64_t i = 0; i < 2 * groups.size(); ++i)
      flights.push_back(takeOff(comm, groups[i % groups.size()], 100 + 3000 * (i % 3), 16 * round + i, findings));
    // Each rank waits in an order of its own.
    while (!flights.empty()) {
      size_t next = draw(round * 64 + comm.rank(), flights.size()) % flights.size();
      land(comm, flights[next], findings);
      flights.erase(flights.begin() + next);
    }
  }
}

static void delaysCase(Communicator &comm, Findings &findings) {
  std::vector<uint32_t> groups = manyGroups(comm, findings);
  groups.push_back(kWorldGroup);
  auto pauseSometimes = [&](uint64_t index) {
    uint64_t bits = draw(1000 + 100000 * delaySeed + comm.rank(), index);
    if (bits % 4 == 0)
      std::this_thread::sleep_for(std::chrono::microseconds(bits / 4 % 300));
  };
  std::vector<Flight> flights;
  for (uint64_t i = 0; i < 120; ++i) {
    pauseSometimes(2 * i);
    flights.push_back(takeOff(comm, groups[draw(5 + 100000 * delaySeed, i) % groups.size()],
                              draw(6 + 100000 * delaySeed, i) % 2000, i, findings));
    pauseSometimes(2 * i + 1);
    EXPECT_OK(comm.progress());
    // The number of requests under way differs between ranks.
    while (flights.size() > draw(2000 + 100000 * delaySeed + comm.rank(), i) % 5) {
      land(comm, flights.front(), findings);
      flights.erase(flights.begin());
    }
  }
  for (Flight &flight : flights)
    land(comm, flight, findings);
}

/// Whoever waited may write into what it sent at once, however late the others come to their wait.
static void reuseCase(Communicator &comm, Findings &findings) {
  for (uint64_t i = 0; i < 20; ++i) {
    Flight flight = takeOff(comm, kWorldGroup, 30000, i, findings);
    if (int(i) % comm.size() == comm.rank())
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    land(comm, flight, findings);
  }
}

//--- Control, counters, wrong calls -----------------------------------------------------------------------------------

/// Clocks of one machine are one clock: nobody leaves a barrier before the last has come.
static void barrierCase(Communicator &comm, Findings &findings) {
  for (int last = 0; last < std::min(comm.size(), 3); ++last) {
    if (comm.rank() == last)
      std::this_thread::sleep_for(std::chrono::milliseconds(15));
    double came = nowSeconds();
    EXPECT_OK(comm.barrier(kWorldGroup, {"barrier", uint32_t(last)}));
    double left = nowSeconds();
    std::vector<double> all(comm.size());
    EXPECT_OK(started(comm, comm.allGather(kWorldGroup, &came, all.data(), sizeof(double), {"times"})));
    EXPECT(left >= *std::max_element(all.begin(), all.end()));
  }
}

static void broadcastCase(Communicator &comm, Findings &findings) {
  for (uint64_t bytes : kSizes) {
    Bytes data = bytesOf(comm.rank(), -1, bytes);
    EXPECT_OK(comm.broadcast(data.data(), bytes, {"stop flag", uint32_t(bytes)}));
    EXPECT(data == bytesOf(0, -1, bytes));
    Bytes all(bytes * comm.size() + 1, kGuard);
    Bytes own = bytesOf(comm.rank(), -1, bytes);
    std::copy(own.begin(), own.end(), all.begin() + comm.rank() * bytes);
    EXPECT_OK(comm.gatherControl(all.data(), bytes, {"answers", uint32_t(bytes)}));
    for (int rank = 0; rank < comm.size(); ++rank)
      EXPECT(holds(all, rank * bytes, bytesOf(rank, -1, bytes)));
    EXPECT(all.back() == kGuard);
  }
}

static void countersCase(Communicator &comm, Findings &findings) {
  uint64_t n = comm.size(), rank = comm.rank();
  CommCounters before = comm.counters(), world = comm.counters(kWorldGroup);
  std::vector<int> alone{int(rank)}, pair = n % 2 ? alone : std::vector<int>{int(rank & ~1ull), int(rank | 1)};
  Result<uint32_t> group = comm.addGroup(pair);
  EXPECT_OK(group.status());
  if (!group.isOk())
    return;
  gatherOn(comm, kWorldGroup, 100, false, 0, findings); // each sends its 100 bytes to n - 1 others
  gatherOn(comm, kWorldGroup, 100, true, 0, findings);
  exchangeOn(comm, kWorldGroup, 10, 0, findings);
  exchangeOn(comm, *group, 1000, 0, findings);
  rowsOn(comm, *group, [](int from, int to, int) { return uint64_t(1 + from * 2 + to); }, 6, findings);
  EXPECT_OK(comm.barrier(*group, {"not counted"}));
  EXPECT_OK(comm.broadcast(nullptr, 0, {"not counted"}));
  EXPECT(comm.counters(kWorldGroup).operations - world.operations == 3);
  EXPECT(comm.counters(kWorldGroup).bytes - world.bytes == (n - 1) * 210);
  uint64_t place = rank & 1;
  uint64_t inPair = n % 2 ? 0 : 1000 + 6 * (1 + place * 2 + (1 - place));
  EXPECT(comm.counters(*group).operations == 2);
  EXPECT(comm.counters(*group).bytes == inPair);
  EXPECT(comm.counters().operations - before.operations == 5);
  EXPECT(comm.counters().bytes - before.bytes == (n - 1) * 210 + inPair);
  // Rank 0 sends what it broadcasts, and each rank its records at the start.
  CommCounters control = comm.controlCounters();
  uint8_t flag[10] = {};
  EXPECT_OK(comm.broadcast(flag, 10, {"flag"}));
  EXPECT(comm.controlCounters().operations - control.operations == 1);
  EXPECT(comm.controlCounters().bytes - control.bytes == (rank == 0 ? 10 * (n - 1) : 0));
}

/// Calls that are wrong by themselves are refused before anybody hears of them, and the job goes on.
static void wrongCallsCase(Communicator &comm, Findings &findings) {
  uint64_t n = comm.size();
  Bytes buffer(64 * n + 64);
  std::vector<uint64_t> rows(n, 1), fewer(n - 1, 1), other(n, 1);
  other[comm.rank()] = 2;
  CommSite site{"wrong"};
  auto *at = buffer.data();
  EXPECT_CODE("MOEC-N001", comm.allGather(999, at, at, 0, site).status());
  EXPECT_CODE("MOEC-N001", comm.allGather(0, at + comm.rank() * 16 + 1, at, 16, site).status());
  if (n > 1) {
    EXPECT_CODE("MOEC-N001", comm.allGather(0, at + (comm.rank() + 1) % n * 16, at, 16, site).status());
    EXPECT_CODE("MOEC-N001", comm.allGather(0, at, at, UINT64_MAX, site).status());
    EXPECT_CODE("MOEC-N001", comm.allToAll(0, at, at, UINT64_MAX / 2, site).status());
    EXPECT_CODE("MOEC-N001", comm.exchangeRows(0, at, rows, at + 1, rows, UINT64_MAX, site).status());
  }
  EXPECT_CODE("MOEC-N001", comm.allToAll(0, at, at, 8, site).status());
  EXPECT_CODE("MOEC-N001", comm.allToAll(0, at, at + 8 * n - 1, 8, site).status());
  EXPECT_CODE("MOEC-N001", comm.exchangeRows(0, at, rows, at + 8 * n - 1, rows, 8, site).status());
  EXPECT_CODE("MOEC-N001", comm.exchangeRows(0, at, fewer, at + 32 * n, rows, 8, site).status());
  EXPECT_CODE("MOEC-N001", comm.exchangeRows(0, at, rows, at + 32 * n, fewer, 8, site).status());
  EXPECT_CODE("MOEC-N001", comm.exchangeRows(0, at, rows, at + 32 * n, other, 8, site).status());
  EXPECT_CODE("MOEC-N001", comm.barrier(999, site));
  EXPECT_CODE("MOEC-N001", comm.wait(0));
  EXPECT_CODE("MOEC-N001", comm.wait(1u << 30));
  Flight first = takeOff(comm, kWorldGroup, 8, 0, findings);
  Flight second = takeOff(comm, kWorldGroup, 8, 1, findings);
  land(comm, first, findings);
  EXPECT_CODE("MOEC-N001", comm.wait(first.request)); // waited for before
  land(comm, second, findings);
  gatherOn(comm, kWorldGroup, 8, false, 0, findings);
}

std::span<const GoodCase> goodCases() {
  static const GoodCase cases[] = {
      {"all_gather", allGatherCase}, {"all_to_all", allToAllCase},    {"exchange_rows", exchangeRowsCase},
      {"groups", groupsCase},        {"in_flight", inFlightCase},     {"delays", delaysCase},
      {"reuse", reuseCase},          {"barrier", barrierCase},        {"broadcast", broadcastCase},
      {"counters", countersCase},    {"wrong_calls", wrongCallsCase},
  };
  return cases;
}

} // namespace moec::rt::test
