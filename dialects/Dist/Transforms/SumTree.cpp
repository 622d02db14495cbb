#include "dialects/Dist/Transforms/SumTree.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace moec::dist {

static Value addScalars(OpBuilder &b, Location loc, ValueRange parts) {
  if (parts.size() == 1)
    return parts.front();
  size_t half = llvm::PowerOf2Ceil(parts.size()) / 2;
  Value left = addScalars(b, loc, parts.take_front(half)), right = addScalars(b, loc, parts.drop_front(half));
  if (isa<FloatType>(left.getType()))
    return arith::AddFOp::create(b, loc, left, right);
  return arith::AddIOp::create(b, loc, left, right);
}

Value addAsTree(OpBuilder &b, Location loc, ValueRange parts) {
  return moe::MapOp::create(b, loc, parts.front().getType(), parts,
                            [](OpBuilder &inside, Location at, ValueRange scalars) {
                              return SmallVector<Value>{addScalars(inside, at, scalars)};
                            })
      .getResult(0);
}

RankedTensorType rowsOf(RankedTensorType type, int64_t elements) {
  int64_t columns = type.getShape().back();
  if (elements % columns != 0)
    for (columns = std::min<int64_t>(elements, 1024); elements % columns != 0;)
      --columns;
  return RankedTensorType::get({elements / columns, columns}, type.getElementType());
}

} // namespace moec::dist
