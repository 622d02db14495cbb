#include "dialects/Moe/Analysis/MapForm.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::moe {

bool isSum(MapOp map) {
  if (map->getNumResults() != 1 || map.getPosition() || map.getInputs().size() < 2)
    return false;
  for (Value input : map.getInputs())
    if (input.getType() != map.getResult(0).getType())
      return false;
  // A chain of additions in which every scalar has one use ends in the sum of all arguments.
  Block *body = map.getBlock();
  for (Operation &op : body->without_terminator())
    if (!isa<arith::AddFOp>(op) || !op.hasOneUse())
      return false;
  return llvm::range_size(body->without_terminator()) == map.getInputs().size() - 1 &&
         llvm::all_of(body->getArguments(), [](BlockArgument argument) { return argument.hasOneUse(); });
}

MapOp getInnerSum(Value value, Block *block) {
  auto map = value.getDefiningOp<MapOp>();
  return map && map->getBlock() == block && value.hasOneUse() && isSum(map) ? map : MapOp();
}

unsigned countFullInputs(MapOp map) {
  return llvm::count_if(map.getInputs(), [&](Value input) {
    return cast<RankedTensorType>(input.getType()).getShape() == map.getShapeType().getShape();
  });
}

} // namespace moec::moe
