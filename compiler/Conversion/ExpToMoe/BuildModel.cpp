#include "compiler/Conversion/ExpToMoe/Passes.h"
#include "compiler/Model/ModelBuilder.h"
#include "dialects/Moe/IR/Moe.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace moec {
#define GEN_PASS_DEF_BUILDMODEL
#include "compiler/Conversion/ExpToMoe/Passes.h.inc"

namespace {

struct BuildModelPass : impl::BuildModelBase<BuildModelPass> {
  using Base::Base;

  void runOnOperation() override {
    auto experiments = llvm::to_vector(getOperation().getOps<exp::ExperimentOp>());
    if (experiments.size() != 1) {
      getOperation().emitError() << "holds " << experiments.size() << " experiments, expected 1";
      return signalPassFailure();
    }
    ModelOptions options;
    options.rowAlign = rowAlign;
    options.wide = wide;
    options.lineKeys.assign(lineKeys.begin(), lineKeys.end());
    if (failed(buildModel(experiments.front(), getOperation(), options)))
      return signalPassFailure();
  }
};

} // namespace
} // namespace moec
