// What every backend of the communicator must do. Each case runs on all ranks of a world; the same cases run with
// threads (LocalTest.cpp) and with processes (Ranks.cpp, under mpirun).
#ifndef MOEC_TEST_UNIT_COMM_CONFORMANCE_H
#define MOEC_TEST_UNIT_COMM_CONFORMANCE_H

#include "runtime/comm/Communicator.h"

#include <span>
#include <string>
#include <vector>

namespace moec::rt::test {

/// What a rank found wrong. Catch2's assertions may not be used by several threads.
struct Findings {
  std::vector<std::string> texts;

  void expect(bool holds, const char *what, int line);
  void expectOk(const Status &status, const char *what, int line);
  void expectCode(const Status &status, const char *code, const char *what, int line);
};

/// A case that ends well on every rank. It may follow others on the same communicator.
struct GoodCase {
  const char *name;
  void (*run)(Communicator &comm, Findings &findings);
};
std::span<const GoodCase> goodCases();

/// Of the pauses and sizes of the case "delays". Set while no rank runs.
extern uint64_t delaySeed;

/// A time limit to wait for, in seconds.
inline constexpr double kShortLimit = 0.5;

/// A case in which every rank's calls fail. It needs a world of its own.
struct FaultCase {
  const char *name;
  int leastRanks;
  /// The failure that this rank was told. Ok: this rank saw none.
  Status (*run)(Communicator &comm);
  /// What all ranks say together has each of these: the names that a reader needs. Which rank finds a fault first, and
  /// beside which other, is chance.
  std::vector<const char *> words;
  /// Nothing but the watch finds it: it runs with kShortLimit.
  bool watched = false;

  CommOptions options() const { return {20, watched ? kShortLimit : 20}; }
};
std::span<const FaultCase> faultCases();

/// Start of all cases: all ranks meet.
Status meetAll(Communicator &comm);

} // namespace moec::rt::test

#endif // MOEC_TEST_UNIT_COMM_CONFORMANCE_H
