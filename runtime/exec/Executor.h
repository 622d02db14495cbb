// Runs the functions of a plan on a device. Knows nothing of data, files or terminals: programs are ProgramRunner's.
//
// Where the device can record, a function is walked the first time, recorded the second, and replayed from then on.
#ifndef MOEC_RUNTIME_EXEC_EXECUTOR_H
#define MOEC_RUNTIME_EXEC_EXECUTOR_H

#include "runtime/base/Result.h"
#include "runtime/comm/Communicator.h"
#include "runtime/exec/LaunchTimer.h"
#include "runtime/exec/Profile.h"
#include "runtime/hal/Device.h"
#include "runtime/plan/Plan.h"
#include "runtime/plan/PlanFormat.h"

#include <array>
#include <map>
#include <memory>
#include <optional>

namespace moec::rt {

struct ExecutorOptions {
  unsigned threads = 0; // 0: one for each hardware thread
  bool profile = false;
  /// Fill the function area with 0xFF bytes (NaN) before every call, so that a read of an unwritten value shows.
  bool poison = false;
  /// The other ranks. nullptr: this is the first of the plan's ranks, and functions that exchange cannot be called.
  Communicator *ranks = nullptr;
};

class Executor {
public:
  /// `plan` must live as long as the executor.
  static Result<std::unique_ptr<Executor>> create(const Plan &plan, const ExecutorOptions &options);

  void call(uint32_t function);
  /// The same with no recording of its own: for what runs once, and for parts of a larger recording.
  void walk(uint32_t function);

  /// Waits for everything called; the first failure of the device or of an exchange. After one nothing more is done.
  Status finish();
  /// The first failure of an exchange so far, without waiting.
  const Status &exchangeStatus() const { return failure; }

  /// All bytes of a state that ranks have in runs, in `all`. Every rank of its group calls this, in the same order.
  Status assemble(const PlanState &state, std::vector<std::byte> &all);
  /// Bytes of rows that went to experts of other ranks so far.
  uint64_t rowBytesSent() const { return rowsSent; }
  /// Which share of the micro-batches of a step is this rank's.
  uint64_t batchShare() const { return ranks ? source.batchShareOf(static_cast<uint64_t>(ranks->rank())) : 0; }

  Device &device() { return *hal; }
  const Plan &plan() const { return source; }

  /// Waits.
  int64_t stepCounter();

  /// Whether recordings may be made and replayed: not while launches are timed or values poisoned.
  bool mayRecord() const { return hal->canRecord() && !timer && !poison; }
  /// nullptr without ExecutorOptions::profile.
  const Profile *profile();
  /// Times all that is called between the two, and says what ran.
  void startTrace();
  std::vector<TimedLaunch> stopTrace();

private:
  struct Recorded {
    bool wasCalled = false;
    std::optional<uint32_t> recording;
  };

  Executor(const Plan &plan, std::unique_ptr<Device> device, const ExecutorOptions &options);

  void runBody(const std::vector<Instruction> &body, size_t depth);
  void runOne(const Instruction &op, size_t depth);
  Status joinGroups();
  Status joinGroup(const std::vector<uint32_t> &axes);
  void start(const Instruction &op);
  Result<CommRequest> startRows(const Instruction &op, uint32_t group, const std::byte *src, std::byte *dst,
                                const CommSite &site);
  void wait(const Instruction &op);
  uint64_t place(const Operand &operand) const;
  void drainTimer();

  const Plan &source;
  std::unique_ptr<Device> hal;
  bool poison;
  std::vector<Recorded> recorded; // by function
  std::optional<Profile> times;
  std::unique_ptr<LaunchTimer> timer; // while profiling or tracing
  std::optional<std::vector<TimedLaunch>> traced;
  // Where this rank stands along the axes of the mesh, then the indices of the enclosing repeats, outermost first.
  std::array<int64_t, kMaxAxes + kMaxLoopDepth> indices{};
  Communicator *ranks;
  std::map<std::vector<uint32_t>, uint32_t> groups; // by the axes along which they run
  uint64_t rowsSent = 0;                            // bytes
  std::vector<CommRequest> requests;                // of the function at hand, by number
  Status failure;
  std::vector<uint64_t> offsets; // of the launch at hand
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_EXECUTOR_H
