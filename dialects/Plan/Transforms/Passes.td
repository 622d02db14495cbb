#ifndef MOEC_DIALECTS_PLAN_TRANSFORMS_PASSES_TD
#define MOEC_DIALECTS_PLAN_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

def Place : Pass<"moec-plan-place", "::mlir::ModuleOp"> {
  let summary = "Gives every state and every value of a function its place in the arena";
  let description = [{
    Before: `plan.state` and `plan.alloc` have sizes only.

    After: each has an offset; each alloc also has the positions of its first and last use; the module carries
    `plan.state_bytes` and `plan.arena_bytes`. States lie in order of declaration. The values of a function are placed
    largest first, each at the lowest offset that no value alive at the same time occupies. All functions share one
    area, since only one runs at a time.

    Why here: sizes are final and nothing after this adds or moves an instruction.
    ```mlir
    %0 = plan.alloc "row" : tensor<8x4xf32> -> !plan.buffer<128>
    // becomes
    %0 = plan.alloc "row" : tensor<8x4xf32> at 4096 from 2 to 5 -> !plan.buffer<128>
    ```
  }];
}

def VerifyPlacement : Pass<"moec-plan-verify-placement", "::mlir::ModuleOp"> {
  let summary = "Checks that no two values that live at the same time share a byte";
  let description = [{
    Before and after: unchanged. Every state and alloc must be placed inside the arena, states must not overlap, and two
    allocs of one function whose lifetimes meet must not overlap. The pass recomputes the lifetimes instead of trusting
    the attributes.

    Why here: it is the last pass before the plan is written, so a mistake of any earlier pass that touched memory is
    found at compile time, not as a wrong gradient.
  }];
}

#endif
