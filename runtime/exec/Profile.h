// Where the time of a run goes, by kernel. Exists only with --profile; every instruction is then timed.
#ifndef MOEC_RUNTIME_EXEC_PROFILE_H
#define MOEC_RUNTIME_EXEC_PROFILE_H

#include "runtime/exec/LaunchTimer.h"
#include "runtime/hal/Device.h"
#include "runtime/plan/Plan.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace moec::rt {

/// What work there was in some time, against what the device could do at best.
struct Rates {
  double seconds = 0, flops = 0, bytes = 0;

  double gigaflops() const;
  double gigabytes() const;
  /// The share of the time that the device would need at its limits; 0 when they are not known.
  double percentOfLimit(const DeviceLimits &limits) const;
};

/// What tables call an instruction that launches no kernel: "(copy)".
std::string_view instructionName(Instruction::Kind kind);

/// Of one timed instruction. A copy reads and writes its bytes.
Rates ratesOf(const Plan &plan, const TimedLaunch &launch);

class Profile {
public:
  Profile(const Plan &plan, DeviceLimits limits);

  void add(const TimedLaunch &launch);

  /// Slowest first: calls, ms, us per call, GFLOP/s (TFLOP/s on a device with known limits), GB/s, percent of the
  /// time, percent of the limit. Then the same by section of the spec, when the plan names them.
  std::string table() const;

private:
  struct Entry {
    uint64_t calls = 0;
    Rates work;
    double secondsAtLimit = 0; // of each launch at its own nearer limit

    void add(const Entry &other);
  };
  struct Row {
    std::string name, summary;
    Entry entry;
  };

  std::string rowsText(const std::string &title, std::vector<Row> rows, bool hasSummary) const;

  const Plan &plan;
  DeviceLimits limits;
  std::vector<Entry> kernels;
  std::map<Instruction::Kind, Entry> others; // what launches no kernel
  std::vector<Entry> sections;               // as Plan::locations
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_PROFILE_H
