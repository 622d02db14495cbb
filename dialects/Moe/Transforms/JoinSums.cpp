// Brings products together that are only added up, so that one kernel adds them in its accumulators.
#include "dialects/Moe/Analysis/MapForm.h"
#include "dialects/Moe/IR/MoeBuild.h"
#include "dialects/Moe/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOEJOINSUMS
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {

void collectTerms(MapOp sum, SmallVectorImpl<Value> &terms, SmallVectorImpl<MapOp> &inner) {
  for (Value input : sum.getInputs()) {
    if (MapOp nested = getInnerSum(input, sum->getBlock())) {
      collectTerms(nested, terms, inner);
      inner.push_back(nested);
    } else {
      terms.push_back(input);
    }
  }
}

/// Whether both products may run in one kernel: one op, one layout and, for experts, the same groups of rows.
bool canShare(Operation *a, Operation *b) {
  return a->getName() == b->getName() && a->getPropertiesAsAttribute() == b->getPropertiesAsAttribute() &&
         llvm::equal(a->getOperands().drop_front(2), b->getOperands().drop_front(2));
}

void join(MapOp sum) {
  SmallVector<Value> terms;
  SmallVector<MapOp> inner;
  collectTerms(sum, terms, inner);
  SmallVector<Operation *> products;
  for (Value term : terms) {
    Operation *maker = term.getDefiningOp();
    if (isProduct(maker) && maker->getBlock() == sum->getBlock() && term.hasOneUse() &&
        (products.empty() || canShare(products.front(), maker)))
      products.push_back(maker);
  }
  if (products.size() < 2)
    return;
  OpBuilder b(sum);
  if (!inner.empty()) {
    Value total = buildMap(b, sum.getLoc(), sum.getResult(0).getType(), terms, [](Scalars &s, ValueRange v) {
      Value result = v.front();
      for (Value next : v.drop_front())
        result = s.add(result, next);
      return result;
    });
    sum.getResult(0).replaceAllUsesWith(total);
    sum.erase();
    for (MapOp nested : llvm::reverse(inner))
      nested.erase();
    sum = total.getDefiningOp<MapOp>();
  }
  // A product has no effect and one user, so it may move down to that user.
  for (Operation *product : products)
    product->moveBefore(sum);
}

struct JoinSumsPass : impl::MoeJoinSumsBase<JoinSumsPass> {
  void runOnOperation() override {
    SmallVector<MapOp> roots;
    getOperation().walk([&](MapOp map) {
      bool isInner = map->hasOneUse() && isa<MapOp>(*map->user_begin()) && isSum(cast<MapOp>(*map->user_begin())) &&
                     map->user_begin()->getBlock() == map->getBlock();
      if (isSum(map) && !isInner)
        roots.push_back(map);
    });
    for (MapOp root : roots)
      join(root);
  }
};

} // namespace
} // namespace moec::moe
