// Groups the ops of every block into moe.dispatch: one dispatch is one kernel.
//
// Each op, in program order, goes into the latest group that may hold it, or into a new one. Constants, state reads,
// reshapes, and gathered or spread rows that only feed products are not grouped: each user gets its own copy. (The
// loads of the product then pick the rows.)
#include "dialects/Moe/Transforms/DispatchGroups.h"
#include "dialects/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOEFORMDISPATCHES
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

/// A copy of `value` in memory of its own, and the op that reads `value`.
std::pair<Operation *, Value> copyOf(OpBuilder &b, Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  int64_t cols = type.getShape().back();
  auto flat = RankedTensorType::get({type.getNumElements() / cols, cols}, type.getElementType());
  Value source = flat == type ? value : Value(ReshapeOp::create(b, value.getLoc(), flat, value));
  auto copy = MapOp::create(b, value.getLoc(), TypeRange{flat}, ValueRange{source},
                            [](OpBuilder &, Location, ValueRange scalars) { return SmallVector<Value>{scalars[0]}; });
  Value result = copy.getResult(0);
  if (flat == type)
    return {copy, result};
  return {source.getDefiningOp(), ReshapeOp::create(b, value.getLoc(), type, result)};
}

/// A state must be read before the block overwrites it. A read that is used after a later write gets a copy of the
/// value at its place.
void materializeStaleReads(Block &block) {
  llvm::StringMap<SmallVector<Operation *>> writes;
  for (Operation &op : block)
    op.walk([&](Operation *inner) {
      if (isSink(inner))
        writes[cast<StateAccessOpInterface>(inner).getStateAttr().getValue()].push_back(
            block.findAncestorOpInBlock(*inner));
    });
  for (ReadOp read : llvm::make_early_inc_range(block.getOps<ReadOp>())) {
    auto found = writes.find(read.getState());
    if (found == writes.end() || read.use_empty())
      continue;
    SmallVector<Operation *> users;
    SmallVector<Value> values{read.getResult()};
    while (!values.empty())
      for (Operation *user : values.pop_back_val().getUsers()) {
        // Picked rows, or a term of a sum over rows, may be computed only by their users, so a later user counts.
        bool isTerm = isa<MapOp>(user) && llvm::any_of(user->getUsers(), [](Operation *sum) {
                        const OpFacts *facts = factsOf(sum);
                        return facts && facts->takesTerms;
                      });
        bool isLate = isView(user) || pickedRows(user) || isTerm;
        if (isLate)
          llvm::append_range(values, user->getResults());
        users.push_back(block.findAncestorOpInBlock(*user));
      }
    bool stale = llvm::any_of(found->second, [&](Operation *write) {
      // A repeat that writes a state whose value it captures would see its own writes in the next iteration.
      return read->isBeforeInBlock(write) && llvm::any_of(users, [&](Operation *user) {
               return write->isBeforeInBlock(user) || (write == user && isa<RepeatOp>(user));
             });
    });
    if (!stale)
      continue;
    OpBuilder b(read->getContext());
    b.setInsertionPointAfter(read);
    auto [first, result] = copyOf(b, read.getResult());
    read.getResult().replaceAllUsesExcept(result, first);
  }
}

/// Constants that a kernel reads from memory are stored before it.
void storeConstants(Block &block) {
  llvm::MapVector<Value, SmallVector<OpOperand *>> uses;
  for (Operation &op : block)
    if (takesNoConstants(&op))
      for (OpOperand &operand : op.getOpOperands())
        if (isa_and_present<arith::ConstantOp>(underReshapes(operand.get()).getDefiningOp()))
          uses[operand.get()].push_back(&operand);
  for (auto &[value, operands] : uses) {
    Operation *user = operands.front()->getOwner(); // the first of them
    OpBuilder b(user);
    Value stored = copyOf(b, value).second;
    for (OpOperand *operand : operands)
      operand->set(stored);
  }
}

LogicalResult formInBlock(Block &block, const DispatchTraits &traits) {
  for (auto constant : block.getOps<arith::ConstantOp>())
    if (auto elements = dyn_cast<DenseElementsAttr>(constant.getValue()); elements && !elements.isSplat())
      return constant.emitOpError("internal: holds several numbers, which no kernel can store; expected a map of the "
                                  "position");
  for (Operation &op : block)
    if (auto repeat = dyn_cast<RepeatOp>(op); repeat && failed(formInBlock(*repeat.getBlock(), traits)))
      return failure();
  materializeStaleReads(block);
  storeConstants(block);
  DispatchGroups groups(block, traits);
  for (Operation &op : block.without_terminator())
    if (failed(groups.place(&op)))
      return failure();
  groups.rewrite();
  return success();
}

struct FormDispatchesPass : impl::MoeFormDispatchesBase<FormDispatchesPass> {
  using Base::Base;

  void runOnOperation() override {
    for (Block &block : getOperation().getBody())
      if (failed(formInBlock(block, {epilogueTensors, rowSums, gatherOnce, summedColumns, spreadInLoads, apart})))
        return signalPassFailure();
  }
};

} // namespace
} // namespace moec::moe
