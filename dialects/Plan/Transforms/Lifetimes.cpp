#include "dialects/Plan/Transforms/Lifetimes.h"

using namespace mlir;

namespace moec::plan {

namespace {
struct Span {
  int64_t begin, end;
};

void number(Block &block, int64_t &next, llvm::DenseMap<Operation *, Span> &spans) {
  for (Operation &op : block) {
    int64_t begin = next++;
    for (Region &region : op.getRegions())
      for (Block &inner : region)
        number(inner, next, spans);
    spans[&op] = {begin, op.getNumRegions() ? next++ : begin};
  }
}
} // namespace

SmallVector<Lifetime> computeLifetimes(FuncOp function) {
  llvm::DenseMap<Operation *, Span> spans;
  int64_t next = 0;
  number(function.getBody().front(), next, spans);
  SmallVector<Lifetime> lifetimes;
  function.walk([&](AllocOp alloc) {
    Lifetime life{alloc, alloc.getResult().getType().getBytes(), spans[alloc].begin, spans[alloc].begin};
    SmallVector<Value> views{alloc.getResult()};
    while (!views.empty())
      for (Operation *user : views.pop_back_val().getUsers()) {
        if (auto slice = dyn_cast<SliceOp>(user))
          views.push_back(slice.getResult());
        auto use = [&](Operation *op) {
          Operation *ancestor = alloc->getBlock()->findAncestorOpInBlock(*op);
          life.first = std::min(life.first, spans[ancestor].begin);
          life.last = std::max(life.last, spans[ancestor].end);
        };
        use(user);
        if (auto start = dyn_cast<StartOp>(user)) // the exchange is under way until then
          llvm::for_each(start.getRequest().getUsers(), use);
      }
    lifetimes.push_back(life);
  });
  return lifetimes;
}

} // namespace moec::plan
