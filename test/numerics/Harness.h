// Compiles one moe.dispatch and runs it on plain arrays, the way the runtime would, so that a test is: text, inputs,
// reference.
//
// What `run` checks by itself: workgroups in order, in reverse and on two threads give the same bits; nothing is
// written outside the operands (guard bytes around each buffer); nothing reads what nobody wrote (outputs and scratch
// start as NaN).
//
// Kernels of a GPU target are interpreted (SimtInterpreter.h), block after block.
#ifndef MOEC_TEST_NUMERICS_HARNESS_H
#define MOEC_TEST_NUMERICS_HARNESS_H

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace moec::test {

/// Values of any element type, held as double (exact for i32, and for the counters of tests).
struct Array {
  std::vector<int64_t> shape;
  std::vector<double> values;

  Array() = default;
  explicit Array(std::vector<int64_t> shape, double fill = 0);
  Array(std::vector<int64_t> shape, std::vector<double> values) : shape(std::move(shape)), values(std::move(values)) {}
  int64_t size() const { return static_cast<int64_t>(values.size()); }
  double *data() { return values.data(); }
  const double *data() const { return values.data(); }
  double &at(int64_t row, int64_t column) { return values[row * shape.back() + column]; }

  /// Uniform in [low, high), rounded to f32 so that f32 and f64 kernels see the same numbers.
  static Array random(std::vector<int64_t> shape, uint64_t seed, double low = -1, double high = 1);
  /// Uniform integers low..high-1.
  static Array integers(std::vector<int64_t> shape, uint64_t seed, int64_t low, int64_t high);
  template <typename T> std::vector<T> as() const { return std::vector<T>(values.begin(), values.end()); }
};

struct Outcome {
  std::vector<Array> results;          // of the dispatch, in order
  std::map<std::string, Array> states; // all states after the run, [count, ...] when stacked
};

class CompiledDispatch {
public:
  /// `text`: moe.state ops and one function that holds one moe.dispatch, whose operands may be arguments of the
  /// function. Every `$T` in it becomes `element` first. Throws std::runtime_error with the diagnostics when anything
  /// fails.
  CompiledDispatch(std::string text, const std::string &element, const std::string &target = "native");
  ~CompiledDispatch();
  CompiledDispatch(const CompiledDispatch &) = delete;

  /// `inputs`: tensor operands in order. `states`: by symbol; those not given start as NaN / garbage. `copy`: the value
  /// of every index operand.
  Outcome run(const std::vector<Array> &inputs, const std::map<std::string, Array> &states = {},
              int64_t copy = 0) const;
  /// Only the launch, on one thread, for timing: seconds of the fastest of `repeats`.
  double time(const std::vector<Array> &inputs, const std::map<std::string, Array> &states, int repeats) const;

  int64_t grid() const;
  int64_t scratchBytes() const;
  double compileMilliseconds() const;

private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// "" when every element agrees within tolerance * max|expected| (NaN equals NaN, infinities exactly), else what
/// differs most.
std::string difference(const Array &actual, const Array &expected, double tolerance);
/// The tolerance of an element type: 1e-12 or 1e-5.
double toleranceOf(const std::string &element);

} // namespace moec::test

#endif
