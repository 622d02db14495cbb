#include "compiler/Conversion/MoeToPlan/InPlace.h"

#include "dialects/Moe/Analysis/Values.h"

using namespace mlir;

namespace moec {

namespace {
/// The ops of a dispatch from which `op` is computed, including `op`.
llvm::SmallDenseSet<Operation *> sourcesOf(Operation *op) {
  llvm::SmallDenseSet<Operation *> sources;
  SmallVector<Operation *> pending{op};
  while (!pending.empty()) {
    Operation *next = pending.pop_back_val();
    if (next && sources.insert(next).second)
      for (Value operand : next->getOperands())
        pending.push_back(operand.getDefiningOp());
  }
  return sources;
}
} // namespace

bool canOverwrite(moe::DispatchOp dispatch, unsigned number, BlockArgument argument) {
  Value made = dispatch.getYield().getValues()[number];
  Operation *maker = moe::underCasts(made).getDefiningOp();
  const moe::OpFacts *facts = moe::factsOf(maker);
  // A sum over rows may be stored in part before its last row is read.
  if (!maker || (facts && facts->rows == moe::Rows::reduced) || made.getType() != argument.getType())
    return false;
  SmallVector<OpOperand *> uses;
  for (OpOperand &use : argument.getUses())
    if (auto cast = dyn_cast<moe::CastOp>(use.getOwner()))
      llvm::append_range(uses, llvm::make_pointer_range(cast->getUses()));
    else
      uses.push_back(&use);
  // A reader on which the result does not depend might run after the result is stored.
  llvm::SmallDenseSet<Operation *> sources = sourcesOf(maker);
  for (OpOperand *use : uses) {
    Operation *user = use->getOwner();
    if (!sources.contains(user))
      return false;
    if (isa<moe::MapOp>(user))
      continue;
    auto reader = dyn_cast<moe::FactsOpInterface>(user);
    bool readsRow =
        reader && moe::isRowOp(user) && reader.getOperandRows(use->getOperandNumber()) == moe::Rows::aligned;
    if (dispatch.getKind() != moe::kRowKind || !readsRow || user == maker)
      return false;
  }
  return true;
}

int findOverwritten(moe::DispatchOp dispatch, unsigned number, const llvm::DenseMap<Value, Value> &placed) {
  if (dispatch.getKind() != moe::kRowKind)
    return -1;
  auto isLastUse = [&](Value base) {
    SmallVector<Value> views{base};
    unsigned here = 0;
    while (!views.empty())
      for (Operation *user : views.pop_back_val().getUsers()) {
        if (moe::isView(user))
          views.push_back(user->getResult(0));
        else if (user == dispatch)
          ++here;
        else if (!isa<moe::DispatchOp>(user) || user->getBlock() != dispatch->getBlock() ||
                 !user->isBeforeInBlock(dispatch))
          return false;
      }
    return here == 1;
  };
  for (auto [index, input] : llvm::enumerate(dispatch.getInputs())) {
    Value base = moe::underReshapes(input);
    auto maker = base.getDefiningOp<moe::DispatchOp>();
    if (maker && maker->getBlock() == dispatch->getBlock() && !placed.contains(base) &&
        canOverwrite(dispatch, number, dispatch.getBlock()->getArgument(index)) && isLastUse(base))
      return index;
  }
  return -1;
}

} // namespace moec
