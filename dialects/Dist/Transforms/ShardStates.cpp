// ZeRO-1: the update of a parameter is divided by rows over the ranks that sum its gradient.
#include "dialects/Dist/Transforms/Passes.h"
#include "dialects/Moe/IR/FunctionNames.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;

namespace moec::dist {
#define GEN_PASS_DEF_DISTSHARDSTATES
#include "dialects/Dist/Transforms/Passes.h.inc"

namespace {

RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// A constant of one number; null for other values.
arith::ConstantOp splatConstant(Value value) {
  auto constant = moe::underReshapes(value).getDefiningOp<arith::ConstantOp>();
  auto elements = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  return elements && elements.isSplat() ? constant : arith::ConstantOp();
}

/// The ops that compute the update of one parameter row by row, from the sum of its gradient to the new values: all
/// that is connected by values with as many rows.
class RowUpdate {
public:
  RowUpdate(SumOp sum, int64_t ranks) : sum(sum), ranks(ranks) {}

  /// Whether all of it may be divided by rows.
  bool find() {
    // The shape in which the optimizer sees the gradient.
    for (Operation *user : sum.getResult().getUsers()) {
      Value seen = isa<moe::ReshapeOp>(user) ? Value(user->getResult(0)) : Value(sum.getResult());
      if (typeOf(seen).getRank() != 2 || (rows != 0 && typeOf(seen).getDimSize(0) != rows))
        return false;
      rows = typeOf(seen).getDimSize(0);
    }
    elements = typeOf(sum.getResult()).getNumElements();
    if (rows == 0 || rows % ranks != 0 || !add(sum.getResult()))
      return false;
    for (size_t i = 0; i < values.size(); ++i)
      if (!visitUsers(values[i]))
        return false;
    return true;
  }

  void rewrite(const llvm::SmallDenseSet<StringRef> &divided, Value rank);

  SumOp sum;
  llvm::SetVector<Value> values; // of the rows
  SmallVector<moe::ReadOp> reads;
  SmallVector<moe::WriteOp> writes;
  SmallVector<moe::ColReduceOp> columnSums;

private:
  bool isRows(Value value) const {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    return type && type.getRank() == 2 && type.getDimSize(0) == rows;
  }
  /// All rows, in the shape of the state.
  bool isWholeState(Value value) const { return typeOf(value).getNumElements() == elements; }

  /// Takes a value and what it is made of.
  bool add(Value value) {
    if (!values.insert(value))
      return true;
    Operation *maker = value.getDefiningOp();
    if (!maker || maker->getBlock() != sum->getBlock())
      return false;
    if (maker == sum || splatConstant(value))
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

  bool addMap(moe::MapOp map) {
    if (map.getPosition())
      return false;
    for (Value input : map.getInputs())
      if (typeOf(input).getDimSize(0) != 1 && (!isRows(input) || !add(input)))
        return false;
    return llvm::all_of(map.getResults(), [&](Value result) { return add(result); });
  }

  bool visitUsers(Value value) {
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
        fits = isRows(value) && typeOf(value).getDimSize(1) == 1;
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

  int64_t ranks, rows = 0, elements = 0;
};

void RowUpdate::rewrite(const llvm::SmallDenseSet<StringRef> &divided, Value rank) {
  auto local = [&](RankedTensorType type) { // of [rows, columns]
    return RankedTensorType::get({type.getDimSize(0) / ranks, type.getDimSize(1)}, type.getElementType());
  };
  auto asRows = [&](Value value) {
    RankedTensorType type = typeOf(value);
    return RankedTensorType::get({rows, type.getNumElements() / rows}, type.getElementType());
  };
  OpBuilder b(sum);
  llvm::DenseMap<Value, Value> replaced; // states and constants in whatever shape -> this rank's rows
  ArrayAttr axes = sum.getAxes();
  replaced[sum.getResult()] =
      SumPartOp::create(b, sum.getLoc(), local(asRows(sum.getResult())), sum.getInput(), axes);
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
    columns.getInputMutable().assign(
        AllGatherOp::create(b, columns.getLoc(), TypeRange{all}, own, axes).getResult(0));
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

struct DistShardStatesPass : impl::DistShardStatesBase<DistShardStatesPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    MeshOp mesh = findMesh(module);
    auto update = module.lookupSymbol<func::FuncOp>(moe::kUpdateFunction);
    if (!mesh || !update)
      return;
    Value rank; // one op for each list of axes is enough: so far there is one axis
    SmallVector<SumOp> sums(update.getBody().front().getOps<SumOp>());
    for (SumOp sum : sums) {
      auto read = sum.getInput().getDefiningOp<moe::ReadOp>();
      auto state = read ? module.lookupSymbol<moe::StateOp>(read.getState()) : moe::StateOp();
      RowUpdate rowUpdate(sum, mesh.sizeAlong(sum.getAxes()));
      if (!state || state.getKind() != moe::StateKind::gradient || sum.getAxes().size() != 1 || !rowUpdate.find())
        continue;
      if (!rank) {
        OpBuilder b = OpBuilder::atBlockBegin(&update.getBody().front());
        rank = CoordinateOp::create(b, update.getLoc(), b.getIndexType(), cast<StringAttr>(sum.getAxes()[0]));
      }
      rowUpdate.rewrite(divideStates(rowUpdate, sum), rank);
    }
  }

private:
  /// The optimizer's states that this update alone uses: each rank keeps its run of them.
  llvm::SmallDenseSet<StringRef> divideStates(RowUpdate &rowUpdate, SumOp sum) {
    llvm::StringMap<SmallVector<moe::StateAccessOpInterface>> accesses;
    getOperation().walk([&](moe::StateAccessOpInterface access) {
      accesses[access.getStateAttr().getValue()].push_back(access);
    });
    llvm::SmallDenseSet<StringRef> divided;
    for (moe::WriteOp write : rowUpdate.writes) {
      auto state = getOperation().lookupSymbol<moe::StateOp>(write.getState());
      if (state.getKind() != moe::StateKind::optimizer)
        continue;
      SmallVector<moe::WriteOp> initial;
      bool isAlone = llvm::all_of(accesses[write.getState()], [&](moe::StateAccessOpInterface access) {
        if (auto read = dyn_cast<moe::ReadOp>(access.getOperation()); read && llvm::is_contained(rowUpdate.reads, read))
          return true;
        auto other = dyn_cast<moe::WriteOp>(access.getOperation());
        if (!other || other == write)
          return static_cast<bool>(other);
        initial.push_back(other);
        return !other.getIndex() && splatConstant(other.getValue());
      });
      if (!isAlone)
        continue;
      int64_t ranks = findMesh(getOperation()).sizeAlong(sum.getAxes());
      OpBuilder b(state);
      state.setDividedAttr(b.getI64IntegerAttr(ranks));
      state.setAxesAttr(sum.getAxes());
      for (moe::WriteOp first : initial)
        writeOwnRun(first, ranks);
      divided.insert(state.getSymName());
    }
    return divided;
  }

  static void writeOwnRun(moe::WriteOp write, int64_t ranks) {
    auto elements = cast<DenseElementsAttr>(splatConstant(write.getValue()).getValue());
    RankedTensorType type = typeOf(write.getValue());
    int64_t columns = type.getShape().back(), number = type.getNumElements() / ranks;
    columns = number % columns == 0 ? columns : 1;
    OpBuilder b(write);
    auto own = RankedTensorType::get({number / columns, columns}, type.getElementType());
    Value value = arith::ConstantOp::create(b, write.getLoc(),
                                            DenseElementsAttr::get(own, elements.getSplatValue<Attribute>()));
    write.getValueMutable().assign(value);
  }
};

} // namespace
} // namespace moec::dist
