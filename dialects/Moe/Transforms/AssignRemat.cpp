// Marks forward values that are cheaper to compute again than to keep for every layer.
#include "dialects/Moe/Analysis/MapForm.h"
#include "dialects/Moe/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOEASSIGNREMAT
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

// Kept under every policy: it is small, and a second one could differ when another kernel rounds otherwise.
bool isRoutingDecision(Operation *op) {
  auto facts = dyn_cast<FactsOpInterface>(op);
  return facts && facts.isDecision();
}

bool isCheap(Operation *op) {
  const OpFacts *facts = factsOf(op);
  return facts && facts->isCheap;
}

/// A sum that ends a product, or what else is not cheap: keeping it costs as much as keeping what that made, and its
/// backward needs neither.
bool endsProduct(Operation &op) {
  auto map = dyn_cast<MapOp>(op);
  return map && isSum(map) && llvm::any_of(map.getInputs(), [](Value input) {
           Operation *maker = input.getDefiningOp();
           return input.hasOneUse() && factsOf(maker) && !isCheap(maker);
         });
}

struct AssignRematPass : impl::MoeAssignRematBase<AssignRematPass> {
  using Base::Base;
  void runOnOperation() override {
    if (policy == RematPolicy::none)
      return;
    UnitAttr mark = UnitAttr::get(&getContext());
    WalkResult walked = getOperation().walk([&](RepeatOp repeat) -> WalkResult {
      for (Operation &op : repeat.getBlock()->without_terminator()) {
        if (isa<RepeatOp>(op)) // decides for its own body
          continue;
        if (!factsOf(&op) && !op.hasTrait<OpTrait::ConstantLike>())
          return op.emitOpError("internal: has no facts, so nothing says whether it may be computed again");
        // Reads are always done again.
        if (isRoutingDecision(&op) || !isMemoryEffectFree(&op) || op.getNumResults() == 0)
          continue;
        if (policy == RematPolicy::full || (isCheap(&op) && !endsProduct(op)))
          op.setAttr("moe.remat", mark);
      }
      return WalkResult::advance();
    });
    if (walked.wasInterrupted())
      signalPassFailure();
  }
};

} // namespace
} // namespace moec::moe
