// The loop around the functions: what a run does, from the declared cadences.
#include "compiler/Conversion/ExpToPlan/Passes.h"
#include "dialects/Exp/IR/Exp.h"
#include "dialects/Moe/IR/FunctionNames.h"
#include "dialects/Plan/IR/Plan.h"
#include "llvm/ADT/bit.h"

using namespace mlir;

namespace moec {
#define GEN_PASS_DEF_BUILDPROGRAMS
#include "compiler/Conversion/ExpToPlan/Passes.h.inc"

namespace {

class ProgramBuilder {
public:
  ProgramBuilder(ModuleOp module, Location loc) : b(OpBuilder::atBlockEnd(module.getBody())), loc(loc) {}

  void program(StringRef name, function_ref<void()> body) { inside(plan::ProgramOp::create(b, loc, name), body); }
  void repeat(int64_t count, function_ref<void()> body) { inside(plan::RepeatOp::create(b, loc, count, false), body); }
  void steps(int64_t count, function_ref<void()> body) { inside(plan::StepsOp::create(b, loc, count), body); }
  void every(int64_t count, function_ref<void()> body) { inside(plan::EveryOp::create(b, loc, count), body); }
  void call(StringRef function) { plan::CallOp::create(b, loc, FlatSymbolRefAttr::get(b.getContext(), function)); }
  void nextBatch() { plan::NextBatchOp::create(b, loc); }
  void log(int64_t every) { plan::LogOp::create(b, loc, every); }
  void evaluate() { plan::EvaluateOp::create(b, loc); }
  void save() { plan::SaveOp::create(b, loc); }

private:
  void inside(Operation *op, function_ref<void()> body) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&op->getRegion(0).emplaceBlock());
    body();
  }

  OpBuilder b;
  Location loc;
};

/// The micro-batches of one rank in a step. With an order of sums (dist-order-sums) each is followed by the joins of a
/// binary tree: after micro-batch i, counted from 0, as many levels are full as i has ones at its end.
void buildMicroBatches(ProgramBuilder &p, ModuleOp module, int64_t count) {
  auto runOne = [&] {
    p.nextBatch();
    p.call(moe::kForwardBackwardFunction);
  };
  if (!module.lookupSymbol<plan::FuncOp>(moe::kSumAllFunction))
    return p.repeat(count, runOne);
  for (int64_t i = 0; i < count; ++i) {
    runOne();
    if (i + 1 < count)
      p.call(moe::kSumLevelFunction + std::to_string(llvm::countr_one(static_cast<uint64_t>(i))));
    else
      p.call(moe::kSumAllFunction);
  }
}

struct BuildProgramsPass : impl::BuildProgramsBase<BuildProgramsPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto experiments = llvm::to_vector(module.getOps<exp::ExperimentOp>());
    if (experiments.size() != 1) {
      module.emitError() << "holds " << experiments.size() << " experiments, expected 1";
      return signalPassFailure();
    }
    exp::ExperimentOp experiment = experiments.front();
    auto batch = experiment.section<exp::BatchOp>();
    auto evaluation = experiment.section<exp::EvaluateOp>();
    auto checkpoint = experiment.section<exp::CheckpointOp>();
    int64_t steps = experiment.section<exp::DurationOp>().getSteps();
    auto mesh = module.lookupSymbol<plan::MeshOp>(plan::MeshOp::symbol);
    int64_t ranks =
        mesh && mesh.getBatches() ? mesh.sizeAlong(ArrayAttr::get(&getContext(), mesh.getBatchesAttr())) : 1;
    int64_t microBatches = batch.getSequences() / batch.getMicroSequences() / ranks; // of a rank
    bool canEvaluate = llvm::any_of(experiment.sections<exp::DatasetOp>(),
                                    [](exp::DatasetOp data) { return data.getSplit() == exp::Split::validation; });

    // The runtime fills it whether or not a function reads it.
    constexpr auto role = plan::StateRole::batch_sources;
    if (llvm::none_of(module.getOps<plan::StateOp>(), [&](plan::StateOp state) { return state.getRole() == role; })) {
      OpBuilder b = OpBuilder::atBlockBegin(module.getBody());
      auto sources = RankedTensorType::get({static_cast<int64_t>(batch.getMicroSequences()), 1}, b.getI32Type());
      plan::StateOp::create(b, batch.getLoc(), "batch.domains", plan::StateKind::batch, sources, 1).setRole(role);
    }

    ProgramBuilder p(module, experiment.getLoc());
    p.program("init", [&] { p.call(moe::kInitFunction); });
    if (module.lookupSymbol<plan::FuncOp>(moe::kRefreshFunction))
      p.program("restore", [&] { p.call(moe::kRefreshFunction); });
    p.program("train", [&] {
      p.steps(steps, [&] {
        p.call(moe::kBeginStepFunction);
        buildMicroBatches(p, module, microBatches);
        p.call(moe::kUpdateFunction);
        p.log(experiment.section<exp::MetricsOp>().getEverySteps());
        if (canEvaluate && evaluation.getEverySteps() > 0)
          p.every(evaluation.getEverySteps(), [&] { p.evaluate(); });
        // Cadence 0 saves at the end only: `every` also runs at the last step.
        int64_t saves = checkpoint.getEverySteps() > 0 ? static_cast<int64_t>(checkpoint.getEverySteps()) : steps;
        p.every(saves, [&] { p.save(); });
      });
    });
    experiment->erase();
  }
};

} // namespace
} // namespace moec
