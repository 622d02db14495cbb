// Small differentiable programs: moe text, and its gradients against central differences.
#ifndef MOEC_TEST_GOLDEN_GRADIENTPROGRAM_H
#define MOEC_TEST_GOLDEN_GRADIENTPROGRAM_H

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace moec::test {

/// A state of floats, drawn from [low, high). With `count` it is stacked, and the body reads it itself.
struct GradientTensor {
  std::string name;
  std::vector<int64_t> shape;
  double low = -1, high = 1;
  int64_t count = 0;
};

struct GradientIds {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<int64_t> values;
};

/// One function. The body finds each state as %name and defines %y; it writes <2x3> for tensor<2x3xf64>, <2x3i> for ids
/// and @self.w for a state. The loss is a sum of %y with random weights.
struct GradientCase {
  std::string name;
  std::vector<GradientTensor> parameters;
  std::vector<GradientIds> ids = {};
  std::string body = {};
  std::vector<int64_t> shape = {}; // of %y
  std::vector<GradientTensor> constants = {};
  double step = 1e-5;
};

struct GradientError {
  std::string name; // case and parameter
  double norm;      // of the gradient
  double relative;  // norm of the difference over the larger norm
};

/// Compiles all cases as one module and compares the gradient of each parameter.
std::vector<GradientError> gradientErrors(const std::vector<GradientCase> &cases);

/// `result = moe.map(operands) -> type`; the scalars are %0, %1, ... and the body defines %r.
std::string mapOp(const std::string &result, const std::vector<std::pair<std::string, std::string>> &operands,
                  const std::string &type, const std::string &scalars, const std::string &attributes = "");
/// %x2 = x * x, so that a wrong place in the gradient of a linear op shows.
std::string square(const std::string &name, const std::string &type);
/// moe.permute with all its results, rows aligned as the machine needs them.
std::string permuteOp(const std::string &ids, const std::string &shape, int64_t experts, int64_t slots);
int64_t permutedRows(int64_t slots, int64_t experts);

} // namespace moec::test

#endif
