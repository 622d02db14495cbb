// Runs the last steps of a compilation on IR: machine code of a module of kernels, tables of a plan. For tests.
#include "compiler/Target/All/Targets.h"
#include "compiler/Target/Plan/ManifestBuilder.h"
#include "compiler/tools/RegisterAll.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Tools/mlir-translate/MlirTranslateMain.h"
#include "mlir/Tools/mlir-translate/Translation.h"
#include "llvm/Support/CommandLine.h"

#include <cstdlib>

using namespace mlir;

namespace {
llvm::cl::opt<std::string> targetName("target", llvm::cl::desc("Machine to emit for"), llvm::cl::init("sm_90a"));
llvm::cl::opt<unsigned> threads("compile-threads", llvm::cl::desc("Threads that assemble kernels"), llvm::cl::init(1));
llvm::cl::opt<bool> strict("strict-kernels", llvm::cl::desc("Spilled registers are an error"));
llvm::cl::opt<bool> cached("cache", llvm::cl::desc("Use the cache of kernels"));
llvm::cl::opt<bool> verbose("verbose-kernels", llvm::cl::desc("Print what the assembler says of each kernel"));

LogicalResult emit(Operation *op, llvm::raw_ostream &output) {
  auto target = moec::createTarget(targetName);
  if (!target)
    return op->emitError(moec::unknownTarget(targetName));
  auto blobs = target->assemble(cast<ModuleOp>(op),
                                {.threads = threads, .useCache = cached, .verbose = verbose, .strictKernels = strict});
  if (failed(blobs))
    return failure();
  for (const moec::CodeBlob &blob : *blobs)
    output.write(blob.bytes.data(), blob.bytes.size());
  return success();
}

LogicalResult describe(Operation *op, llvm::raw_ostream &output) {
  auto tables = moec::buildPlanTables(cast<ModuleOp>(op), {});
  if (failed(tables))
    return failure();
  output << tables->dump(1) << "\n";
  return success();
}

void registerDialects(DialectRegistry &registry) {
  moec::registerAllDialects(registry);
  registry.insert<NVVM::NVVMDialect>();
}
} // namespace

int main(int argc, char **argv) {
  TranslateFromMLIRRegistration code("kernels-to-code", "the machine code of each kernel, one after the other", emit,
                                     registerDialects);
  TranslateFromMLIRRegistration tables("plan-to-manifest", "what the manifest of a plan file says of a placed plan",
                                       describe, registerDialects);
  return failed(mlirTranslateMain(argc, argv, "moec translation driver\n"));
}
