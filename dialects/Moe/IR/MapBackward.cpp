// The backward of moe.map: reverse mode over the scalars of its region.
#include "dialects/Moe/IR/MoeBuild.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/BitVector.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace moec::moe {

//===--- Helpers of MoeBuild.h ------------------------------------------------------------------------------------===//

Value buildMap(OpBuilder &builder, Location loc, Type resultType, ValueRange inputs,
               function_ref<Value(Scalars &, ValueRange)> body) {
  return MapOp::create(builder, loc, TypeRange(resultType), inputs,
                       [&](OpBuilder &b, Location l, ValueRange scalars) {
                         Scalars s(b, l);
                         return SmallVector<Value>{body(s, scalars)};
                       })
      .getResult(0);
}

// Maps know matrices only; stacks of matrices are seen as one tall matrix.
static RankedTensorType asMatrix(RankedTensorType type) {
  int64_t numCols = type.getShape().back();
  return RankedTensorType::get({type.getNumElements() / numCols, numCols}, type.getElementType());
}

static Value reshapeTo(OpBuilder &builder, Location loc, RankedTensorType type, Value value) {
  return value.getType() == type ? value : ReshapeOp::create(builder, loc, type, value).getResult();
}

Value buildSplat(OpBuilder &builder, Location loc, RankedTensorType type, double value) {
  Value matrix = buildMap(builder, loc, asMatrix(type), {},
                          [&](Scalars &s, ValueRange) { return s.constant(type.getElementType(), value); });
  return reshapeTo(builder, loc, type, matrix);
}

Value buildSum(OpBuilder &builder, Location loc, Value x, Value y) {
  auto type = cast<RankedTensorType>(x.getType());
  RankedTensorType matrix = asMatrix(type);
  SmallVector<Value> inputs{reshapeTo(builder, loc, matrix, x), reshapeTo(builder, loc, matrix, y)};
  Value sum = buildMap(builder, loc, matrix, inputs, [](Scalars &s, ValueRange v) { return s.add(v[0], v[1]); });
  return reshapeTo(builder, loc, type, sum);
}

//===--- Scalar rules ---------------------------------------------------------------------------------------------===//

namespace {

/// Gradients of scalars inside the region of the new map. `active` holds the scalars that depend on an operand whose
/// gradient is needed.
class ScalarBackward {
public:
  ScalarBackward(OpBuilder &builder, llvm::DenseSet<Value> &active) : builder(builder), active(active) {}

  void add(Value value, Value grad) {
    if (!active.contains(value))
      return;
    Value &sum = grads[value];
    sum = sum ? arith::AddFOp::create(builder, grad.getLoc(), sum, grad).getResult() : grad;
  }
  Value lookup(Value value) const { return grads.lookup(value); }

  LogicalResult visit(Operation *op);

private:
  OpBuilder &builder;
  llvm::DenseSet<Value> &active;
  llvm::DenseMap<Value, Value> grads;
};

LogicalResult ScalarBackward::visit(Operation *op) {
  Value y = op->getResult(0), g = lookup(y);
  if (!g)
    return success();
  Scalars s(builder, op->getLoc());
  auto in = [&](unsigned i) { return op->getOperand(i); };
  // Skips terms that nobody needs, so that no dead scalar op is made.
  auto give = [&](unsigned i, llvm::function_ref<Value()> term) {
    if (active.contains(in(i)))
      add(in(i), term());
  };
  auto pick = [&](Value chooseFirst, unsigned first, unsigned second) {
    Value zero = s.constant(g.getType(), 0);
    give(first, [&] { return s.select(chooseFirst, g, zero); });
    give(second, [&] { return s.select(chooseFirst, zero, g); });
  };
  return TypeSwitch<Operation *, LogicalResult>(op)
      .Case<arith::AddFOp>([&](auto) {
        give(0, [&] { return g; });
        give(1, [&] { return g; });
        return success();
      })
      .Case<arith::SubFOp>([&](auto) {
        give(0, [&] { return g; });
        give(1, [&] { return s.neg(g); });
        return success();
      })
      .Case<arith::MulFOp>([&](auto) {
        give(0, [&] { return s.mul(g, in(1)); });
        give(1, [&] { return s.mul(g, in(0)); });
        return success();
      })
      .Case<arith::DivFOp>([&](auto) {
        give(0, [&] { return s.div(g, in(1)); });
        give(1, [&] { return s.neg(s.div(s.mul(g, y), in(1))); });
        return success();
      })
      .Case<math::FmaOp>([&](auto) {
        give(0, [&] { return s.mul(g, in(1)); });
        give(1, [&] { return s.mul(g, in(0)); });
        give(2, [&] { return g; });
        return success();
      })
      .Case<arith::NegFOp>([&](auto) {
        give(0, [&] { return s.neg(g); });
        return success();
      })
      .Case<math::ExpOp>([&](auto) {
        give(0, [&] { return s.mul(g, y); });
        return success();
      })
      .Case<math::LogOp>([&](auto) {
        give(0, [&] { return s.div(g, in(0)); });
        return success();
      })
      .Case<math::Log1pOp>([&](auto) {
        give(0, [&] { return s.div(g, s.add(in(0), 1)); });
        return success();
      })
      .Case<math::SqrtOp>([&](auto) {
        give(0, [&] { return s.div(s.mul(g, 0.5), y); });
        return success();
      })
      .Case<math::RsqrtOp>([&](auto) {
        give(0, [&] { return s.mul(s.mul(g, -0.5), s.mul(y, s.mul(y, y))); });
        return success();
      })
      .Case<math::TanhOp>([&](auto) {
        give(0, [&] { return s.sub(g, s.mul(g, s.mul(y, y))); });
        return success();
      })
      .Case<SigmoidOp>([&](auto) {
        give(0, [&] { return s.mul(s.mul(g, y), s.sub(s.constant(g.getType(), 1), y)); });
        return success();
      })
      .Case<math::SinOp>([&](auto) {
        give(0, [&] { return s.mul(g, math::CosOp::create(builder, op->getLoc(), in(0)).getResult()); });
        return success();
      })
      .Case<math::CosOp>([&](auto) {
        give(0, [&] { return s.neg(s.mul(g, math::SinOp::create(builder, op->getLoc(), in(0)).getResult())); });
        return success();
      })
      .Case<math::AbsFOp>([&](auto) {
        give(0, [&] { return s.select(s.greater(in(0), s.constant(g.getType(), 0)), g, s.neg(g)); });
        return success();
      })
      // The condition is constant.
      .Case<arith::SelectOp>([&](auto) {
        pick(in(0), 1, 2);
        return success();
      })
      // A tie gives all to the second operand: relu, written max(x, 0), has slope 0 at 0.
      .Case<arith::MaximumFOp, arith::MaxNumFOp>([&](auto) {
        pick(s.greater(in(0), in(1)), 0, 1);
        return success();
      })
      .Case<arith::MinimumFOp, arith::MinNumFOp>([&](auto) {
        pick(s.greater(in(1), in(0)), 0, 1);
        return success();
      })
      .Case<arith::ExtFOp>([&](auto) {
        give(0, [&] { return arith::TruncFOp::create(builder, op->getLoc(), in(0).getType(), g).getResult(); });
        return success();
      })
      .Case<arith::TruncFOp>([&](auto) {
        give(0, [&] { return arith::ExtFOp::create(builder, op->getLoc(), in(0).getType(), g).getResult(); });
        return success();
      })
      .Default([](Operation *other) { return other->emitOpError("has no scalar rule for its backward"); });
}

} // namespace

void eraseDeadOps(Block &block) {
  for (Operation *op = block.getTerminator()->getPrevNode(); op;) {
    Operation *previous = op->getPrevNode();
    if (isOpTriviallyDead(op))
      op->erase();
    op = previous;
  }
}

//===--- Map ------------------------------------------------------------------------------------------------------===//

LogicalResult MapOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool> needed,
                                   SmallVectorImpl<Value> &operandGrads) {
  Location loc = getLoc();
  RankedTensorType shape = getShapeType();
  int64_t numRows = shape.getDimSize(0), numCols = shape.getDimSize(1);

  SmallVector<unsigned> wanted;
  SmallVector<Type> types;
  for (auto [index, input] : llvm::enumerate(getInputs()))
    if (needed[index] && isa<FloatType>(elementType(input))) {
      wanted.push_back(index);
      types.push_back(RankedTensorType::get({numRows, numCols}, elementType(input)));
    }
  if (wanted.empty())
    return success();

  // The new map computes the old one's scalars again, then their gradients.
  SmallVector<Value> inputs(getInputs());
  SmallVector<unsigned> gradResults;
  for (auto [index, grad] : llvm::enumerate(resultGrads))
    if (grad) {
      inputs.push_back(grad);
      gradResults.push_back(index);
    }
  size_t numInputs = getInputs().size();
  LogicalResult status = success();
  auto backward = MapOp::create(
      builder, loc, types, inputs,
      [&](OpBuilder &b, Location l, ValueRange scalars) {
        IRMapping mapping;
        llvm::DenseSet<Value> active;
        for (unsigned i = 0; i < numInputs; ++i)
          mapping.map(getBlock()->getArgument(i), scalars[i]);
        for (unsigned index : wanted)
          active.insert(scalars[index]);
        if (getPosition())
          for (unsigned i = 0; i < 2; ++i)
            mapping.map(getBlock()->getArgument(numInputs + i), scalars[inputs.size() + i]);
        SmallVector<Operation *> ops;
        for (Operation &op : getBlock()->without_terminator()) {
          Operation *clone = ops.emplace_back(b.clone(op, mapping));
          // Results that are not floats (comparisons, casts to integers) carry no gradient, nor does a condition.
          auto carries = [&](Value v) { return active.contains(v) && isa<FloatType>(v.getType()); };
          if (llvm::any_of(clone->getOperands(), carries))
            for (Value result : clone->getResults())
              if (isa<FloatType>(result.getType()))
                active.insert(result);
        }
        ScalarBackward scalar(b, active);
        for (auto [i, index] : llvm::enumerate(gradResults))
          scalar.add(mapping.lookupOrDefault(getYield().getValues()[index]), scalars[numInputs + i]);
        for (Operation *op : llvm::reverse(ops))
          if (failed(scalar.visit(op))) {
            status = failure();
            break;
          }
        SmallVector<Value> values;
        Scalars s(b, l);
        for (auto [index, type] : llvm::zip_equal(wanted, types)) {
          Value grad = scalar.lookup(scalars[index]);
          values.push_back(grad ? grad : s.constant(cast<RankedTensorType>(type).getElementType(), 0));
        }
        return values;
      },
      getPosition());
  if (failed(status))
    return failure();

  // A gradient that equals a result's gradient, or is zero, needs no map.
  SmallVector<Value> values(backward.getYield().getValues()), kept;
  SmallVector<Value> fullGrads(wanted.size());
  SmallVector<Type> keptTypes;
  SmallVector<unsigned> keptPlaces;
  for (auto [place, value] : llvm::enumerate(values)) {
    if (auto arg = dyn_cast<BlockArgument>(value); arg && arg.getArgNumber() >= numInputs) {
      fullGrads[place] = inputs[arg.getArgNumber()];
    } else if (!value.getDefiningOp() || !value.getDefiningOp()->hasTrait<OpTrait::ConstantLike>() ||
               !matchPattern(value, m_AnyZeroFloat())) {
      kept.push_back(value);
      keptTypes.push_back(types[place]);
      keptPlaces.push_back(place);
    }
  }
  if (!kept.empty()) {
    backward.getYield().getValuesMutable().assign(kept);
    eraseDeadOps(*backward.getBlock());
    // The forward must not keep operands that the gradients do not read.
    llvm::BitVector dead(backward.getBlock()->getNumArguments());
    SmallVector<Value> liveInputs;
    for (auto [index, input] : llvm::enumerate(inputs)) {
      dead[index] = backward.getBlock()->getArgument(index).use_empty();
      if (!dead[index])
        liveInputs.push_back(input);
    }
    backward.getBlock()->eraseArguments(dead);
    auto trimmed = MapOp::create(
        builder, loc, keptTypes, liveInputs, [](OpBuilder &, Location, ValueRange) { return SmallVector<Value>(); },
        getPosition());
    trimmed.getBody().takeBody(backward.getBody());
    for (auto [result, place] : llvm::zip_equal(trimmed.getResults(), keptPlaces))
      fullGrads[place] = result;
  }
  backward.erase();

  // An operand that was read by several rows or columns gets their sum.
  for (auto [index, grad] : llvm::zip_equal(wanted, fullGrads)) {
    if (!grad)
      continue;
    Value input = getInputs()[index];
    if (cols(input) != numCols)
      grad = RowReduceOp::create(builder, loc, withShape(grad, {numRows, 1}), Reduction::sum, grad);
    if (rows(input) != numRows)
      grad = ColReduceOp::create(builder, loc, withShape(grad, {rows(input), cols(input)}), grad);
    operandGrads[index] = grad;
  }
  return success();
}

} // namespace moec::moe
