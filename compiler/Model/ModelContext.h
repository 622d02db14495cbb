// What the parts of the model builder share. Internal to compiler/Model.
#ifndef MOEC_COMPILER_MODEL_MODELCONTEXT_H
#define MOEC_COMPILER_MODEL_MODELCONTEXT_H

#include "compiler/Methods/Methods.h"
#include "compiler/Model/ModelBuilder.h"
#include "compiler/Model/Parameters.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace moec {

/// A loss whose weight is not 0.
struct LossTerm {
  exp::LossOp op;
  const LossMethod *method;
};

struct WatchTerm {
  exp::WatchOp op;
  const WatchMethod *method;
};

/// A constant state and its numbers, all copies one after another; init writes them.
struct ConstantTable {
  moe::StateOp state;
  std::vector<double> numbers;
};

struct LayerScope;

/// What a state is beside its name, kind and type.
struct StateTraits {
  const LayerStack *stack = nullptr; // gives the copies; null: one
  moe::StateOp gradient = {};        // of a parameter
  std::optional<moe::StateRole> role = {};
  llvm::StringRef logName = {}; // of a metric: what lines of the log call it
};

struct Parameter {
  ParameterInfo info;
  moe::StateOp state, gradient;
};

class ModelContext {
public:
  ModelContext(exp::ExperimentOp experiment, mlir::ModuleOp module, const ModelOptions &options);
  /// Finds the methods that the sections name.
  llvm::LogicalResult findMethods();

  exp::ExperimentOp experiment;
  mlir::ModuleOp module;
  ModelOptions options;
  exp::ModelOp model;
  exp::AttentionOp attention;
  exp::FfnOp ffn;       // may be null
  exp::MoeOp moe;       // may be null
  exp::RouterOp router; // may be null
  exp::OptimizerOp optimizer;

  mlir::ImplicitLocOpBuilder b;
  TensorBuilder t;
  std::vector<Segment> segments;
  std::vector<LossTerm> losses;
  std::vector<WatchTerm> watches;
  const RoutingMethod *routing = nullptr; // these two with moe
  const ScoreMethod *score = nullptr;
  const BalanceMethod *balance = nullptr; // may be null
  const ForcedMethod *forced = nullptr;   // may be null
  std::vector<ConstantTable> tables;
  const ScalingMethod *scaling = nullptr; // null: nothing is scaled
  ScalingMethod::Run run;
  std::vector<Parameter> parameters;
  std::vector<moe::StateOp> perStep;     // zeroed by begin_step
  llvm::StringMap<double> initialValues; // of optimizer states, where it is not 0

  int64_t seqLen();
  int64_t microSequences();
  int64_t microBatches();
  int64_t numMoeLayers() { return numMoeLayersBefore(model.getNumLayers()); }
  int64_t numMoeLayersBefore(int64_t layer);
  int64_t numRouterOutputs() { return moe.getNumExperts() + moe.getZeroExperts(); }
  double eps() { return model.getNormEps().convertToDouble(); }

  ParameterTraits getTraits(const ParameterInfo &info) const;

  //===--- States ---===//
  /// `name` is the logical one (see getNameInLayers). Declaring a name of a stack again returns the first.
  moe::StateOp declare(llvm::StringRef name, moe::StateKind kind, mlir::RankedTensorType type,
                       const StateTraits &traits = {});
  /// Steps done, i64 [1, 1].
  moe::StateOp declareStepCounter();
  /// Index of the source of text of each sequence, i32 [sequences of a micro-batch, 1].
  moe::StateOp declareBatchSources();
  void declareParameters();
  moe::StateOp getState(llvm::StringRef symbol) const;
  /// Constants of a stack, `constant.layers.<i>.<name>`; type is that of one copy.
  moe::StateOp declareTable(llvm::StringRef name, const LayerStack &stack, mlir::RankedTensorType type,
                            std::vector<double> numbers);
  /// A parameter outside layers, or copy `index` of one of the stack.
  mlir::Value readParameter(llvm::StringRef symbol);
  mlir::Value readParameter(const LayerScope &layer, llvm::StringRef name);
  /// state += value.
  void accumulate(moe::StateOp state, mlir::Value value, mlir::Value index = {});
  void write(moe::StateOp state, mlir::Value value, mlir::Value index = {});
  /// One value in all copies.
  void writeFill(moe::StateOp state, double value);
  /// Zero in all copies: one op that becomes a fill.
  void writeZero(moe::StateOp state);
  /// A [1, 1] metric of the step. `section`: what it is logged for.
  moe::StateOp declareMetric(llvm::StringRef name, mlir::Operation *section,
                             std::optional<moe::StateRole> role = std::nullopt);
  /// Every metric says its name here, and takes the one that is returned. Two sections with one name are an error, and
  /// so is a name that lines of the log have beside metrics. Asking again for the same section is none.
  std::string claimMetric(llvm::StringRef name, mlir::Operation *section);
  bool hasErrors = false; // reported; the model is not to be used

  //===--- Functions ---===//
  mlir::func::FuncOp beginFunction(llvm::StringRef name);
  void endFunction();
  /// Steps done before this one, i64 [1, 1], read where the function begins.
  mlir::Value stepCounter();
  /// Tokens of the step before this micro-batch, i64 [1, 1]; for forward_backward.
  mlir::Value firstToken();
  mlir::RankedTensorType idType(int64_t rows, int64_t cols);
  mlir::RankedTensorType countType(int64_t rows, int64_t cols);

private:
  llvm::StringMap<moe::StateOp> states;
  llvm::StringMap<mlir::Operation *> metricOwners;
  llvm::StringSet<> clashes;            // of names, reported
  mlir::func::FuncOp function;          // being built
  mlir::Value stepRead, firstTokenRead; // in it
};

/// Sets the builder's location for a scope.
class LocationScope {
public:
  LocationScope(ModelContext &ctx, mlir::Location loc) : b(ctx.b), saved(ctx.b.getLoc()) { b.setLoc(loc); }
  ~LocationScope() { b.setLoc(saved); }

private:
  mlir::ImplicitLocOpBuilder &b;
  mlir::Location saved;
};

/// Where a block stands: its layer, the copy's index, and the tokens that pass.
struct LayerScope {
  const LayerStack &stack;
  mlir::Value index;
  int64_t numTokens;
  bool training;               // losses are built and choices counted
  llvm::StringRef prefix = {}; // of the names of parameters: "second." for the second half of a shortcut layer, or
                               // the whole beginning where there is no index
  mlir::Value textTokens = {}; // RoutingValues::textTokens
};

/// Sums of losses so far, and what is carried from layer to layer, both updated in place.
struct LayerTerms {
  llvm::MutableArrayRef<mlir::Value> lossSums, carried;
};

// Blocks: each maps the residual stream [N, D] to the next.
mlir::Value buildAttentionBlock(ModelContext &ctx, const LayerScope &layer, mlir::Value x);
mlir::Value buildFeedForwardBlock(ModelContext &ctx, const LayerScope &layer, mlir::Value x);
/// Without the residual: what the experts return for rows h [N, D]. Builds the terms of the layer when training.
mlir::Value buildMixture(ModelContext &ctx, const LayerScope &layer, mlir::Value h, LayerTerms terms);
mlir::Value buildMoeBlock(ModelContext &ctx, const LayerScope &layer, mlir::Value x, LayerTerms terms);
/// Attention and dense block twice, with the mixture beside the second half (see ShortcutBlock.cpp).
mlir::Value buildShortcutBlock(ModelContext &ctx, const LayerScope &layer, mlir::Value x, LayerTerms terms);

/// The mean over modules of their cross-entropies, [1, 1]. hidden: the trunk's residual stream before the final norm;
/// embedded: the embeddings of the input tokens. `surprises` [N, D] -> [N, 1]: minus the log-probability of the next
/// token.
mlir::Value buildMultiToken(ModelContext &ctx, exp::MultiTokenOp op, mlir::Value hidden, mlir::Value embedded,
                            llvm::function_ref<mlir::Value(mlir::Value)> surprises);

// Parts of blocks.
mlir::Value buildNorm(ModelContext &ctx, const LayerScope &layer, llvm::StringRef name, mlir::Value x);
/// x + block(...), with a norm after the block for peri placement.
mlir::Value buildResidual(ModelContext &ctx, const LayerScope &layer, llvm::StringRef block, mlir::Value x,
                          mlir::Value change);
mlir::Value buildSwiglu(ModelContext &ctx, const LayerScope &layer, llvm::StringRef name, mlir::Value h);
/// `weight` (may be null): a factor of each row.
mlir::Value buildSwigluGate(ModelContext &ctx, mlir::Value gate, mlir::Value up, mlir::Value weight = {});

// Functions.
void buildForwardFunctions(ModelContext &ctx);
/// Balancing and measures after a step, for the function `update`. step: [1, 1] of T, 1 for the first.
void buildRouterUpdates(ModelContext &ctx, mlir::Value step);
llvm::LogicalResult buildUpdateFunction(ModelContext &ctx);
void buildInitFunction(ModelContext &ctx);
void buildBeginFunctions(ModelContext &ctx);

} // namespace moec

#endif
