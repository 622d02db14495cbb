// The interfaces that methods implement. A method is one file in a subfolder: it declares its JSON fields and builds
// its moe IR here; nothing else in the tree names it. docs/adding-a-loss.md walks through one.
#ifndef MOEC_COMPILER_METHODS_METHODS_H
#define MOEC_COMPILER_METHODS_METHODS_H

#include "compiler/Methods/TensorBuilder.h"
#include "dialects/Exp/IR/Exp.h"
#include "dialects/Exp/IR/Fields.h"
#include "dialects/Moe/IR/Moe.h"

namespace moec {

/// What the router of one MoE layer knows. T = element type of the experiment.
struct RoutingValues {
  mlir::Value logits;    // [N, E]
  mlir::Value scores;    // [N, E] after the score function; top-k selects on them
  mlir::Value rowScores; // [N, E] scores normalised to sum 1 over all experts (what balance losses average)
  mlir::Value ids;       // i32 [N, K], before any drop
  mlir::Value counts;    // i64 [1, E]: how often each expert was chosen in this micro-batch, before any drop
  mlir::Value weights;   // [N, K] combine weights, scaled
  int64_t numTokens, numExperts, topK, seqLen;
  int64_t microBatches; // of a step
  mlir::Value layer;    // index of the enclosing repeat: the copy of stacked states
};

/// Declares states that a loss owns.
class StateDeclarer {
public:
  virtual ~StateDeclarer() = default;
  /// A state with one copy for each MoE layer of the segment being built, called `<kind>.layers.<i>.<loss
  /// name>.<name>`; zero at init and, with `resetEachStep`, at the beginning of each step. Address copies with
  /// RoutingValues::layer.
  virtual moe::StateOp perLayer(llvm::StringRef name, moe::StateKind kind, mlir::RankedTensorType type,
                                bool resetEachStep) = 0;
};

/// Router score function: logits -> scores, and chosen scores -> combine weights.
class ScoreMethod : public exp::Method {
public:
  std::string category() const final { return "score"; }
  /// [N, E] logits -> [N, E] scores that top-k selects on; may be the logits themselves.
  virtual mlir::Value buildScores(TensorBuilder &b, exp::MethodAttr attr, mlir::Value logits) const = 0;
  /// Combine weights [N, K] of the chosen experts before `scale`; `normalize` as in the spec.
  virtual mlir::Value buildWeights(TensorBuilder &b, exp::MethodAttr attr, mlir::Value logits, mlir::Value scores,
                                   mlir::Value ids, bool normalize) const = 0;
  /// Scores normalised over all experts, for balance losses.
  virtual mlir::Value buildRowScores(TensorBuilder &b, exp::MethodAttr attr, mlir::Value scores) const = 0;
};

/// A loss on each MoE layer's router. The model adds weight * sum over layers; the metric is the mean over layers,
/// unweighted.
class LossMethod : public exp::Method {
public:
  std::string category() const final { return "loss"; }
  /// The layer's term, [1, 1]. Called only for weights other than 0.
  virtual mlir::Value buildLayer(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &routing,
                                 StateDeclarer &states) const = 0;
};

/// Learning-rate factor in [0, 1] as a function of the step.
class ScheduleMethod : public exp::Method {
public:
  std::string category() const final { return "schedule"; }
  /// step: [1, 1] of T, steps done before this one (0 for the first). Returns [1, 1].
  virtual mlir::Value buildFactor(TensorBuilder &b, exp::MethodAttr attr, mlir::Value step,
                                  int64_t totalSteps) const = 0;
};

/// What an optimizer may want to know of the parameter that it updates.
struct ParameterTraits {
  enum class Role { Embedding, Head, Vector, Router, Hidden }; // Vector: the scale of a norm
  std::string name;                                            // "layers.{}.moe.experts.up", "embed"
  Role role;
  int64_t copies;     // of the state: layers
  int64_t matrices;   // in all copies; more than copies for stacks of experts
  int64_t rows, cols; // of one matrix, and of one norm scale [1, C]; weights are [fan-in, fan-out]

  bool isHidden() const { return role == Role::Router || role == Role::Hidden; }
};

/// Declares what an optimizer keeps for one parameter: states of kind optimizer with the parameter's copies.
class OptimizerStates {
public:
  virtual ~OptimizerStates() = default;
  /// Of the parameter's type, or of `type` (of one copy); all elements are `initial` at init.
  virtual moe::StateOp declare(llvm::StringRef name, mlir::RankedTensorType type = {}, double initial = 0) = 0;
};

/// Update rule of one parameter state (all its copies at once).
class OptimizerMethod : public exp::Method {
public:
  std::string category() const final { return "optimizer"; }
  struct Update {
    const ParameterTraits &traits;
    moe::StateOp parameter, gradient;
    mlir::Value gradientScale; // [1, 1], from clipping
    mlir::Value lr;            // [1, 1]
    mlir::Value step;          // [1, 1] of T, 1 for the first update
    int64_t rowAlign;          // of groups of rows (see MatrixBatch)
  };
  /// Why the method cannot update such a parameter, and what to do instead; empty when it can.
  virtual std::string refuses(const ParameterTraits &) const { return ""; }
  /// Declares what it keeps and builds reads, math, writes.
  virtual void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                           OptimizerStates &states) const = 0;
};

/// Fills the registry with every method of the tree (the list is generated from the files in the subfolders).
void registerMethods(exp::MethodRegistry &registry);

/// Has the exp dialect filled with them whenever a context loads it.
void registerMethods(mlir::DialectRegistry &registry);

} // namespace moec

#endif
