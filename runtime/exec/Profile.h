// Where the time of a run goes, by kernel. Exists only with --profile; the executor then reads the clock around every
// instruction.
#ifndef MOEC_RUNTIME_EXEC_PROFILE_H
#define MOEC_RUNTIME_EXEC_PROFILE_H

#include "runtime/plan/Plan.h"

#include <string>
#include <vector>

namespace moec::rt {

class Profile {
public:
  explicit Profile(const Plan &plan);

  void addLaunch(uint32_t kernel, double seconds) { add(kernels[kernel], seconds, 0); }
  void addFill(double seconds, uint64_t bytes) { add(fills, seconds, bytes); }
  void addCopy(double seconds, uint64_t bytes) { add(copies, seconds, 2 * bytes); }

  /// Slowest first: calls, ms, ms a call, GFLOP/s, GB/s, percent.
  std::string table() const;

private:
  struct Entry {
    uint64_t calls = 0;
    double seconds = 0, bytes = 0;
  };

  static void add(Entry &entry, double seconds, uint64_t bytes) {
    ++entry.calls;
    entry.seconds += seconds;
    entry.bytes += static_cast<double>(bytes);
  }

  const Plan &plan;
  std::vector<Entry> kernels;
  Entry fills, copies;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_PROFILE_H
