// Marks forward values that are cheaper to compute again than to keep for every layer.
#include "dialects/Moe/Analysis/MapForm.h"
#include "dialects/Moe/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOEASSIGNREMAT
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

/// Whether floats decide on integers: ids from a comparison of scores.
bool isDecision(MapOp map) {
  auto isFloat = [](Value value) { return isa<FloatType>(cast<RankedTensorType>(value.getType()).getElementType()); };
  return llvm::any_of(map.getInputs(), isFloat) && !llvm::all_of(map.getResults(), isFloat);
}

// The routing decision is kept under every policy: it is small, and a second one could differ when another kernel
// rounds otherwise.
bool isRoutingDecision(Operation *op) {
  if (auto map = dyn_cast<MapOp>(op))
    return isDecision(map);
  return isa<TopKOp, ColumnKthOp, SinkhornOp, LimitCapacityOp, PermuteOp, CountIdsOp>(op);
}

// One pass over memory, as much as loading a kept value would be. Products, attention and sums over experts' rows are
// not.
bool isCheap(Operation *op) {
  return isa<MapOp, RowReduceOp, RmsNormOp, SoftmaxOp, LogSumExpOp, TakeOp, PutOp, GatherRowsOp, ReshapeOp,
             SliceColumnsOp>(op);
}

/// A sum that ends a product: keeping it costs as much as keeping what the product made, and its backward needs
/// neither.
bool endsProduct(Operation &op) {
  auto map = dyn_cast<MapOp>(op);
  return map && isSum(map) && llvm::any_of(map.getInputs(), [](Value input) {
           Operation *maker = input.getDefiningOp();
           return input.hasOneUse() && isa_and_present<MatmulOp, GroupedMatmulOp, CombineRowsOp>(maker);
         });
}

struct AssignRematPass : impl::MoeAssignRematBase<AssignRematPass> {
  using Base::Base;
  void runOnOperation() override {
    if (policy == RematPolicy::none)
      return;
    UnitAttr mark = UnitAttr::get(&getContext());
    getOperation().walk([&](RepeatOp repeat) {
      for (Operation &op : repeat.getBlock()->without_terminator()) {
        // Reads are always done again; a nested repeat decides for its own body.
        if (isRoutingDecision(&op) || !isMemoryEffectFree(&op) || isa<RepeatOp>(op) || op.getNumResults() == 0)
          continue;
        if (policy == RematPolicy::full || (isCheap(&op) && !endsProduct(op)))
          op.setAttr("moe.remat", mark);
      }
    });
  }
};

} // namespace
} // namespace moec::moe
