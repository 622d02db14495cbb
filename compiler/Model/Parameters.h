// The parameters of an experiment: names, shapes, initial values. init, update and the counts of `moec check` read this
// one list.
#ifndef MOEC_COMPILER_MODEL_PARAMETERS_H
#define MOEC_COMPILER_MODEL_PARAMETERS_H

#include "compiler/Methods/OptimizerMethods.h"
#include "compiler/Model/Segments.h"
#include "dialects/Exp/IR/Exp.h"

#include <optional>

namespace moec {

struct ParameterInfo {
  std::string logicalName;    // `embed`, `layers.{}.attention.q`
  std::string symbol;         // of its state
  std::string name;           // without the layer: `attention.q`; equal to logicalName outside layers
  std::vector<int64_t> shape; // of one copy; [in, out] for weights
  ParameterTraits::Role role;
  std::optional<double> stddev;    // model.init.std of a normal around 0, or all ones (norm scales)
  double residual;                 // factor on stddev, of weights that write to the residual stream
  std::optional<LayerStack> stack; // none outside layers
  double activeShare = 1; // of its elements that a token meets when the run begins; for experts about top_k / n
  mlir::Location loc;

  int64_t getCopies() const { return stack ? stack->count : 1; }
  int64_t getElements() const; // of all copies
  /// `layers.3.attention.q`; equal to logicalName outside layers.
  std::string getNameOfCopy(int64_t index) const {
    return stack ? getCopyName(logicalName, *stack, index) : logicalName;
  }
};

/// What names of the second half of a shortcut layer begin with, after the layer.
inline constexpr char kSecondHalf[] = "second.";

/// What names of the parameters of a module of /model/multi_token begin with.
inline std::string getMultiTokenPrefix(int64_t module) { return "multi_token." + std::to_string(module) + "."; }
/// Inner size of its dense block: that of the dense layers, or what a token meets in a mixture where all layers are.
int64_t getMultiTokenInner(exp::ExperimentOp experiment);

/// In order of the forward pass.
std::vector<ParameterInfo> listParameters(exp::ExperimentOp experiment);

/// Segments of the experiment's layers.
std::vector<Segment> formSegments(exp::ExperimentOp experiment);

struct ParameterCounts {
  int64_t total = 0;
  int64_t active = 0; // that one token meets: all but the experts it is not sent to
};
ParameterCounts countParameters(exp::ExperimentOp experiment);

} // namespace moec

#endif
