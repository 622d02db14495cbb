// dist.sum -> exchanges, and a map that adds.
#include "dialects/Dist/Transforms/Passes.h"
#include "dialects/Dist/Transforms/SumTree.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::dist {
#define GEN_PASS_DEF_DISTLOWERSUMS
#include "dialects/Dist/Transforms/Passes.h.inc"

namespace {

/// Up to so many bytes are gathered and added up everywhere: one exchange instead of two.
constexpr int64_t smallBytes = 64 << 10;

Value reshaped(OpBuilder &b, Value value, RankedTensorType type) {
  return value.getType() == type ? value : Value(moe::ReshapeOp::create(b, value.getLoc(), type, value));
}

class SumLowering {
public:
  explicit SumLowering(ModuleOp module) : module(module) {
    // The partial types go first: what follows is about this rank's memory.
    module.walk([&](moe::ReadOp read) {
      if (partialOf(read.getType()))
        read.getResult().setType(wholeType(cast<RankedTensorType>(read.getType())));
      ++numReads[read.getState()];
    });
    for (auto state : module.getOps<moe::StateOp>())
      if (partialOf(state.getType()))
        state.setType(wholeType(state.getTensorType()));
  }

  /// One exchange: part r of every rank's operand comes to rank r, which adds them up.
  LogicalResult lower(SumPartOp sum) {
    int64_t ranks = findMesh(sum).sizeAlong(sum.getAxes());
    OpBuilder b(sum);
    auto type = cast<RankedTensorType>(sum.getInput().getType());
    SmallVector<Type> parts(ranks, sum.getResult().getType());
    Value rows = reshaped(b, sum.getInput(), rowsOf(type, type.getNumElements()));
    auto exchanged = AllToAllOp::create(b, sum.getLoc(), parts, rows, sum.getAxes());
    sum.getResult().replaceAllUsesWith(addAsTree(b, sum.getLoc(), exchanged.getResults()));
    sum.erase();
    return success();
  }

  LogicalResult lower(SumOp sum) {
    auto read = moe::underReshapes(sum.getInput()).getDefiningOp<moe::ReadOp>();
    if (!read)
      return sum.emitOpError("internal: sums something else than a state");
    int64_t ranks = findMesh(sum).sizeAlong(sum.getAxes());
    auto type = cast<RankedTensorType>(sum.getResult().getType());
    int64_t elements = type.getNumElements(), bytes = elements * type.getElementTypeBitWidth() / 8;
    OpBuilder b(sum);
    Location loc = sum.getLoc();
    Value result;
    if (bytes <= smallBytes || elements % ranks != 0) {
      RankedTensorType flat = rowsOf(type, elements);
      SmallVector<Type> copies(ranks, flat);
      auto gathered = AllGatherOp::create(b, loc, copies, reshaped(b, read, flat), sum.getAxes());
      result = addAsTree(b, loc, gathered.getResults());
    } else {
      SmallVector<Type> parts(ranks, rowsOf(type, elements / ranks));
      auto exchanged = AllToAllOp::create(b, loc, parts, reshaped(b, read, rowsOf(type, elements)), sum.getAxes());
      Value part = addAsTree(b, loc, exchanged.getResults());
      bool isOnce = !read.getIndex() && !read->getParentOfType<moe::RepeatOp>();
      if (isOnce && numReads[read.getState()] == 1) {
        // Nobody else wants the parts, nor does this op a second time, so the sum takes their place.
        GatherIntoOp::create(b, loc, read.getStateAttr(), part, sum.getAxes());
        result = moe::ReadOp::create(b, loc, read.getType(), read.getStateAttr(), /*index=*/Value());
      } else {
        result = AllGatherOp::create(b, loc, TypeRange{rowsOf(type, elements)}, part, sum.getAxes()).getResult(0);
      }
    }
    sum.getResult().replaceAllUsesWith(reshaped(b, result, type));
    sum.erase();
    return success();
  }

private:
  ModuleOp module;
  llvm::StringMap<int> numReads; // of each state, in all functions
};

/// Within a computation sums are small: statistics of tokens. Every rank adds up all parts.
void lowerAllSum(AllSumOp sum) {
  int64_t ranks = findMesh(sum).sizeAlong(sum.getAxes());
  auto type = cast<RankedTensorType>(sum.getInput().getType());
  OpBuilder b(sum);
  RankedTensorType rows = rowsOf(type, type.getNumElements());
  SmallVector<Type> copies(ranks, rows);
  auto gathered = AllGatherOp::create(b, sum.getLoc(), copies, reshaped(b, sum.getInput(), rows), sum.getAxes());
  sum.getResult().replaceAllUsesWith(reshaped(b, addAsTree(b, sum.getLoc(), gathered.getResults()), type));
  sum.erase();
}

struct DistLowerSumsPass : impl::DistLowerSumsBase<DistLowerSumsPass> {
  void runOnOperation() override {
    SmallVector<SumOp> sums;
    SmallVector<SumPartOp> sumParts;
    getOperation().walk([&](Operation *op) {
      if (auto sum = dyn_cast<SumOp>(op))
        sums.push_back(sum);
      else if (auto part = dyn_cast<SumPartOp>(op))
        sumParts.push_back(part);
      else if (auto sum = dyn_cast<AllSumOp>(op))
        lowerAllSum(sum);
      else if (auto share = dyn_cast<ShareOp>(op)) {
        share.getResult().replaceAllUsesWith(share.getInput());
        share.erase();
      } else if (auto same = dyn_cast<SameOp>(op)) {
        same.getResult().replaceAllUsesWith(same.getInput());
        same.erase();
      }
    });
    if (sums.empty() && sumParts.empty())
      return;
    SumLowering lowering(getOperation());
    for (SumPartOp sum : sumParts)
      if (failed(lowering.lower(sum)))
        return signalPassFailure();
    for (SumOp sum : sums)
      if (failed(lowering.lower(sum)))
        return signalPassFailure();
  }
};

} // namespace
} // namespace moec::dist
