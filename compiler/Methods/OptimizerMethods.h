// The interfaces of what makes a step out of gradients: optimizers, schedules, scaling. Included by Methods.h.
#ifndef MOEC_COMPILER_METHODS_OPTIMIZERMETHODS_H
#define MOEC_COMPILER_METHODS_OPTIMIZERMETHODS_H

#include "compiler/Methods/TensorBuilder.h"
#include "dialects/Exp/IR/Exp.h"
#include "dialects/Exp/IR/Fields.h"
#include "dialects/Moe/IR/Moe.h"

#include <optional>

namespace moec {

/// Learning-rate factor in [0, 1] as a function of the step.
class ScheduleMethod : public exp::Method {
public:
  std::string category() const final { return "schedule"; }
  /// What the factor does, for methods that follow it: it rises for `warmup` steps and falls to `floor` at the end,
  /// either at once or after it `stays` at 1.
  struct Traits {
    int64_t warmup;
    double floor;
    bool stays = false;
  };
  virtual Traits traits(exp::MethodAttr attr) const { return {attr.getInt("warmup"), attr.getFloat("floor")}; }
  /// step: [1, 1] of T, steps done before this one (0 for the first). Returns [1, 1].
  virtual mlir::Value buildFactor(TensorBuilder &b, exp::MethodAttr attr, mlir::Value step,
                                  int64_t totalSteps) const = 0;
};

/// What an optimizer may want to know of the parameter that it updates.
struct ParameterTraits {
  /// What the parameter is to the model; said where it is declared (compiler/Model/Parameters.cpp).
  enum class Role {
    Embedding, // the table of token embeddings
    Head,      // from the last hidden state to the vocabulary
    Vector,    // the scale of a norm
    Router,    // from a hidden state to scores of experts
    Hidden     // any other matrix
  };
  std::string name; // "layers.{}.moe.experts.up", "embed"
  Role role;
  int64_t copies;                   // of the state: layers
  int64_t matrices;                 // in all copies; more than copies for stacks of experts
  int64_t rows, cols;               // of one matrix, and of one norm scale [1, C]; weights are [fan-in, fan-out]
  std::optional<double> initialStd; // normal around 0, or all ones

  bool isHidden() const { return role == Role::Router || role == Role::Hidden; }
};

/// Declares what an optimizer keeps for one parameter: states of kind optimizer with the parameter's copies.
class OptimizerStates {
public:
  virtual ~OptimizerStates() = default;
  /// Of the parameter's type, or of `type` (of one copy), which precision.optimizer does not narrow; all elements are
  /// `initial` at init.
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
    mlir::Value factor;        // [1, 1], of the schedule
    ScheduleMethod::Traits schedule;
    int64_t rowAlign;       // of groups of rows (see MatrixBatch)
    int64_t totalSteps = 0; // of the run
  };
  /// The method's part in muP: its learning rate for hidden matrices is proportional to width^-x. x is 1 where the step
  /// of each element has a fixed size, and 0 where the spectral norm of a step, or its norm relative to the matrix, is
  /// fixed.
  virtual double widthExponent(exp::MethodAttr) const { return 1; }
  /// Why the method cannot update such a parameter, and what to do instead; empty when it can.
  virtual std::string refuses(const ParameterTraits &) const { return ""; }
  /// Declares what it keeps and builds reads, math, writes.
  virtual void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                           OptimizerStates &states) const = 0;
};

/// How learning rates and initial values follow from the sizes of model, batch and run.
class ScalingMethod : public exp::Method {
public:
  std::string category() const final { return "scaling"; }
  struct Run {
    double hiddenSize, numLayers, tokensPerStep, tokens;
  };
  /// Standard deviation of the initial values, before model.init.residual_scale; `given` is model.init.std.
  virtual double getInitialStd(exp::MethodAttr, const Run &, const ParameterTraits &, double given) const {
    return given;
  }
  /// Factor on the learning rate of a parameter; `widthExponent` is that of its optimizer.
  virtual double getRate(exp::MethodAttr, const Run &, const ParameterTraits &, double widthExponent) const = 0;
};

} // namespace moec

#endif
