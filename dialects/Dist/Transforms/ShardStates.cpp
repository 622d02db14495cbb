// ZeRO-1: the update of a parameter is divided by rows over the ranks that sum its gradient.
#include "dialects/Dist/Transforms/Passes.h"
#include "dialects/Dist/Transforms/RowUpdate.h"
#include "dialects/Moe/IR/FunctionNames.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace moec::dist {
#define GEN_PASS_DEF_DISTSHARDSTATES
#include "dialects/Dist/Transforms/Passes.h.inc"

namespace {

RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

struct DistShardStatesPass : impl::DistShardStatesBase<DistShardStatesPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    MeshOp mesh = findMesh(module);
    auto update = module.lookupSymbol<func::FuncOp>(moe::kUpdateFunction);
    if (!mesh || !update)
      return;
    llvm::DenseMap<Attribute, Value> ranks; // by axes
    SmallVector<SumOp> sums(update.getBody().front().getOps<SumOp>());
    for (SumOp sum : sums) {
      auto read = sum.getInput().getDefiningOp<moe::ReadOp>();
      auto state = read ? module.lookupSymbol<moe::StateOp>(read.getState()) : moe::StateOp();
      RowUpdate rowUpdate(sum.getResult(), mesh.sizeAlong(sum.getAxes()));
      if (!state || state.getKind() != moe::StateKind::gradient || state.getEach() || !rowUpdate.find())
        continue;
      Value &rank = ranks[sum.getAxes()];
      if (!rank) {
        OpBuilder b = OpBuilder::atBlockBegin(&update.getBody().front());
        rank = CoordinateOp::create(b, update.getLoc(), b.getIndexType(), sum.getAxes());
      }
      rowUpdate.takeRuns(divideStates(rowUpdate, sum), rank, sum.getAxes());
    }
  }

private:
  /// The optimizer's states that this update alone uses: each rank keeps its run of them.
  llvm::SmallDenseSet<StringRef> divideStates(RowUpdate &rowUpdate, SumOp sum) {
    llvm::StringMap<SmallVector<moe::StateAccessOpInterface>> accesses;
    getOperation().walk(
        [&](moe::StateAccessOpInterface access) { accesses[access.getStateAttr().getValue()].push_back(access); });
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
    Value value =
        arith::ConstantOp::create(b, write.getLoc(), DenseElementsAttr::get(own, elements.getSplatValue<Attribute>()));
    write.getValueMutable().assign(value);
  }
};

} // namespace
} // namespace moec::dist
