#ifndef MOEC_COMPILER_CONVERSION_MOETOPLAN_PASSES_TD
#define MOEC_COMPILER_CONVERSION_MOETOPLAN_PASSES_TD

include "mlir/Pass/PassBase.td"

def MoeToPlan : Pass<"moec-moe-to-plan", "::mlir::ModuleOp"> {
  let summary = "Turns dispatches into plan instructions, buffers and kernels";
  let description = [{
    Before: functions whose ops are `moe.dispatch`, `moe.repeat` and views; states are `moe.state`.
    After: `plan.state`, `plan.func` with `plan.alloc` (no offsets yet) and `plan.launch`, one `plan.kernel` for each
    distinct dispatch (on GPUs perhaps several, launched one after the other), and a nested module @kernels with their
    code. A value that a repeat carries or stacks is made in its final place if nothing else needs that place; otherwise
    it is copied. Why here: dispatches are final, so it is known which values pass between them and need memory.
    Placement, which follows, needs all of these values at once.
    ```mlir
    %h = moe.dispatch "matmul" (%a = %x) : (tensor<8x4xf32>) -> tensor<8x16xf32> { ... }
    // becomes
    %h = plan.alloc "ffn: map" : tensor<8x16xf32> -> !plan.buffer<512>
    plan.launch @moec_matmul_3(%x, %w, %h) writes [2] : !plan.buffer<128>, !plan.buffer<256>, !plan.buffer<512>
    ```
  }];
  let options = [Option<"target", "target", "std::string", "\"native\"",
                        "Machine that the kernels are for, as in moec compile --target">];
  let dependentDialects = ["::moec::plan::PlanDialect", "::mlir::LLVM::LLVMDialect", "::mlir::math::MathDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect", "::mlir::arith::ArithDialect",
                           "::mlir::func::FuncDialect", "::mlir::NVVM::NVVMDialect", "::moec::tile::TileDialect"];
}

#endif
