// Divides a step over ranks: along `data`, which deals out micro-batches, and along `expert`, which divides one
// (TokenPartition.cpp). Here are the mesh and what micro-batches and ranks add up in states.
#include "dialects/Dist/Transforms/Passes.h"
#include "dialects/Dist/Transforms/RowUpdate.h"
#include "dialects/Dist/Transforms/TokenPartition.h"
#include "dialects/Moe/IR/FunctionNames.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace moec::dist {
#define GEN_PASS_DEF_DISTPARTITION
#include "dialects/Dist/Transforms/Passes.h.inc"

namespace {

constexpr char dataAxis[] = "data", expertAxis[] = "expert";

/// What the functions do with one state.
struct StateUse {
  moe::StateOp state;
  // In forward_backward, and in all other functions.
  SmallVector<moe::StateAccessOpInterface> reads, writes, sums;
  SmallVector<moe::ReadOp> readsElsewhere;
  SmallVector<moe::WriteOp> writesElsewhere;
  SmallVector<moe::StateAccessOpInterface> sumsElsewhere;
};

bool isZero(Value value) {
  arith::ConstantOp constant = splatConstant(value);
  return constant &&
         (matchPattern(constant.getResult(), m_AnyZeroFloat()) || matchPattern(constant.getResult(), m_Zero()));
}

/// What ranks add up in states.
class StatePartition {
public:
  StatePartition(ModuleOp module, int64_t microBatches)
      : module(module), b(module.getContext()), ranks(findMesh(module).sizeAlong(b.getStrArrayAttr({dataAxis}))),
        microBatches(microBatches) {}

  LogicalResult run() {
    forward = module.lookupSymbol<func::FuncOp>(moe::kForwardBackwardFunction);
    update = module.lookupSymbol<func::FuncOp>(moe::kUpdateFunction);
    collectUses();
    for (auto &[name, use] : uses)
      if (failed(divide(use)))
        return failure();
    return success();
  }

private:
  void collectUses() {
    for (auto state : module.getOps<moe::StateOp>())
      uses[state.getSymName()].state = state;
    module.walk([&](moe::StateAccessOpInterface access) {
      StateUse &use = uses[access.getStateAttr().getValue()];
      bool inForward = access->getParentOfType<func::FuncOp>() == forward;
      if (auto read = dyn_cast<moe::ReadOp>(access.getOperation()); read && !inForward)
        use.readsElsewhere.push_back(read);
      else if (auto write = dyn_cast<moe::WriteOp>(access.getOperation()); write && !inForward)
        use.writesElsewhere.push_back(write);
      else if (!inForward)
        use.sumsElsewhere.push_back(access);
      else
        (access.accumulates() ? use.sums : access.getStored() ? use.writes : use.reads).push_back(access);
    });
  }

  LogicalResult divide(StateUse &use) {
    // Weights that all ranks use get parts of their gradient everywhere; their owners alone use those of experts.
    bool isGradient = use.state.getKind() == moe::StateKind::gradient;
    SmallVector<StringRef> names;
    for (auto axis : findMesh(module).getAxes().getAsRange<StringAttr>())
      if (axis == dataAxis || (isGradient && !use.state.getEach()))
        names.push_back(axis.getValue());
    axes = b.getStrArrayAttr(names);
    if (names.empty())
      return success();
    if (ranks > 1 && use.state->hasAttr(moe::kMicroBatchIndex))
      return startAtOwnMicroBatch(use);
    bool changes = !use.sums.empty() || !use.writes.empty();
    if (ranks > 1 && changes && (!use.reads.empty() || !use.writes.empty()))
      return reportRounds(use);
    if (use.sums.empty() && !isGradient)
      return success();
    for (moe::WriteOp write : use.writesElsewhere)
      if (!isZero(write.getValue()))
        return write.emitOpError("internal: writes numbers to \"")
               << use.state.getName() << "\", of which each rank holds a part";
    if (!use.sumsElsewhere.empty())
      return use.sumsElsewhere.front()->emitOpError("internal: every rank adds to \"")
             << use.state.getName() << "\", of which each rank holds a part";
    if (use.state.getLogName())
      splitLogged(use);
    else
      sumWhereRead(use);
    return success();
  }

  /// One micro-batch writes, another reads: side by side they have no order.
  LogicalResult reportRounds(StateUse &use) {
    Operation *reader = use.reads.empty() ? use.writes.front() : use.reads.front();
    return mlir::emitError(reader->getLoc())
           << "MOEC-S083: a micro-batch reads \"" << use.state.getName() << "\", which the one before it changes, but "
           << ranks << " data ranks run micro-batches at the same time; set parallel.data to 1, or choose a method or "
           << "scope whose state changes once per step";
  }

  RankedTensorType partialType(RankedTensorType type) {
    SmallVector<StringAttr> names(axes.getAsRange<StringAttr>());
    return RankedTensorType::get(type.getShape(), type.getElementType(), PartialAttr::get(b.getContext(), names));
  }

  /// `read` returns a part from now on; who read it reads the sum.
  void sumAfter(moe::ReadOp read) {
    auto whole = cast<RankedTensorType>(read.getType());
    read.getResult().setType(partialType(whole));
    b.setInsertionPointAfter(read);
    auto sum = SumOp::create(b, read.getLoc(), whole, read.getResult(), axes);
    read.getResult().replaceAllUsesExcept(sum.getResult(), sum);
  }

  /// One sum per function, where the state is first read; reads of single copies, in loops, have sums of their own.
  void sumWhereRead(StateUse &use) {
    use.state.setType(partialType(use.state.getTensorType()));
    llvm::SmallDenseMap<Operation *, moe::ReadOp> first;
    for (moe::ReadOp read : use.readsElsewhere) {
      auto function = read->getParentOfType<func::FuncOp>();
      bool isCleared = llvm::any_of(
          use.writesElsewhere, [&](moe::WriteOp write) { return write->getParentOfType<func::FuncOp>() == function; });
      bool isWhole = !read.getIndex() && read->getParentOp() == function && !isCleared;
      moe::ReadOp known = isWhole ? first.lookup(function) : moe::ReadOp();
      if (known) {
        read.getResult().replaceAllUsesWith(sums.lookup(known));
        read.erase();
        continue;
      }
      sumAfter(read);
      if (isWhole) {
        first[function] = read;
        sums[read] = cast<SumOp>(*read->user_begin()).getResult();
      }
    }
  }

  /// Micro-batches add to a state of parts; `update` begins by writing the sum to the one that is logged.
  void splitLogged(StateUse &use) {
    moe::StateOp state = use.state;
    b.setInsertionPoint(state);
    auto parts = moe::StateOp::create(b, state.getLoc(), b.getStringAttr("parts." + state.getSymName()),
                                      moe::StateKindAttr::get(b.getContext(), moe::StateKind::counter),
                                      TypeAttr::get(partialType(state.getTensorType())), state.getCountAttr(),
                                      state.getLayersAttr(), FlatSymbolRefAttr());
    auto symbol = FlatSymbolRefAttr::get(parts);
    for (moe::StateAccessOpInterface sum : use.sums)
      cast<moe::AccumulateOp>(sum.getOperation()).setStateAttr(symbol);
    for (moe::WriteOp write : use.writesElsewhere) // zeros, at the beginning of a step
      write.setStateAttr(symbol);
    b.setInsertionPointToStart(&update.getBody().front());
    RankedTensorType whole = state.getTensorType();
    if (state.getCount()) {
      SmallVector<int64_t> shape{state.getCopies()};
      llvm::append_range(shape, whole.getShape());
      whole = RankedTensorType::get(shape, whole.getElementType());
    }
    auto read = moe::ReadOp::create(b, state.getLoc(), whole, symbol, /*index=*/Value());
    moe::WriteOp::create(b, state.getLoc(), FlatSymbolRefAttr::get(state), /*index=*/Value(), read);
    sumAfter(read);
  }

  /// The count of micro-batches of the step so far begins with those of the ranks before this one.
  LogicalResult startAtOwnMicroBatch(StateUse &use) {
    auto init = module.lookupSymbol<func::FuncOp>(moe::kInitFunction);
    auto begin = module.lookupSymbol<func::FuncOp>(moe::kBeginStepFunction);
    auto clears = llvm::make_filter_range(
        use.writesElsewhere, [&](moe::WriteOp write) { return write->getParentOfType<func::FuncOp>() == begin; });
    if (!init || !llvm::hasSingleElement(clears) || microBatches % ranks != 0)
      return use.state.emitOpError("internal: counts micro-batches, expected to be cleared once in ")
             << moe::kBeginStepFunction;
    moe::WriteOp clear = *clears.begin();
    Location loc = use.state.getLoc();
    b.setInsertionPoint(use.state);
    auto table =
        moe::StateOp::create(b, loc, b.getStringAttr("constant.first_micro_batch"),
                             moe::StateKindAttr::get(b.getContext(), moe::StateKind::constant), use.state.getTypeAttr(),
                             b.getI64IntegerAttr(ranks), DenseI64ArrayAttr(), FlatSymbolRefAttr());
    b.setInsertionPoint(init.getBody().back().getTerminator());
    auto i64 = b.getI64Type();
    auto numbers = moe::MapOp::create(
        b, loc, TypeRange{RankedTensorType::get({ranks, 1}, i64)}, ValueRange(),
        [&](OpBuilder &inside, Location at, ValueRange place) {
          Value each = arith::ConstantOp::create(inside, at, inside.getI64IntegerAttr(microBatches / ranks));
          return SmallVector<Value>{arith::MulIOp::create(inside, at, place[0], each)};
        },
        /*position=*/true);
    Value copies = moe::ReshapeOp::create(b, loc, RankedTensorType::get({ranks, 1, 1}, i64), numbers.getResult(0));
    moe::WriteOp::create(b, loc, FlatSymbolRefAttr::get(table), /*index=*/Value(), copies);
    b.setInsertionPoint(clear);
    Value rank = CoordinateOp::create(b, loc, b.getIndexType(), axes);
    Value first = moe::ReadOp::create(b, loc, use.state.getTensorType(), FlatSymbolRefAttr::get(table), rank);
    clear.getValueMutable().assign(first);
    return success();
  }

  ModuleOp module;
  OpBuilder b;
  ArrayAttr axes; // over which the state at hand is added up
  int64_t ranks, microBatches;
  func::FuncOp forward, update;
  llvm::MapVector<StringRef, StateUse> uses;
  llvm::DenseMap<Operation *, Value> sums; // of reads
};

struct DistPartitionPass : impl::DistPartitionBase<DistPartitionPass> {
  using Base::Base;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    OpBuilder b = OpBuilder::atBlockBegin(module.getBody());
    SmallVector<StringRef> axes;
    SmallVector<int64_t> sizes;
    for (auto [axis, size] : {std::pair(dataAxis, data.getValue()), {expertAxis, experts.getValue()}})
      if (size > 1) {
        axes.push_back(axis);
        sizes.push_back(size);
      }
    if (axes.empty())
      return;
    if (!module.lookupSymbol<func::FuncOp>(moe::kForwardBackwardFunction) ||
        !module.lookupSymbol<func::FuncOp>(moe::kUpdateFunction)) {
      module.emitError("has no function ")
          << moe::kForwardBackwardFunction << " or " << moe::kUpdateFunction << " to divide";
      return signalPassFailure();
    }
    MeshOp::create(b, module.getLoc(), MeshOp::symbol, b.getStrArrayAttr(axes), b.getDenseI64ArrayAttr(sizes),
                   data > 1 ? b.getStringAttr(dataAxis) : StringAttr());
    if (experts > 1 && failed(partitionTokens(module, expertAxis)))
      return signalPassFailure();
    if (failed(StatePartition(module, microBatches).run()))
      signalPassFailure();
  }
};

} // namespace
} // namespace moec::dist
