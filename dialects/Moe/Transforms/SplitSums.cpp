// Adds the products of a sum to a state one after another, each in its own kernel's epilogue.
#include "dialects/Moe/Analysis/MapForm.h"
#include "dialects/Moe/IR/MoeBuild.h"
#include "dialects/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOESPLITSUMS
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

/// The value under the reshapes of `value` that nothing else reads.
Value skipReshapes(Value value, Block *block) {
  while (auto view = value.getDefiningOp<ReshapeOp>()) {
    if (view->getBlock() != block || !value.hasOneUse())
      break;
    value = view.getInput();
  }
  return value;
}

void collectTerms(Value value, Block *block, SmallVectorImpl<Value> &terms) {
  Value inside = skipReshapes(value, block);
  MapOp sum = getInnerSum(inside, block);
  if (!sum) {
    terms.push_back(inside);
    return;
  }
  for (Value input : sum.getInputs())
    collectTerms(input, block, terms);
}

struct SplitSumsPass : impl::MoeSplitSumsBase<SplitSumsPass> {
  void runOnOperation() override {
    SmallVector<AccumulateOp> sums;
    getOperation().walk([&](AccumulateOp op) { sums.push_back(op); });
    for (AccumulateOp sum : sums)
      split(sum);
  }

  static void split(AccumulateOp accumulate) {
    Block *block = accumulate->getBlock();
    SmallVector<Value> terms, others;
    SmallVector<Operation *> products;
    collectTerms(accumulate.getValue(), block, terms);
    for (Value term : terms) {
      Operation *maker = term.getDefiningOp();
      if (isProduct(maker) && maker->getBlock() == block && term.hasOneUse())
        products.push_back(maker);
      else
        others.push_back(term);
    }
    // A single product takes the rest of the sum into its epilogue.
    if (products.size() < 2)
      return;
    OpBuilder b(accumulate);
    Type type = accumulate.getValue().getType();
    auto add = [&](Value value) {
      Value shaped = value.getType() == type ? value : Value(ReshapeOp::create(b, value.getLoc(), type, value));
      AccumulateOp::create(b, accumulate.getLoc(), accumulate.getStateAttr(), accumulate.getIndex(), shaped);
    };
    // The last product stays beside its neighbours, which may share a kernel with it. The others were made earlier and
    // move down to their additions, which is allowed because a product has no effect and one user.
    llvm::sort(products, [](Operation *x, Operation *y) { return y->isBeforeInBlock(x); });
    for (Operation *product : products) {
      if (product != products.front())
        product->moveBefore(accumulate);
      add(product->getResult(0));
    }
    llvm::for_each(others, add);
    eraseSum(accumulate);
  }

  /// Erases the sum but not its terms, which have other users now.
  static void eraseSum(AccumulateOp accumulate) {
    SmallVector<Value> unused{accumulate.getValue()};
    accumulate.erase();
    while (!unused.empty()) {
      Operation *op = unused.pop_back_val().getDefiningOp();
      if (!isa_and_present<MapOp, ReshapeOp>(op) || !op->use_empty())
        continue;
      unused.append(op->operand_begin(), op->operand_end());
      op->erase();
    }
  }
};

} // namespace
} // namespace moec::moe
