// Sums over the micro-batches of one rank as a binary tree.
#include "dialects/Dist/Transforms/Passes.h"
#include "dialects/Dist/Transforms/SumTree.h"
#include "dialects/Moe/IR/FunctionNames.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace moec::dist {
#define GEN_PASS_DEF_DISTORDERSUMS
#include "dialects/Dist/Transforms/Passes.h.inc"

namespace {

class SumOrder {
public:
  SumOrder(ModuleOp module, int64_t microBatches)
      : module(module), b(module.getContext()), microBatches(microBatches) {}

  LogicalResult run() {
    auto forward = module.lookupSymbol<func::FuncOp>(moe::kForwardBackwardFunction);
    if (!forward)
      return module.emitError("has no function ") << moe::kForwardBackwardFunction << " whose sums to order";
    llvm::SetVector<StringRef> names;
    forward.walk([&](moe::AccumulateOp sum) { names.insert(sum.getState()); });
    for (StringRef name : names) {
      auto state = module.lookupSymbol<moe::StateOp>(name);
      if (isa<FloatType>(state.getTensorType().getElementType()))
        states.push_back(state);
    }
    int64_t numLevels = llvm::Log2_64_Ceil(microBatches);
    for (int64_t level = 0; level < numLevels; ++level)
      declareLevel(level);
    SmallVector<int64_t> below;
    for (int64_t level = 0; level < numLevels; ++level) {
      buildJoin(moe::kSumLevelFunction + std::to_string(level), below, level);
      below.push_back(level);
    }
    // Levels that hold something when the last leaf comes are the ones of the number of leaves before it.
    SmallVector<int64_t> left;
    for (int64_t level = 0; level < numLevels; ++level)
      if ((microBatches - 1) >> level & 1)
        left.push_back(level);
    buildJoin(moe::kSumAllFunction, left, -1);
    return success();
  }

private:
  void declareLevel(int64_t level) {
    for (moe::StateOp state : states) {
      b.setInsertionPointAfter(state);
      std::string prefix = "level." + std::to_string(level) + ".";
      auto kept =
          moe::StateOp::create(b, state.getLoc(), b.getStringAttr(prefix + state.getSymName()),
                               moe::StateKindAttr::get(b.getContext(), state.getKind() == moe::StateKind::gradient
                                                                           ? moe::StateKind::gradient
                                                                           : moe::StateKind::counter),
                               state.getTypeAttr(), state.getCountAttr(), state.getLayersAttr(), FlatSymbolRefAttr());
      if (state.getLogicalName())
        kept.setLogicalName(prefix + state.getName().str());
      levels[state].push_back(kept);
    }
  }

  Value readRows(moe::StateOp state, RankedTensorType rows) {
    RankedTensorType type = state.getTensorType();
    if (state.getCount()) {
      SmallVector<int64_t> shape{state.getCopies()};
      llvm::append_range(shape, type.getShape());
      type = RankedTensorType::get(shape, type.getElementType());
    }
    Value value = moe::ReadOp::create(b, state.getLoc(), type, FlatSymbolRefAttr::get(state), Value());
    return type == rows ? value : Value(moe::ReshapeOp::create(b, state.getLoc(), rows, value));
  }

  void writeRows(moe::StateOp state, Value rows) {
    RankedTensorType type = state.getTensorType();
    SmallVector<int64_t> shape(type.getShape());
    if (state.getCount())
      shape.insert(shape.begin(), state.getCopies());
    type = RankedTensorType::get(shape, type.getElementType());
    if (type != rows.getType())
      rows = moe::ReshapeOp::create(b, state.getLoc(), type, rows);
    moe::WriteOp::create(b, state.getLoc(), FlatSymbolRefAttr::get(state), Value(), rows);
  }

  /// The last leaf and the levels `joined`, the lowest first, become level `to`; -1: stay in the state.
  void buildJoin(const std::string &name, ArrayRef<int64_t> joined, int64_t to) {
    b.setInsertionPointToEnd(module.getBody());
    auto function = func::FuncOp::create(b, module.getLoc(), name, b.getFunctionType({}, {}));
    b.setInsertionPointToStart(function.addEntryBlock());
    for (moe::StateOp state : states) {
      int64_t elements = state.getTensorType().getNumElements() * state.getCopies();
      RankedTensorType rows = rowsOf(state.getTensorType(), elements);
      Value sum = readRows(state, rows);
      for (int64_t level : joined)
        sum = addAsTree(b, state.getLoc(), {readRows(levels[state][level], rows), sum});
      writeRows(to < 0 ? state : levels[state][to], sum);
      if (to < 0)
        continue;
      Value zero = arith::ConstantOp::create(b, state.getLoc(), cast<TypedAttr>(b.getZeroAttr(rows)));
      writeRows(state, zero);
    }
    func::ReturnOp::create(b, module.getLoc());
  }

  ModuleOp module;
  OpBuilder b;
  int64_t microBatches;
  SmallVector<moe::StateOp> states; // whose sums have an order, as declared
  llvm::DenseMap<Operation *, SmallVector<moe::StateOp>> levels;
};

struct DistOrderSumsPass : impl::DistOrderSumsBase<DistOrderSumsPass> {
  using Base::Base;

  void runOnOperation() override {
    if (microBatches > 1 && failed(SumOrder(getOperation(), microBatches).run()))
      signalPassFailure();
  }
};

} // namespace
} // namespace moec::dist
