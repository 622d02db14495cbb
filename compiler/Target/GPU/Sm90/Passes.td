#ifndef MOEC_COMPILER_TARGET_GPU_SM90_PASSES_TD
#define MOEC_COMPILER_TARGET_GPU_SM90_PASSES_TD

include "mlir/Pass/PassBase.td"

def TileToNvvm : Pass<"moec-tile-to-nvvm", "::mlir::ModuleOp"> {
  let summary = "Expands tile.kernel ops to functions over scf, arith and nvvm";
  let description = [{
    Before: a module of kernels, some of them `tile.kernel`.
    After: each is an `llvm.func` of the same name with the GPU kernel ABI: a persistent pipeline of a producer and
    consumer warpgroups.
    Why here: it is the first pass of the kernel lowering; the other passes work on its results.
    ```mlir
    tile.kernel @gemm params 3
        <m = 128, n = 256, k = 64, stages = 4, producer = 40, consumer = 232, buffers = 2> { ... }
    // becomes
    llvm.func @gemm(%a: !llvm.ptr<1>, ..., %map: !llvm.ptr {llvm.byval = ...}) attributes {nvvm.kernel, ...} { ... }
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect", "::mlir::scf::SCFDialect",
                           "::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

#endif
