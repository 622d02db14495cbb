// Runs the functions of a moe module through the compiler's own passes and kernels, instruction by instruction, with no
// plan file. For programs that are no experiment.
#ifndef MOEC_TEST_GOLDEN_PLANINTERPRETER_H
#define MOEC_TEST_GOLDEN_PLANINTERPRETER_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace moec::test {

class PlanInterpreter {
public:
  /// `text`: moe.state ops and functions. Those marked moe.differentiate get their backward; all are lowered to a
  /// placed plan and compiled for this machine. Throws std::runtime_error with the diagnostics.
  explicit PlanInterpreter(const std::string &text);
  ~PlanInterpreter();

  /// Runs a function. Values start as NaN, so that reading what nobody wrote shows.
  void call(const std::string &function);

  /// All copies of a state, back to back, which must be f64; or i32 for `ints`.
  double *floats(const std::string &state);
  int32_t *ints(const std::string &state);
  int64_t elements(const std::string &state) const;
  int64_t numKernels() const;

  /// "$ROWS" in texts: what groups of experts must be aligned to.
  static int64_t tileRows();

private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

} // namespace moec::test

#endif
