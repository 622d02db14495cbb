#include "dialects/Plan/Transforms/Lifetimes.h"
#include "dialects/Plan/Transforms/Passes.h"

using namespace mlir;

namespace moec::plan {
#define GEN_PASS_DEF_VERIFYPLACEMENT
#include "dialects/Plan/Transforms/Passes.h.inc"

namespace {

LogicalResult meet(Operation *a, int64_t aBegin, int64_t aBytes, Operation *b, int64_t bBegin, int64_t bBytes) {
  if (aBegin + aBytes <= bBegin || bBegin + bBytes <= aBegin)
    return success();
  InFlightDiagnostic diag = b->emitOpError("takes bytes ")
                            << bBegin << ".." << bBegin + bBytes << ", which are in use at the same time";
  diag.attachNote(a->getLoc()) << "by this one at " << aBegin << ".." << aBegin + aBytes;
  return failure();
}

struct VerifyPlacement : impl::VerifyPlacementBase<VerifyPlacement> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto arena = module->getAttrOfType<IntegerAttr>("plan.arena_bytes");
    auto stateBytes = module->getAttrOfType<IntegerAttr>("plan.state_bytes");
    if (!arena || !stateBytes) {
      module.emitError("has no plan.arena_bytes; run moec-plan-place first");
      return signalPassFailure();
    }
    SmallVector<StateOp> states(module.getOps<StateOp>());
    for (StateOp state : states)
      if (!state.getOffset() || static_cast<int64_t>(*state.getOffset()) + state.getBytes() > stateBytes.getInt()) {
        state.emitOpError("is not placed inside the ") << stateBytes.getInt() << " bytes of state";
        return signalPassFailure();
      }
    // Sorted by place: if two states overlap, two neighbours do, since no state is empty.
    llvm::sort(states, [](StateOp a, StateOp b) { return *a.getOffset() < *b.getOffset(); });
    for (size_t i = 1; i < states.size(); ++i) {
      StateOp before = states[i - 1], state = states[i];
      if (failed(meet(before, *before.getOffset(), before.getBytes(), state, *state.getOffset(), state.getBytes())))
        return signalPassFailure();
    }
    for (FuncOp function : module.getOps<FuncOp>())
      if (failed(verifyFunction(function, stateBytes.getInt(), arena.getInt())))
        return signalPassFailure();
  }

  LogicalResult verifyFunction(FuncOp function, int64_t base, int64_t top) {
    SmallVector<Lifetime> lifetimes = computeLifetimes(function);
    for (auto [number, life] : llvm::enumerate(lifetimes)) {
      AllocOp alloc = life.alloc;
      if (!alloc.getOffset() || static_cast<int64_t>(*alloc.getOffset()) < base ||
          static_cast<int64_t>(*alloc.getOffset()) + life.bytes > top)
        return alloc.emitOpError("is not placed between bytes ") << base << " and " << top;
      for (const Lifetime &other : ArrayRef(lifetimes).take_front(number)) {
        AllocOp rival = other.alloc;
        if (other.first <= life.last && life.first <= other.last &&
            failed(meet(rival, *rival.getOffset(), other.bytes, alloc, *alloc.getOffset(), life.bytes)))
          return failure();
      }
    }
    return success();
  }
};

} // namespace
} // namespace moec::plan
