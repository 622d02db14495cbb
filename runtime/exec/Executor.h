// Runs the functions of a plan on a device. Knows nothing of data, files or terminals: programs are ProgramRunner's.
#ifndef MOEC_RUNTIME_EXEC_EXECUTOR_H
#define MOEC_RUNTIME_EXEC_EXECUTOR_H

#include "runtime/base/Result.h"
#include "runtime/exec/Profile.h"
#include "runtime/hal/Device.h"
#include "runtime/plan/Plan.h"
#include "runtime/plan/PlanFormat.h"

#include <array>
#include <memory>
#include <optional>

namespace moec::rt {

struct ExecutorOptions {
  unsigned threads = 0; // 0: one for each hardware thread
  bool profile = false;
  /// Fill the function area with 0xFF bytes (NaN) before every call, so that a read of an unwritten value shows.
  bool poison = false;
};

class Executor {
public:
  /// `plan` must live as long as the executor.
  static Result<std::unique_ptr<Executor>> create(const Plan &plan, const ExecutorOptions &options);

  void call(uint32_t function);

  Device &device() { return *hal; }
  const Plan &plan() const { return source; }

  int64_t stepCounter();
  /// nullptr without ExecutorOptions::profile.
  const Profile *profile() const { return times ? &*times : nullptr; }

private:
  Executor(const Plan &plan, std::unique_ptr<Device> device, const ExecutorOptions &options);

  void runBody(const std::vector<Instruction> &body, size_t depth);
  void runOne(const Instruction &op, size_t depth);
  void runTimed(const Instruction &op, size_t depth);
  uint64_t place(const Operand &operand) const;

  const Plan &source;
  std::unique_ptr<Device> hal;
  bool poison;
  std::optional<Profile> times;
  std::array<int64_t, kMaxLoopDepth> indices{}; // of the enclosing repeats, outermost first
  std::vector<uint64_t> offsets;                // of the launch at hand
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_EXECUTOR_H
