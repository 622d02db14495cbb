#include "compiler/tools/RegisterAll.h"

#include "compiler/Conversion/ExpToMoe/Passes.h"
#include "compiler/Conversion/ExpToPlan/Passes.h"
#include "compiler/Conversion/MoeToPlan/Passes.h"
#include "compiler/Methods/Methods.h"
#include "compiler/Target/GPU/GpuBackend.h"
#include "dialects/Dist/IR/Dist.h"
#include "dialects/Dist/Transforms/Passes.h"
#include "dialects/Exp/IR/Exp.h"
#include "dialects/Moe/IR/Moe.h"
#include "dialects/Moe/Transforms/Passes.h"
#include "dialects/Plan/IR/Plan.h"
#include "dialects/Plan/Transforms/Passes.h"
#include "dialects/Tile/IR/Tile.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/Passes.h"

namespace moec {

void registerAllDialects(mlir::DialectRegistry &registry) {
  registry.insert<mlir::arith::ArithDialect, mlir::func::FuncDialect, mlir::LLVM::LLVMDialect, mlir::math::MathDialect,
                  mlir::scf::SCFDialect, mlir::vector::VectorDialect>();
  registry.insert<dist::DistDialect, exp::ExpDialect, moe::MoeDialect, plan::PlanDialect, tile::TileDialect>();
  registerMethods(registry);
}

void registerAllPasses() {
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
  mlir::registerSymbolDCEPass();
  registerExpToMoePasses();
  dist::registerDistPasses();
  moe::registerMoePasses();
  plan::registerPlanPasses();
  registerExpToPlanPasses();
  registerMoeToPlanPasses();
  gpu::registerGpuPasses();
}

} // namespace moec
