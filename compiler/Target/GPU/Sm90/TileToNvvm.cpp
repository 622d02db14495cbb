#include "compiler/Target/GPU/Sm90/AttentionParts.h"
#include "compiler/Target/GPU/Sm90/Gemm.h"
#include "compiler/Target/GPU/Sm90/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace moec::sm90 {
#define GEN_PASS_DEF_TILETONVVM
#include "compiler/Target/GPU/Sm90/Passes.h.inc"

namespace {
struct TileToNvvmPass : impl::TileToNvvmBase<TileToNvvmPass> {
  void runOnOperation() override {
    for (auto kernel : llvm::make_early_inc_range(getOperation().getOps<tile::KernelOp>())) {
      llvm::TypeSwitch<Operation *>(kernel.getWork())
          .Case([&](tile::AttentionFwdOp op) { expandAttentionFwd(kernel, op); })
          .Case([&](tile::AttentionDqOp op) { expandAttentionDq(kernel, op); })
          .Case([&](tile::AttentionDkvOp op) { expandAttentionDkv(kernel, op); })
          .Case([&](tile::AttentionGradOp op) { expandAttentionGrad(kernel, op); })
          .Default([&](Operation *) { GemmEmitter(kernel).emit(); });
      std::string name = kernel.getSymName().str();
      auto function = cast<LLVM::LLVMFuncOp>(kernel->getPrevNode());
      kernel.erase();
      function.setSymName(name);
    }
  }
};
} // namespace

} // namespace moec::sm90
