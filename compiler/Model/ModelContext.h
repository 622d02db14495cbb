// What the parts of the model builder share. Internal to compiler/Model.
#ifndef MOEC_COMPILER_MODEL_MODELCONTEXT_H
#define MOEC_COMPILER_MODEL_MODELCONTEXT_H

#include "compiler/Model/ModelBuilder.h"
#include "compiler/Model/ModelMethods.h"
#include "compiler/Model/ModelStates.h"
#include "compiler/Model/Parameters.h"
#include "dialects/Moe/IR/FunctionNames.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace moec {

struct LayerScope;

struct Parameter {
  ParameterInfo info;
  moe::StateOp state, gradient;
};

class ModelContext {
public:
  ModelContext(exp::ExperimentOp experiment, mlir::ModuleOp module, const ModelOptions &options, ModelMethods methods);

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
  ModelMethods methods;
  ModelStates states;
  std::vector<Parameter> parameters;

  int64_t seqLen();
  int64_t microSequences();
  int64_t microBatches();
  int64_t numMoeLayers() { return numMoeLayersBefore(model.getNumLayers()); }
  int64_t numMoeLayersBefore(int64_t layer);
  int64_t numRouterOutputs() { return moe.getNumExperts() + moe.getZeroExperts(); }
  double eps() { return model.getNormEps().convertToDouble(); }

  ParameterTraits getTraits(const ParameterInfo &info) const;

  //===--- States ---===//
  /// Steps done, i64 [1, 1].
  moe::StateOp declareStepCounter();
  /// Index of the source of text of each sequence, i32 [sequences of a micro-batch, 1].
  moe::StateOp declareBatchSources();
  void declareParameters();
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

  //===--- Functions ---===//
  /// `name`: of FunctionNames.h.
  mlir::func::FuncOp beginFunction(llvm::StringRef name);
  void endFunction();
  /// Steps done before this one, i64 [1, 1], read where the function begins.
  mlir::Value stepCounter();
  /// Tokens of the step before this micro-batch, i64 [1, 1]; for forward_backward.
  mlir::Value firstToken();
  mlir::RankedTensorType idType(int64_t rows, int64_t cols);
  mlir::RankedTensorType countType(int64_t rows, int64_t cols);

private:
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
