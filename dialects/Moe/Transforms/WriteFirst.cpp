// Replaces "zero, then add" by "write, then add" for gradients of one micro-batch.
#include "dialects/Moe/Analysis/Values.h"
#include "dialects/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOEWRITEFIRST
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

/// The ops of the module that use one gradient state, in program order.
struct GradientUse {
  StateOp state;
  SmallVector<WriteOp> writes;
  SmallVector<AccumulateOp> sums;
  SmallVector<ReadOp> reads;
};

func::FuncOp functionOf(Operation *op) { return op->getParentOfType<func::FuncOp>(); }

/// Whether a call of the function runs `sum` exactly once for each copy, before any other access to that copy.
bool meetsEachCopyFirst(AccumulateOp sum, GradientUse &use) {
  auto repeat = dyn_cast<RepeatOp>(sum->getParentOp());
  if (!repeat)
    return isa<func::FuncOp>(sum->getParentOp()) && !sum.getIndex() && !use.state.getCount();
  bool eachOnce = isa<func::FuncOp>(repeat->getParentOp()) && sum.getIndex() == repeat.getIndexArgument() &&
                  static_cast<int64_t>(repeat.getCount()) == use.state.getCopies();
  // Another access in the same loop could use a copy that `sum` reaches only in a later iteration.
  return eachOnce && llvm::all_of(use.sums, [&](AccumulateOp other) {
           return !repeat->isAncestor(other) || other.getIndex() == sum.getIndex();
         });
}

void rewrite(GradientUse &use) {
  if (use.writes.size() != 1 || use.sums.empty() || !isZero(use.writes.front().getValue()) ||
      use.writes.front().getIndex())
    return;
  AccumulateOp first = use.sums.front();
  func::FuncOp function = functionOf(first);
  bool here = llvm::all_of(use.sums, [&](AccumulateOp sum) { return functionOf(sum) == function; });
  bool unread = llvm::none_of(use.reads, [&](ReadOp read) { return functionOf(read) == function; });
  if (!here || !unread || functionOf(use.writes.front()) == function || !meetsEachCopyFirst(first, use))
    return;
  OpBuilder b(first);
  WriteOp::create(b, first.getLoc(), first.getStateAttr(), first.getIndex(), first.getValue());
  first.erase();
  use.writes.front().erase();
}

struct WriteFirstPass : impl::MoeWriteFirstBase<WriteFirstPass> {
  void runOnOperation() override {
    llvm::StringMap<GradientUse> uses;
    for (StateOp state : getOperation().getOps<StateOp>())
      if (state.getKind() == StateKind::gradient)
        uses[state.getSymName()].state = state;
    getOperation().walk<WalkOrder::PreOrder>([&](Operation *op) {
      auto access = dyn_cast<StateAccessOpInterface>(op);
      auto found = access ? uses.find(access.getStateAttr().getValue()) : uses.end();
      if (found == uses.end())
        return;
      if (auto write = dyn_cast<WriteOp>(op))
        found->second.writes.push_back(write);
      else if (auto sum = dyn_cast<AccumulateOp>(op))
        found->second.sums.push_back(sum);
      else if (auto read = dyn_cast<ReadOp>(op))
        found->second.reads.push_back(read);
    });
    for (auto &entry : uses)
      rewrite(entry.second);
  }
};

} // namespace
} // namespace moec::moe
