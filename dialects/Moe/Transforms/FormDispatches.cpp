// Groups the ops of every block into moe.dispatch: one dispatch is one kernel.
//
// Ops are taken in program order and put into the latest group that may hold them, else into a new one. Constants,
// state reads, reshapes, and gathered or spread rows that only feed products are not grouped: each user gets its own
// copy (the rows are then picked in the product's loads).
#include "dialects/Moe/Transforms/DispatchGroups.h"
#include "dialects/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOEFORMDISPATCHES
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

/// A state must be read before the block overwrites it. A read that is used after a later write gets a copy of the
/// value at its place.
void materializeStaleReads(Block &block) {
  llvm::StringMap<SmallVector<Operation *>> writes;
  for (Operation &op : block)
    op.walk([&](Operation *inner) {
      if (isa<WriteOp, AccumulateOp>(inner))
        writes[inner->getAttrOfType<FlatSymbolRefAttr>("state").getValue()].push_back(
            block.findAncestorOpInBlock(*inner));
    });
  for (ReadOp read : llvm::make_early_inc_range(block.getOps<ReadOp>())) {
    auto found = writes.find(read.getState());
    auto type = cast<RankedTensorType>(read.getType());
    if (found == writes.end() || read.use_empty())
      continue;
    SmallVector<Operation *> users;
    SmallVector<Value> values{read.getResult()};
    while (!values.empty())
      for (Operation *user : values.pop_back_val().getUsers()) {
        // A gather, or a term of a sum over rows, may be made as late as by its users.
        bool isLate = isa<ReshapeOp, GatherRowsOp, SpreadRowsOp>(user) ||
                      (isa<MapOp>(user) && llvm::any_of(user->getUsers(), llvm::IsaPred<ColReduceOp>));
        if (isLate)
          llvm::append_range(values, user->getResults());
        users.push_back(block.findAncestorOpInBlock(*user));
      }
    bool stale = llvm::any_of(found->second, [&](Operation *write) {
      // A repeat that writes what it captures would meet its own writes in the next iteration.
      return read->isBeforeInBlock(write) && llvm::any_of(users, [&](Operation *user) {
               return write->isBeforeInBlock(user) || (write == user && isa<RepeatOp>(user));
             });
    });
    if (!stale)
      continue;
    OpBuilder b(read->getContext());
    b.setInsertionPointAfter(read);
    int64_t cols = type.getShape().back();
    auto flat = RankedTensorType::get({type.getNumElements() / cols, cols}, type.getElementType());
    Operation *first = nullptr;
    Value source = read.getResult();
    if (flat != type) {
      source = ReshapeOp::create(b, read.getLoc(), flat, source);
      first = source.getDefiningOp();
    }
    auto copy =
        MapOp::create(b, read.getLoc(), TypeRange{flat}, ValueRange{source},
                      [&](OpBuilder &, Location, ValueRange scalars) { return SmallVector<Value>{scalars[0]}; });
    first = first ? first : copy.getOperation();
    Value result = copy.getResult(0);
    if (flat != type)
      result = ReshapeOp::create(b, read.getLoc(), type, result);
    read.getResult().replaceUsesWithIf(
        result, [&](OpOperand &use) { return use.getOwner() != first && use.getOwner() != copy.getOperation(); });
  }
}

void formInBlock(Block &block, const DispatchTraits &traits) {
  for (Operation &op : block)
    if (auto repeat = dyn_cast<RepeatOp>(op))
      formInBlock(*repeat.getBlock(), traits);
  materializeStaleReads(block);
  DispatchGroups groups(block, traits);
  for (Operation &op : block.without_terminator())
    groups.place(&op);
  groups.rewrite();
}

struct FormDispatchesPass : impl::MoeFormDispatchesBase<FormDispatchesPass> {
  using Base::Base;

  void runOnOperation() override {
    for (Block &block : getOperation().getBody())
      formInBlock(block, {epilogueTensors, rowSums, gatherOnce, summedColumns, spreadInLoads, apart});
  }
};

} // namespace
} // namespace moec::moe
