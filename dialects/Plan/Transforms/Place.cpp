// Static memory plan: offsets of states and of the values of functions.
#include "dialects/Plan/Transforms/Lifetimes.h"
#include "dialects/Plan/Transforms/Passes.h"

using namespace mlir;

namespace moec::plan {
#define GEN_PASS_DEF_PLACE
#include "dialects/Plan/Transforms/Passes.h.inc"

namespace {

struct Placed {
  int64_t begin, end; // bytes
  int64_t first, last;
};

/// Places values largest first, each at the lowest free offset. `moec plan` prints how much memory they share.
int64_t placeValues(FuncOp function, int64_t base) {
  SmallVector<Lifetime> lifetimes = computeLifetimes(function);
  // No two allocs start at one position, so this order is total.
  llvm::sort(lifetimes, [](const Lifetime &a, const Lifetime &b) {
    return std::pair(-a.bytes, a.first) < std::pair(-b.bytes, b.first);
  });
  OpBuilder b(function.getContext());
  SmallVector<Placed> placed;
  int64_t top = base;
  for (Lifetime &life : lifetimes) {
    int64_t bytes = alignUp(life.bytes);
    SmallVector<Placed> rivals;
    for (const Placed &other : placed)
      if (other.first <= life.last && life.first <= other.last)
        rivals.push_back(other);
    llvm::sort(rivals, [](const Placed &a, const Placed &b) { return a.begin < b.begin; });
    int64_t offset = base;
    for (const Placed &rival : rivals) {
      if (offset + bytes <= rival.begin)
        break;
      offset = std::max(offset, rival.end);
    }
    placed.push_back({offset, offset + bytes, life.first, life.last});
    top = std::max(top, offset + bytes);
    life.alloc.setOffsetAttr(b.getI64IntegerAttr(offset));
    life.alloc.setFirstAttr(b.getI64IntegerAttr(life.first));
    life.alloc.setLastAttr(b.getI64IntegerAttr(life.last));
  }
  return top;
}

struct Place : impl::PlaceBase<Place> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    OpBuilder b(module.getContext());
    int64_t stateBytes = 0;
    for (StateOp state : module.getOps<StateOp>()) {
      state.setOffsetAttr(b.getI64IntegerAttr(stateBytes));
      stateBytes += alignUp(state.getBytes());
    }
    int64_t arenaBytes = stateBytes;
    for (FuncOp function : module.getOps<FuncOp>())
      arenaBytes = std::max(arenaBytes, placeValues(function, stateBytes));
    module->setAttr("plan.state_bytes", b.getI64IntegerAttr(stateBytes));
    module->setAttr("plan.arena_bytes", b.getI64IntegerAttr(arenaBytes));
  }
};

} // namespace
} // namespace moec::plan
