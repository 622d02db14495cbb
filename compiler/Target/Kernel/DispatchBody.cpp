#include "compiler/Target/Kernel/DispatchBody.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;

namespace moec::kernel {

Value DispatchBody::stripViews(Value value) {
  while (moe::isView(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  return value;
}

std::optional<unsigned> DispatchBody::paramOf(Value value) const {
  value = stripViews(value);
  if (auto read = value.getDefiningOp<moe::ReadOp>())
    return paramOfAccess(read);
  auto argument = dyn_cast<BlockArgument>(value);
  if (!argument)
    return std::nullopt;
  for (auto [i, param] : llvm::enumerate(params))
    if (param.kind == moe::DispatchParam::Kind::Input && param.index == argument.getArgNumber())
      return i;
  return std::nullopt;
}

unsigned DispatchBody::paramOfAccess(Operation *op) const {
  auto access = cast<moe::StateAccessOpInterface>(op);
  for (auto [i, param] : llvm::enumerate(params))
    if (param.kind == moe::DispatchParam::Kind::State && param.state == access.getStateAttr() &&
        Value(param.copy) == access.getIndex())
      return i;
  llvm_unreachable("collectDispatchParams lists every access");
}

unsigned DispatchBody::paramOfResult(unsigned index) const {
  for (auto [i, param] : llvm::enumerate(params))
    if (param.kind == moe::DispatchParam::Kind::Result && param.index == index)
      return i;
  llvm_unreachable("collectDispatchParams lists every result");
}

double DispatchBody::bytes() const {
  double count = 0;
  for (const moe::DispatchParam &param : params)
    if (param.type)
      count += double(param.type.getNumElements()) * param.type.getElementType().getIntOrFloatBitWidth() / 8 *
               (param.isRead + param.isWritten);
  return count;
}

SmallVector<DispatchBody::Sink> DispatchBody::sinks() const {
  SmallVector<Sink> sinks;
  moe::DispatchOp op = dispatch;
  for (Operation &inner : *op.getBlock())
    if (auto access = dyn_cast<moe::StateAccessOpInterface>(inner); access && access.getStored())
      sinks.push_back({stripViews(access.getStored()), paramOfAccess(access), access.accumulates()});
  for (auto [i, value] : llvm::enumerate(op.getYield().getValues()))
    sinks.push_back({stripViews(value), paramOfResult(i), false});
  return sinks;
}

SmallVector<Value> emitMap(KernelBuilder &kb, moe::MapOp map, int64_t lanes, Value row, Value column,
                           llvm::function_ref<Value(unsigned)> operand) {
  auto widen = [&](Type type) -> Type { return lanes == 1 ? type : VectorType::get(lanes, type); };
  IRMapping values;
  Block *block = map.getBlock();
  unsigned numInputs = map.getInputs().size();
  for (unsigned i = 0; i < numInputs; ++i)
    values.map(block->getArgument(i), operand(i));
  if (map.getPosition()) {
    values.map(block->getArgument(numInputs), kb.splat(row, lanes));
    Value columns = kb.splat(column, lanes);
    if (lanes > 1) {
      SmallVector<int64_t> steps(llvm::to_vector(llvm::seq<int64_t>(0, lanes)));
      auto type = VectorType::get(lanes, kb.b.getI64Type());
      columns =
          kb.add(columns, arith::ConstantOp::create(kb.b, DenseElementsAttr::get(type, ArrayRef<int64_t>(steps))));
    }
    values.map(block->getArgument(numInputs + 1), columns);
  }
  for (Operation &op : block->without_terminator()) {
    if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      TypedAttr value = constant.getValue();
      if (lanes > 1)
        value = DenseElementsAttr::get(VectorType::get(lanes, value.getType()), Attribute(value));
      values.map(constant.getResult(), arith::ConstantOp::create(kb.b, value));
      continue;
    }
    Operation *wide = kb.b.clone(op, values);
    for (auto [from, to] : llvm::zip(op.getResults(), wide->getResults())) {
      to.setType(widen(from.getType()));
      values.map(from, to);
    }
  }
  SmallVector<Value> results;
  for (Value value : block->getTerminator()->getOperands())
    results.push_back(values.lookup(value));
  return results;
}

} // namespace moec::kernel
