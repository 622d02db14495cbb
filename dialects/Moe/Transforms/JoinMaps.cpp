// Merges a map that makes an operand of a product into the epilogue of another product that reads the same tensors.
#include "dialects/Moe/Analysis/MapForm.h"
#include "dialects/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOEJOINMAPS
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

/// The product that only `map` reads, as a tensor of the map's shape; null: none.
Operation *productBefore(MapOp map) {
  for (Value input : map.getInputs())
    if (isProduct(input.getDefiningOp()) && input.hasOneUse() && input.getDefiningOp()->getBlock() == map->getBlock() &&
        cast<RankedTensorType>(input.getType()).getShape() == map.getShapeType().getShape())
      return input.getDefiningOp();
  return nullptr;
}

/// Whether the operands of `op` allow it to move before `place`; `skipped` moves with it.
bool mayMoveBefore(Operation *op, Operation *place, Operation *skipped = nullptr) {
  return llvm::all_of(op->getOperands(), [&](Value operand) {
    Operation *maker = operand.getDefiningOp();
    return !maker || maker == skipped || maker->getBlock() != place->getBlock() || maker->isBeforeInBlock(place);
  });
}

/// Whether `first` makes an operand of products, and reads no tensor of its shape that `second` does not read.
bool isMadeAlong(MapOp first, MapOp second) {
  ArrayRef<int64_t> shape = second.getShapeType().getShape();
  if (first.getPosition() || first.getShapeType().getShape() != shape || countFullInputs(first) == 0)
    return false;
  bool isFactor = llvm::any_of(first->getUsers(), isProduct);
  return isFactor && llvm::all_of(first.getInputs(), [&](Value input) {
           return cast<RankedTensorType>(input.getType()).getShape() != shape ||
                  llvm::is_contained(second.getInputs(), input);
         });
}

/// Whether the map's results are read only in rows that belong to a group of `product`.
bool isReadInGroups(MapOp map, GroupedMatmulOp product) {
  return llvm::all_of(map->getUses(), [&](OpOperand &use) {
    unsigned number = use.getOperandNumber();
    if (auto matmul = dyn_cast<GroupedMatmulOp>(use.getOwner()))
      return number == 0 && matmul.getOffsets() == product.getOffsets();
    auto outer = dyn_cast<GroupedOuterOp>(use.getOwner());
    return outer && number < 2 && outer.getOffsets() == product.getOffsets();
  });
}

/// Whether the kernel of `product` may compute both maps although it leaves rows out.
bool mayLeaveRows(MapOp first, MapOp second, Operation *product) {
  auto partial = dyn_cast<PartialOpInterface>(product);
  if (!partial || !partial.leavesRows())
    return true;
  auto grouped = cast<GroupedMatmulOp>(product);
  auto isLeft = [&](Value value) { return value.getDefiningOp() == product; };
  return isReadInGroups(first, grouped) && (second.isLeftWith(isLeft) || isReadInGroups(second, grouped));
}

/// Makes one map at the place of `first`, with the results of `second` and then those of `first`.
void join(MapOp first, MapOp second, Operation *product) {
  OpBuilder b(first);
  SmallVector<Value> inputs(second.getInputs());
  for (Value input : first.getInputs())
    if (!llvm::is_contained(inputs, input))
      inputs.push_back(input);
  SmallVector<Type> types(second->getResultTypes());
  llvm::append_range(types, first->getResultTypes());
  auto joined =
      MapOp::create(b, b.getFusedLoc({second.getLoc(), first.getLoc()}), types, inputs,
                    [&](OpBuilder &inside, Location, ValueRange scalars) {
                      SmallVector<Value> results;
                      for (MapOp map : {second, first}) {
                        IRMapping values;
                        for (auto [argument, input] : llvm::zip(map.getBlock()->getArguments(), map.getInputs()))
                          values.map(argument, scalars[llvm::find(inputs, input) - inputs.begin()]);
                        for (Operation &op : map.getBlock()->without_terminator())
                          inside.clone(op, values);
                        for (Value value : map.getBlock()->getTerminator()->getOperands())
                          results.push_back(values.lookup(value));
                      }
                      return results;
                    });
  auto partial = dyn_cast<PartialOpInterface>(product);
  joined.setPartial(partial && partial.leavesRows());
  size_t count = second->getNumResults();
  second->replaceAllUsesWith(joined->getResults().take_front(count));
  first->replaceAllUsesWith(joined->getResults().drop_front(count));
  second.erase();
  first.erase();
  // The product may move up or down: it has no effect, one user, and operands that are made before (mayMoveBefore).
  product->moveBefore(joined);
}

struct JoinMapsPass : impl::MoeJoinMapsBase<JoinMapsPass> {
  void runOnOperation() override {
    SmallVector<MapOp> maps;
    getOperation().walk([&](MapOp map) { maps.push_back(map); });
    llvm::SmallPtrSet<Operation *, 8> gone;
    for (MapOp second : maps) {
      if (gone.contains(second) || second.getPosition())
        continue;
      Operation *product = productBefore(second);
      if (!product)
        continue;
      for (MapOp first : maps) {
        if (first == second || gone.contains(first) || first->getBlock() != second->getBlock() ||
            !first->isBeforeInBlock(second) || !isMadeAlong(first, second) || !mayMoveBefore(second, first, product) ||
            !mayMoveBefore(product, first) || !mayLeaveRows(first, second, product))
          continue;
        gone.insert(first);
        gone.insert(second);
        join(first, second, product);
        break;
      }
    }
  }
};

} // namespace
} // namespace moec::moe
