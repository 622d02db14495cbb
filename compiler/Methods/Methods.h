// The interfaces that methods implement. A method is one file in a subfolder: it declares its JSON fields and builds
// its moe IR. No other file of the tree names it. docs/adding-a-loss.md shows how to write one.
#ifndef MOEC_COMPILER_METHODS_METHODS_H
#define MOEC_COMPILER_METHODS_METHODS_H

#include "compiler/Methods/OptimizerMethods.h"
#include "compiler/Methods/TensorBuilder.h"
#include "dialects/Exp/IR/Exp.h"
#include "dialects/Exp/IR/Fields.h"
#include "dialects/Moe/IR/Moe.h"

namespace moec {

/// Random numbers that depend only on the seed, the step, the layer, a name and the place. So the split into
/// micro-batches, the number of threads and a resume do not change them.
class NoiseSource {
public:
  virtual ~NoiseSource() = default;
  /// [rows, cols], uniform in [0, 1), for the layer that is being built.
  /// perToken: row n is token n of the micro-batch; otherwise all micro-batches of a step get the same numbers.
  virtual mlir::Value uniform(TensorBuilder &b, llvm::StringRef name, int64_t rows, int64_t cols, bool perToken) = 0;
};

/// The sizes of one MoE layer, known before anything is built.
struct RoutingSizes {
  int64_t numTokens, seqLen;
  int64_t numExperts; // E: outputs of the router, zero experts included
  int64_t ffnExperts; // the first ones, which have weights
  int64_t topK;       // the largest of all layers and times
  int64_t groups, topGroups;
  exp::GroupScore groupScore = exp::GroupScore::max;
  int64_t microBatches; // of a step
  int64_t rowAlign;     // of groups of rows (see MatrixBatch)
  bool training;
};

/// The routing of one MoE layer while it is built. Values are made in this order and are null before. T = element type
/// of the experiment, S = slots of a token: top_k, or as many as the routing method gives a token.
struct RoutingValues : RoutingSizes {
  mlir::Value layer;  // index of the enclosing repeat: the copy of stacked states
  NoiseSource *noise; // in training
  mlir::Value step;   // steps done before this one, i64 [1, 1]
  /// i64 [1, 1]: the number of tokens that are text; the other tokens come after them. Null: all are, as in training
  /// and evaluation. A method that looks at more than one token counts only text. A token that is not text has a
  /// selection of -infinity, and never an expert.
  mlir::Value textTokens;

  mlir::Value hidden;      // [N, D] what router and experts read
  mlir::Value routerInput; // [N, D] hidden, with the noise that the router reads
  mlir::Value router;      // [D, E] weights
  mlir::Value logits;      // [N, E]
  mlir::Value scores;      // [N, E] after the score function
  mlir::Value selection;   // [N, E] by which experts are chosen: scores, or the results of a balance method
  mlir::Value layerTopK;   // [1, 1] of T, where layers or times differ; null: topK
  mlir::Value ids;         // i32 [N, S], before any drop; -1: an empty slot (only where hasEmptySlots)
  bool hasEmptySlots = false;
  int64_t maxChosen = 0; // bound on the slots of the micro-batch that are not empty; 0: no bound below N * S
  mlir::Value weights;   // [N, S] combine weights, scaled
};

/// The values of a layer for losses and measures: its complete routing, and the activations of its experts.
struct LayerValues : RoutingValues {
  mlir::Value rowScores;     // [N, E] scores normalised to sum 1 over all experts (what balance losses average)
  mlir::Value probabilities; // [N, E] see ScoreMethod::buildProbabilities
  mlir::Value counts;        // i64 [1, E]: how often each expert was chosen in this micro-batch, before any drop
  mlir::Value unbiasedIds;   // i32 [N, S] like ids, but chosen by scores alone among all experts; in training
  mlir::Value expertGate;    // [ffnExperts, D, I] weights
  mlir::Value expertUp, expertDown;
  mlir::Value activations;      // [R, I] inputs of the experts' last products, without the combine weight
  mlir::Value slotRow, rowSlot; // of moe.permute: i32 [N, S] and [R, 1]
  mlir::Value carried;          // the result of buildCarried in the previous MoE layer; zeros in the first
  int64_t numSources;           // of training text
  /// `probabilities` of other inputs of the router, such as detached ones.
  llvm::function_ref<mlir::Value(mlir::Value)> buildProbabilities;
  /// i32 [N / seqLen, 1]: the source of training text of each sequence, counted from 0 in the spec's order.
  llvm::function_ref<mlir::Value()> readSources;
};

/// Replaces the ids beyond r.layerTopK by -1. ids: i32 [N, topK], sorted by their selection, largest first.
mlir::Value keepLayerTopK(TensorBuilder &b, const RoutingValues &r, mlir::Value ids);

/// Declares states that a method owns.
class StateDeclarer {
public:
  virtual ~StateDeclarer() = default;
  /// A state with one copy for each MoE layer of the segment being built, called `<kind>.layers.<i>.<section's
  /// name>.<name>`; zero at init and, with `resetEachStep`, at the beginning of each step. Address copies with
  /// RoutingValues::layer. Kind `balance` goes into checkpoints. A second declaration returns the same state; then the
  /// type may be null.
  virtual moe::StateOp perLayer(llvm::StringRef name, moe::StateKind kind, mlir::RankedTensorType type,
                                bool resetEachStep) = 0;
  /// Constants of the layer, [1, columns]; `numbersOf` takes the number of a layer among the mixtures and returns its
  /// constants.
  virtual mlir::Value table(llvm::StringRef name, mlir::Value layer, int64_t columns,
                            llvm::function_ref<std::vector<double>(int64_t)> numbersOf) = 0;
  /// A metric of its own, `name` in the log: [1, C] for each MoE layer, zero at the beginning of each step.
  virtual moe::StateOp perLayerMetric(llvm::StringRef name, mlir::RankedTensorType type) = 0;
};

/// The MoE layers of one segment after a step.
struct StepLoad {
  mlir::Value counts; // i64 [L, E]: how often each expert was chosen in the step, before any drop
  int64_t tokens;     // of the step
  int64_t numExperts, ffnExperts, topK, microBatches;
  mlir::Value step; // [1, 1] of T, 1 for the first
  int64_t totalSteps;
  mlir::Value stepsDone; // i64 [1, 1], 0 after the first: those before this one
};

/// How routes are chosen: tokens choose experts, or experts choose tokens.
class RoutingMethod : public exp::Method {
public:
  std::string category() const final { return "routing"; }
  /// i32 [N, S]: the experts chosen by `selection` (r.selection, or r.scores for unbiasedIds).
  virtual mlir::Value buildIds(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r,
                               mlir::Value selection) const = 0;
  /// Whether ids may have empty slots.
  virtual bool hasEmptySlots(exp::MethodAttr attr) const { return false; }
  /// Experts that a token has on average, at the beginning of the run.
  virtual double meanChosen(exp::MethodAttr attr, double topK) const { return topK; }
  /// How the route of a token may depend on later tokens of its sequence, as a text for people: when, and why. Empty:
  /// it does not.
  virtual std::string describeFuture(exp::MethodAttr attr) const { return ""; }
  /// RoutingValues::maxChosen.
  virtual int64_t maxChosen(exp::MethodAttr attr, const RoutingSizes &r) const { return 0; }
};

/// Router score function: logits -> scores, and chosen scores -> combine weights.
class ScoreMethod : public exp::Method {
public:
  std::string category() const final { return "score"; }
  /// [N, E] logits -> [N, E] scores; may be the logits themselves.
  virtual mlir::Value buildScores(TensorBuilder &b, exp::MethodAttr attr, mlir::Value logits) const = 0;
  /// Combine weights [N, S] of the chosen experts (r.ids) before `scale`, 0 for empty slots; `normalize` as in the
  /// spec.
  virtual mlir::Value buildWeights(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r,
                                   bool normalize) const = 0;
  /// Scores normalised over all experts, for balance losses.
  virtual mlir::Value buildRowScores(TensorBuilder &b, exp::MethodAttr attr, mlir::Value scores) const = 0;
  /// Scores in [0, 1] that are not normalised over the chosen experts: how strongly a token wants each expert.
  virtual mlir::Value buildProbabilities(TensorBuilder &b, exp::MethodAttr attr, mlir::Value scores) const {
    return buildRowScores(b, attr, scores);
  }
  /// Factor on the results of routed experts and of shared experts, in layers that have both.
  virtual double branchScale() const { return 1; }
};

/// Keeps loads similar without a loss: changes the numbers by which experts are chosen.
class BalanceMethod : public exp::Method {
public:
  std::string category() const final { return "balance"; }
  /// [N, E] r.scores (or r.logits) -> the numbers by which experts are chosen. Not differentiated. It must write a
  /// state before it reads it, so that a recomputed read sees the same; outside of training it writes nothing.
  virtual mlir::Value buildSelection(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r,
                                     StateDeclarer &states) const = 0;
  /// The combine weights, if the method changes them.
  virtual mlir::Value buildWeights(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r, mlir::Value weights,
                                   StateDeclarer &states) const {
    return weights;
  }
  /// The average number of experts with weights per token; 0: the number that equal loads of all outputs give.
  virtual double meanExperts(exp::MethodAttr attr) const { return 0; }
  /// As RoutingMethod::describeFuture.
  virtual std::string describeFuture(exp::MethodAttr attr) const { return ""; }
  /// Once after each optimizer step.
  virtual void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const StepLoad &load, StateDeclarer &states) const {}
};

/// Routes that do not follow the router, for measurements.
class ForcedMethod : public exp::Method {
public:
  std::string category() const final { return "forced"; }
  /// i32 [N, topK], in training; the experts of a token differ.
  virtual mlir::Value buildIds(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r,
                               StateDeclarer &states) const = 0;
  /// Lists of top_k by layer: forced tokens have top_k experts everywhere.
  std::vector<exp::Conflict> findConflicts(exp::MethodAttr attr, mlir::Operation *section,
                                           exp::ExperimentOp experiment) const override;
};

/// A method that computes something in each MoE layer and may pass a value to the next.
class LayerMethod : public exp::Method {
public:
  /// Columns of a value [N, columns] of T that a layer hands to the next one; 0: none.
  virtual int64_t carriedColumns(exp::MethodAttr attr, const RoutingSizes &r) const { return 0; }
  virtual mlir::Value buildCarried(TensorBuilder &b, exp::MethodAttr attr, const LayerValues &r) const { return {}; }
};

/// A term beside the cross-entropy, of each MoE layer or of the whole model. The model adds weight * (sum over layers),
/// or weight * mean if `isMean`; the metric is the mean, without the weight.
class LossMethod : public LayerMethod {
public:
  std::string category() const final { return "loss"; }
  /// The layer's term, [1, 1]; null: none. Called only for weights other than 0.
  virtual mlir::Value buildLayer(TensorBuilder &b, exp::MethodAttr attr, const LayerValues &routing,
                                 StateDeclarer &states) const {
    return {};
  }
  /// The term of the last hidden state [N, D], after the final norm, [1, 1]; null: none.
  virtual mlir::Value buildHidden(TensorBuilder &b, exp::MethodAttr attr, mlir::Value hidden) const { return {}; }
  virtual bool isMean(exp::MethodAttr attr) const { return false; }
  /// The number by which the sum over layers is divided for the mean.
  virtual int64_t numTerms(exp::MethodAttr attr, int64_t moeLayers) const { return moeLayers; }
  /// Whether the loss balances loads; methods that balance without a loss exclude it.
  virtual bool balancesLoad() const { return false; }
};

/// A measure for the log; it does not influence training.
class WatchMethod : public LayerMethod {
public:
  std::string category() const final { return "watch"; }
  /// [1, C] for the layer and micro-batch; the log has the mean over the micro-batches of a step. Null: none.
  virtual mlir::Value buildLayer(TensorBuilder &b, exp::MethodAttr attr, const LayerValues &routing,
                                 StateDeclarer &states) const {
    return {};
  }
  /// [L, C] for all layers of a segment after the step; the log has it as it is. Null: none.
  virtual mlir::Value buildStep(TensorBuilder &b, exp::MethodAttr attr, const StepLoad &load,
                                StateDeclarer &states) const {
    return {};
  }
};

/// Fills the registry with every method of the tree (the list is generated from the files in the subfolders).
void registerMethods(exp::MethodRegistry &registry);

/// Registers all methods with the exp dialect whenever a context loads it.
void registerMethods(mlir::DialectRegistry &registry);

} // namespace moec

#endif
