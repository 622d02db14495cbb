#include "compiler/Pipelines/Phases.h"

#include "compiler/Conversion/ExpToMoe/Passes.h"
#include "compiler/Conversion/ExpToPlan/Passes.h"
#include "compiler/Conversion/MoeToPlan/Passes.h"
#include "dialects/Dist/Transforms/Passes.h"
#include "dialects/Moe/Transforms/Passes.h"
#include "dialects/Plan/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

namespace moec {

namespace {

void buildExpPipeline(OpPassManager &, const PhaseOptions &) {}

void buildModelPipeline(OpPassManager &pm, const PhaseOptions &options) {
  BuildModelOptions model;
  model.rowAlign = options.structure->rowAlign();
  model.wide = options.reference;
  model.lineKeys.assign(options.lineKeys.begin(), options.lineKeys.end());
  pm.addPass(createBuildModel(model));
}

int64_t microBatchesOf(exp::ExperimentOp experiment) {
  auto batch = experiment.section<exp::BatchOp>();
  return batch.getSequences() / batch.getMicroSequences();
}

int64_t dataRanksOf(exp::ExperimentOp experiment) {
  auto parallel = experiment.section<exp::ParallelOp>();
  return parallel ? parallel.getData() : 1;
}

void buildPartitionPipeline(OpPassManager &pm, const PhaseOptions &options) {
  exp::ExperimentOp experiment = options.experiment;
  auto parallel = experiment.section<exp::ParallelOp>();
  if (!parallel)
    return;
  dist::DistPartitionOptions layout;
  layout.data = dataRanksOf(experiment);
  layout.experts = parallel.getExperts();
  layout.microBatches = microBatchesOf(experiment);
  pm.addPass(dist::createDistPartition(layout));
  if (parallel.getZero() > 0)
    pm.addPass(dist::createDistShardStates());
}

moe::RematPolicy policyOf(exp::Remat remat) {
  switch (remat) {
  case exp::Remat::none:
    return moe::RematPolicy::none;
  case exp::Remat::selective:
    return moe::RematPolicy::selective;
  case exp::Remat::full:
    return moe::RematPolicy::full;
  }
  llvm_unreachable("all of them are above");
}

void buildBackwardPipeline(OpPassManager &pm, const PhaseOptions &options) {
  exp::ExperimentOp experiment = options.experiment;
  moe::MoeAssignRematOptions remat;
  remat.policy = policyOf(experiment.section<exp::MemoryOp>().getRemat());
  OpPassManager &function = pm.nest<func::FuncOp>();
  // Before differentiation, which clones marked ops into the backward instead of keeping their results.
  function.addPass(moe::createMoeAssignRemat(remat));
  function.addPass(moe::createMoeDifferentiate());
  // The backward of an op may build gradients that nobody needs.
  function.addPass(createCanonicalizerPass());
  function.addPass(createCSEPass());
}

void buildDispatchPipeline(OpPassManager &pm, const PhaseOptions &options) {
  exp::ExperimentOp experiment = options.experiment;
  auto precision = experiment.section<exp::PrecisionOp>();
  pm.addPass(dist::createDistLowerSums());
  if (precision.getReduce() == exp::SumOrder::ordered)
    pm.addPass(dist::createDistOrderSums({microBatchesOf(experiment) / dataRanksOf(experiment)}));
  pm.addNestedPass<func::FuncOp>(moe::createMoeSplitSums());
  // With several ranks a state may be read in parts, and "0 + x" must have the same sign of zero in all layouts.
  if (microBatchesOf(experiment) == 1)
    pm.addPass(moe::createMoeWriteFirst());
  if (precision.getExperts() == exp::ExpertFormat::fp8)
    pm.addPass(moe::createMoeQuantizeExperts());
  OpPassManager &function = pm.nest<func::FuncOp>();
  // Norms and softmaxes become their parts, which fuse with neighbouring ops.
  function.addPass(moe::createMoeDecompose());
  function.addPass(createCanonicalizerPass());
  function.addPass(createCSEPass());
  if (!options.apart) {
    function.addPass(moe::createMoeJoinSums());
    function.addPass(moe::createMoeJoinMaps());
    function.addPass(createCSEPass()); // a joined map has common parts
  }
  function.addPass(
      moe::createMoeFormDispatches({options.structure->tensorsOfEpilogue(), options.structure->columnsOfRowSums(),
                                    options.structure->columnsToGatherOnce(), options.structure->columnsToSumInRows(),
                                    options.structure->spreadsInLoads(), options.apart}));
  if (precision.getCompute() != exp::ComputeFormat::bf16)
    return;
  moe::MoeNarrowStorageOptions storage;
  storage.narrow = !options.reference && options.target->narrowType(experiment.getContext());
  storage.master = precision.getMaster() == exp::StateFormat::bf16;
  storage.optimizer = precision.getOptimizer() == exp::StateFormat::bf16;
  storage.gradients = precision.getGradients() == exp::StateFormat::bf16;
  pm.addPass(moe::createMoeNarrowStorage(storage));
}

void buildPlanPipeline(OpPassManager &pm, const PhaseOptions &options) {
  pm.addPass(createMoeToPlan({options.target->name()}));
  // Programs name functions, so these must be plan functions already.
  pm.addPass(createBuildPrograms());
}

void buildPlacePipeline(OpPassManager &pm, const PhaseOptions &) {
  pm.addPass(plan::createPlace());
  pm.addPass(plan::createVerifyPlacement());
}

constexpr Phase table[] = {
    {"exp", "exp", "exp", "the experiment as declared, every default filled in", buildExpPipeline},
    {"moe", "exp", "moe", "the model, losses and optimizer as tensor programs", buildModelPipeline},
    {"partition", "moe", "moe + dist", "divided over ranks", buildPartitionPipeline},
    {"backward", "moe", "moe", "with the backward of forward_backward", buildBackwardPipeline},
    {"dispatch", "moe", "moe", "grouped into dispatches: one dispatch is one kernel", buildDispatchPipeline},
    {"plan", "moe", "plan + scf/vector/llvm", "instructions, buffers and kernels", buildPlanPipeline},
    {"place", "plan", "plan", "every buffer with its offset and lifetime", buildPlacePipeline},
};

} // namespace

ArrayRef<Phase> phases() { return table; }

const Phase *findPhase(StringRef name) {
  for (const Phase &phase : table)
    if (phase.name == name)
      return &phase;
  return nullptr;
}

} // namespace moec
