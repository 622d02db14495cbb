#include "dialects/Dist/Transforms/RowUpdate.h"

using namespace mlir;

namespace moec::dist {

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

arith::ConstantOp splatConstant(Value value) {
  auto constant = moe::underReshapes(value).getDefiningOp<arith::ConstantOp>();
  auto elements = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  return elements && elements.isSplat() ? constant : arith::ConstantOp();
}

bool RowUpdate::find() {
  // The shape in which the optimizer sees the gradient.
  for (Operation *user : gradient.getUsers()) {
    Value seen = isa<moe::ReshapeOp>(user) ? Value(user->getResult(0)) : gradient;
    if (typeOf(seen).getRank() != 2 || (rows != 0 && typeOf(seen).getDimSize(0) != rows))
      return false;
    rows = typeOf(seen).getDimSize(0);
  }
  elements = typeOf(gradient).getNumElements();
  if (rows == 0 || rows % ranks != 0 || !add(gradient))
    return false;
  for (size_t i = 0; i < values.size(); ++i)
    if (!visitUsers(values[i]))
      return false;
  return true;
}

bool RowUpdate::isRows(Value value) const {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() == 2 && type.getDimSize(0) == rows;
}

/// All rows, in the shape of the state.
bool RowUpdate::isWholeState(Value value) const { return typeOf(value).getNumElements() == elements; }

/// Takes a value and what it is made of.
bool RowUpdate::add(Value value) {
  if (!values.insert(value) || value == gradient)
    return true;
  Operation *maker = value.getDefiningOp();
  if (!maker || maker->getBlock() != gradient.getDefiningOp()->getBlock())
    return false;
  if (splatConstant(value))
    return true;
  if (auto read = dyn_cast<moe::ReadOp>(maker)) {
    reads.push_back(read);
    return !read.getIndex() && isWholeState(value);
  }
  if (auto reshape = dyn_cast<moe::ReshapeOp>(maker))
    return isWholeState(value) && add(reshape.getInput());
  if (auto reduce = dyn_cast<moe::RowReduceOp>(maker))
    return isRows(value) && add(reduce.getInput());
  auto map = dyn_cast<moe::MapOp>(maker);
  return map && isRows(value) && addMap(map);
}

bool RowUpdate::addMap(moe::MapOp map) {
  if (map.getPosition())
    return false;
  for (Value input : map.getInputs())
    if (typeOf(input).getDimSize(0) != 1 && (!isRows(input) || !add(input)))
      return false;
  return llvm::all_of(map.getResults(), [&](Value result) { return add(result); });
}

bool RowUpdate::visitUsers(Value value) {
  for (Operation *user : value.getUsers()) {
    bool fits = false;
    if (auto reshape = dyn_cast<moe::ReshapeOp>(user)) {
      fits = add(reshape.getResult());
    } else if (auto reduce = dyn_cast<moe::RowReduceOp>(user)) {
      fits = add(reduce.getResult());
    } else if (auto map = dyn_cast<moe::MapOp>(user)) {
      fits = isRows(map.getResult(0)) && add(map.getResult(0));
    } else if (auto columns = dyn_cast<moe::ColReduceOp>(user)) {
      // One number per row at most is cheap to gather.
      fits = isRows(value) && typeOf(value).getDimSize(1) == 1 && typeOf(columns.getResult()).getDimSize(0) == 1;
      columnSums.push_back(columns);
    } else if (auto write = dyn_cast<moe::WriteOp>(user)) {
      fits = !write.getIndex();
      writes.push_back(write);
    }
    if (!fits)
      return false;
  }
  return true;
}

void RowUpdate::takeRuns(const llvm::SmallDenseSet<StringRef> &divided, Value rank, ArrayAttr axes) {
  auto local = [&](RankedTensorType type) { // of [rows, columns]
    return RankedTensorType::get({type.getDimSize(0) / ranks, type.getDimSize(1)}, type.getElementType());
  };
  auto asRows = [&](Value value) {
    RankedTensorType type = typeOf(value);
    return RankedTensorType::get({rows, type.getNumElements() / rows}, type.getElementType());
  };
  auto sum = cast<SumOp>(gradient.getDefiningOp());
  OpBuilder b(sum);
  llvm::DenseMap<Value, Value> replaced; // states and constants in whatever shape -> this rank's rows
  replaced[sum.getResult()] = SumPartOp::create(b, sum.getLoc(), local(asRows(sum.getResult())), sum.getInput(), axes);
  for (moe::ReadOp read : reads) {
    b.setInsertionPoint(read);
    bool isOwn = divided.contains(read.getState());
    replaced[read.getResult()] =
        moe::ReadOp::create(b, read.getLoc(), local(asRows(read)), read.getStateAttr(), isOwn ? Value() : rank,
                            isOwn ? IntegerAttr() : b.getI64IntegerAttr(ranks));
  }
  std::function<Value(Value)> rowsOfThisRank = [&](Value value) -> Value {
    if (Value known = replaced.lookup(value))
      return known;
    if (arith::ConstantOp constant = splatConstant(value)) {
      b.setInsertionPoint(constant);
      auto number = cast<DenseElementsAttr>(constant.getValue()).getSplatValue<Attribute>();
      auto elements = DenseElementsAttr::get(local(asRows(value)), number);
      return replaced[value] = arith::ConstantOp::create(b, constant.getLoc(), elements);
    }
    if (auto reshape = value.getDefiningOp<moe::ReshapeOp>())
      return rowsOfThisRank(reshape.getInput());
    return value; // of a map or a sum of rows, whose type changes in place
  };
  SmallVector<Operation *> computing;
  for (Value value : values)
    if (Operation *maker = value.getDefiningOp(); isa<moe::MapOp, moe::RowReduceOp>(maker)) {
      value.setType(local(typeOf(value)));
      if (!llvm::is_contained(computing, maker))
        computing.push_back(maker);
    }
  for (Operation *op : computing)
    for (OpOperand &operand : op->getOpOperands())
      if (values.contains(operand.get()))
        operand.set(rowsOfThisRank(operand.get()));
  for (moe::ColReduceOp columns : columnSums) {
    b.setInsertionPoint(columns);
    Value own = rowsOfThisRank(columns.getInput());
    auto all = RankedTensorType::get({rows, 1}, typeOf(own).getElementType());
    columns.getInputMutable().assign(AllGatherOp::create(b, columns.getLoc(), TypeRange{all}, own, axes).getResult(0));
  }
  for (moe::WriteOp write : writes) {
    b.setInsertionPoint(write);
    Value own = rowsOfThisRank(write.getValue());
    if (divided.contains(write.getState()))
      moe::WriteOp::create(b, write.getLoc(), write.getStateAttr(), /*index=*/Value(), own);
    else
      GatherIntoOp::create(b, write.getLoc(), write.getStateAttr(), own, axes);
    write.erase();
  }
  // What only led from a state to its rows and back.
  SmallVector<Operation *> left;
  for (Value value : values)
    if (Operation *maker = value.getDefiningOp(); isa<moe::ReshapeOp, moe::ReadOp, arith::ConstantOp, SumOp>(maker))
      left.push_back(maker);
  for (size_t before = left.size() + 1; left.size() < before;) {
    before = left.size();
    llvm::erase_if(left, [](Operation *op) {
      bool isDead = op->use_empty();
      if (isDead)
        op->erase();
      return isDead;
    });
  }
}

void RowUpdate::followStates(ArrayAttr axes) {
  auto divided = [&](Value value) {
    SmallVector<int64_t> shape(typeOf(value).getShape());
    // Of [copies, experts, rows, columns] or [experts, rows, columns] the experts, else the rows.
    shape[shape.size() == 2 ? 0 : shape.size() - 3] /= ranks;
    return RankedTensorType::get(shape, typeOf(value).getElementType(), typeOf(value).getEncoding());
  };
  OpBuilder b(gradient.getContext());
  for (Value value : values) {
    arith::ConstantOp constant = value.getDefiningOp<arith::ConstantOp>();
    if (!constant) {
      value.setType(divided(value));
      continue;
    }
    // Others may use it too.
    b.setInsertionPoint(constant);
    auto elements = cast<DenseElementsAttr>(constant.getValue());
    Value own = arith::ConstantOp::create(b, constant.getLoc(),
                                          DenseElementsAttr::get(divided(value), elements.getSplatValue<Attribute>()));
    value.replaceUsesWithIf(own, [&](OpOperand &use) {
      Operation *user = use.getOwner();
      return isa<moe::WriteOp>(user) || llvm::any_of(user->getResults(), [&](Value v) { return values.contains(v); });
    });
  }
  for (moe::ColReduceOp columns : columnSums) {
    b.setInsertionPointAfter(columns);
    auto whole = AllSumOp::create(b, columns.getLoc(), columns.getType(), columns.getResult(), axes);
    columns.getResult().replaceAllUsesExcept(whole.getResult(), whole);
  }
}

} // namespace moec::dist
