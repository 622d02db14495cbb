// Marks forward values that are cheaper to compute again than to keep for every layer.
#include "dialects/Moe/Analysis/MapForm.h"
#include "dialects/Moe/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOEASSIGNREMAT
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

// Every policy keeps it: it is small, and a second computation could differ, because another kernel may round
// differently.
bool isRoutingDecision(Operation *op) {
  auto facts = dyn_cast<FactsOpInterface>(op);
  return facts && facts.isDecision();
}

bool isCheap(Operation *op) {
  const OpFacts *facts = factsOf(op);
  return facts && facts->isCheap;
}

/// Whether the op adds the result of a product (or of another op that is not cheap) to another value. Keeping the sum
/// costs as much as keeping that result, and the backward of the product needs neither.
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
        if (isa<RepeatOp>(op)) // its body is visited by itself
          continue;
        if (!factsOf(&op) && !op.hasTrait<OpTrait::ConstantLike>())
          return op.emitOpError("internal: has no facts, so nothing says whether it may be computed again");
        // Reads are always repeated.
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
