// Groups become dispatches: the ops of a block move into bodies. Each body gets its own copies of reads, views and
// constants.
#include "dialects/Moe/Transforms/DispatchGroups.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;

namespace moec::moe {

/// The values that ops outside the group read, looking through the reshapes that users look through.
SmallVector<Value> DispatchGroups::escapingResults(const DispatchGroup &group) {
  SmallVector<Value> escaping;
  for (Operation *op : group.ops)
    for (Value result : op->getResults()) {
      SmallVector<Value> pending{result};
      bool escapes = false;
      while (!pending.empty() && !escapes)
        for (OpOperand &use : pending.pop_back_val().getUses()) {
          Operation *user = use.getOwner();
          if (llvm::is_contained(group.ops, user))
            continue;
          if (user->getBlock() == &block && isa<ReshapeOp>(user)) {
            // A reshape may feed only sinks of the same group.
            pending.push_back(user->getResult(0));
            continue;
          }
          escapes = true;
        }
      if (escapes)
        escaping.push_back(result);
    }
  return escaping;
}

Operation *DispatchGroups::buildDispatch(const DispatchGroup &group, OpBuilder &builder, IRMapping &outer) {
  Block *body = new Block;
  OpBuilder inside(builder.getContext());
  inside.setInsertionPointToStart(body);
  SmallVector<Value> inputs;
  IRMapping inner;
  Location loc = group.ops.front()->getLoc();

  auto asInput = [&](Value outerValue) -> Value {
    for (auto [number, input] : llvm::enumerate(inputs))
      if (input == outerValue)
        return body->getArgument(number);
    inputs.push_back(outerValue);
    return body->addArgument(outerValue.getType(), outerValue.getLoc());
  };
  std::function<Value(Value)> enter = [&](Value value) -> Value {
    if (Value known = inner.lookupOrNull(value))
      return known;
    Operation *def = value.getDefiningOp();
    if (def && isa<ReshapeOp>(def)) {
      Value base = underReshapes(value);
      if (auto read = base.getDefiningOp<ReadOp>()) { // a state may be read under any shape
        Value copy = read.getIndex() ? enter(read.getIndex()) : Value();
        Value result =
            ReadOp::create(inside, read.getLoc(), value.getType(), read.getStateAttr(), copy, read.getRunsAttr());
        inner.map(value, result);
        return result;
      }
      if (auto constant = base.getDefiningOp<arith::ConstantOp>()) {
        auto elements = cast<DenseElementsAttr>(constant.getValue()).reshape(cast<ShapedType>(value.getType()));
        Value result = arith::ConstantOp::create(inside, constant.getLoc(), elements);
        inner.map(value, result);
        return result;
      }
      Value mapped = outer.lookupOrDefault(base);
      Value shaped = mapped.getType() == value.getType()
                         ? mapped
                         : Value(ReshapeOp::create(builder, def->getLoc(), value.getType(), mapped));
      Value result = asInput(shaped);
      inner.map(value, result);
      return result;
    }
    if (def && isCloned(def) && (def->getBlock() == &block || isa<arith::ConstantOp>(def))) {
      IRMapping operands;
      for (Value operand : def->getOperands())
        operands.map(operand, enter(operand));
      Value result = inside.clone(*def, operands)->getResult(0);
      inner.map(value, result);
      return result;
    }
    Value result = asInput(outer.lookupOrDefault(value));
    inner.map(value, result);
    return result;
  };

  for (Operation *op : group.ops) {
    IRMapping operands;
    for (Value operand : op->getOperands()) {
      Value source = operand;
      // Stored bytes do not depend on the shape, so the group's value is written in the shape in which it was made.
      if (isSink(op) && operand == sinkValue(op) && inner.lookupOrNull(underReshapes(operand)))
        source = underReshapes(operand);
      operands.map(operand, enter(source));
    }
    Operation *copy = inside.clone(*op, operands);
    for (auto [from, to] : llvm::zip(op->getResults(), copy->getResults()))
      inner.map(from, to);
  }

  SmallVector<Value> escaping = escapingResults(group);
  SmallVector<Value> yields;
  SmallVector<Type> types;
  for (Value value : escaping) {
    yields.push_back(inner.lookup(value));
    types.push_back(value.getType());
  }
  YieldOp::create(inside, loc, yields);
  auto dispatch = DispatchOp::create(builder, loc, types, inputs, builder.getStringAttr(group.kind),
                                     group.note.empty() ? StringAttr() : builder.getStringAttr(group.note));
  dispatch.getBody().push_back(body);
  for (auto [value, result] : llvm::zip(escaping, dispatch.getResults()))
    outer.map(value, result);
  return dispatch;
}

void DispatchGroups::rewrite() {
  SmallVector<Operation *> old;
  for (Operation &op : block.without_terminator())
    if (!stays(&op))
      old.push_back(&op);
  OpBuilder builder(block.getTerminator());
  IRMapping outer;
  auto outside = [&](Value value) -> Value {
    Value base = underReshapes(value);
    Operation *def = base.getDefiningOp();
    Value mapped = base;
    if (def && def->getBlock() == &block && isa<arith::ConstantOp, ReadOp>(def)) {
      if (!outer.contains(base))
        outer.map(base, builder.clone(*def)->getResult(0));
      mapped = outer.lookup(base);
    } else {
      mapped = outer.lookupOrDefault(base);
    }
    if (mapped.getType() != value.getType())
      mapped = ReshapeOp::create(builder, value.getLoc(), value.getType(), mapped);
    return mapped;
  };
  for (const DispatchGroup &group : groups) {
    if (!group.kind.empty()) {
      buildDispatch(group, builder, outer);
      continue;
    }
    Operation *op = group.ops.front();
    op->moveBefore(block.getTerminator());
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(op);
    // The op's own operands, and values of this block that its body captures.
    op->walk([&](Operation *user) {
      for (OpOperand &operand : user->getOpOperands())
        if (user == op || (operand.get().getDefiningOp() && operand.get().getDefiningOp()->getBlock() == &block))
          operand.set(outside(operand.get()));
    });
  }
  Operation *terminator = block.getTerminator();
  for (OpOperand &operand : terminator->getOpOperands())
    operand.set(outside(operand.get()));
  for (Operation *op : llvm::reverse(old))
    op->erase();
}

} // namespace moec::moe
