#ifndef MOEC_COMPILER_CONVERSION_EXPTOPLAN_PASSES_TD
#define MOEC_COMPILER_CONVERSION_EXPTOPLAN_PASSES_TD

include "mlir/Pass/PassBase.td"

def BuildPrograms : Pass<"moec-build-programs", "::mlir::ModuleOp"> {
  let summary = "Builds the loop around the functions from the declared cadences";
  let description = [{
    Before: the module holds the experiment and the `plan.func`s of its functions.
    After: it also holds the programs `init` and `train`, and the state that says which data set each row of a batch
    came from. The experiment is gone.

    Why here: programs name functions, so these must already be plan functions.
    ```mlir
    plan.program "train" {
      plan.steps 100 {
        plan.call @begin_step
        plan.repeat 2 {
          plan.next_batch
          plan.call @forward_backward
        }
        plan.call @update
        plan.log every 10
        plan.every 50 { plan.save }
      }
    }
    ```
  }];
  let dependentDialects = ["::moec::exp::ExpDialect", "::moec::plan::PlanDialect"];
}

#endif
