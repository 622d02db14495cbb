#include "compiler/Target/GPU/KernelLowering.h"

#include "compiler/Target/GPU/Assembler.h"
#include "compiler/Target/GPU/MathLowering.h"
#include "compiler/Target/GPU/PtxEmitter.h"
#include "compiler/Target/GPU/Sm90/Passes.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/NVVMToLLVM/NVVMToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/FormatVariadic.h"
#include <atomic>
#include <thread>

using namespace mlir;

namespace moec::gpu {

namespace {

/// One kernel on its way. Each stands alone in its module: the bytes of a plan must not depend on who compiled it, and
/// kernels that did not change need not be assembled again.
struct Part {
  explicit Part(Location loc) : loc(loc) {}

  Location loc;
  std::string symbol;
  bool usesTensorCores = false;
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module;
  std::string ptx;
  AssemblyResult assembled;
  std::string error;
};

bool usesTensorCores(LLVM::LLVMFuncOp kernel) {
  return kernel
      .walk([](LLVM::InlineAsmOp op) {
        return op.getAsmString().contains("wgmma") ? WalkResult::interrupt() : WalkResult::advance();
      })
      .wasInterrupted();
}

/// `kernel` in a module of its own, with copies of the globals that it uses.
OwningOpRef<ModuleOp> isolate(LLVM::LLVMFuncOp kernel, const SymbolTable &symbols) {
  llvm::SmallSetVector<Operation *, 4> used;
  kernel.walk([&](LLVM::AddressOfOp address) { used.insert(symbols.lookup(address.getGlobalName())); });
  OwningOpRef<ModuleOp> module = ModuleOp::create(kernel.getLoc());
  for (Operation *global : used)
    module->push_back(global->clone());
  module->push_back(kernel->clone());
  return module;
}

void compilePart(Part &part, const GpuTarget &target, const Assembler *assembler) {
  part.ptx = emitPtx(*part.module, target, part.usesTensorCores, part.error);
  part.module.reset();
  if (part.ptx.empty() || !assembler)
    return;
  part.assembled = assembler->assemble(part.ptx, target.arch);
  if (part.assembled.code.empty())
    part.error = "internal: " + assembler->identity() + " refuses the kernel: " + part.assembled.log;
}

/// Registers in the table of `verbose`; what makes a kernel slow as a diagnostic. Fails when that is an error.
LogicalResult report(const Part &part, const AssembleOptions &options) {
  LogicalResult result = success();
  for (const KernelReport &kernel : parseAssemblerLog(part.assembled.log)) {
    if (options.verbose)
      llvm::errs() << llvm::formatv("{0,-40} {1,4} registers {2,6} bytes spilled {3,6} bytes of stack\n", kernel.symbol,
                                    kernel.registers, kernel.spillBytes, kernel.stackBytes);
    if (kernel.isClean())
      continue;
    InFlightDiagnostic diagnostic = options.strictKernels ? emitError(part.loc) : emitWarning(part.loc);
    diagnostic << "kernel '" << kernel.symbol << "' spills " << kernel.spillBytes << " bytes of registers and has "
               << kernel.stackBytes << " bytes of stack";
    for (const std::string &warning : kernel.warnings)
      diagnostic.attachNote() << warning;
    if (options.strictKernels)
      result = failure();
  }
  return result;
}

} // namespace

void buildKernelLoweringPipeline(OpPassManager &pm, const GpuTarget &) {
  pm.addPass(sm90::createTileToNvvm());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  // Before the conversions: whatever math is left after it has an instruction.
  pm.addPass(createLowerKernelMath());
  pm.addPass(createCSEPass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createConvertNVVMToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createUBToLLVMConversionPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
}

FailureOr<std::vector<CodeBlob>> assembleKernels(ModuleOp kernels, const GpuTarget &target,
                                                 const AssembleOptions &options) {
  MLIRContext *context = kernels.getContext();
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
  registerConvertNVVMToLLVMInterface(registry);
  context->appendDialectRegistry(registry);

  PassManager pm(context);
  buildKernelLoweringPipeline(pm, target);
  if (failed(pm.run(kernels)))
    return failure();

  std::unique_ptr<Assembler> assembler = Assembler::find();
  std::vector<std::unique_ptr<Part>> parts;
  SymbolTable symbols(kernels);
  for (auto kernel : kernels.getOps<LLVM::LLVMFuncOp>()) {
    auto part = std::make_unique<Part>(kernel.getLoc());
    part->symbol = kernel.getName().str();
    part->usesTensorCores = usesTensorCores(kernel);
    part->module = translateModuleToLLVMIR(*isolate(kernel, symbols), part->context, part->symbol);
    if (!part->module)
      return emitError(part->loc) << "internal: kernel '" << part->symbol << "' cannot be translated to LLVM IR";
    part->module->setSourceFileName(part->symbol);
    parts.push_back(std::move(part));
  }

  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t i = next++; i < parts.size(); i = next++)
      compilePart(*parts[i], target, assembler.get());
  };
  std::vector<std::thread> workers;
  for (unsigned i = 1; i < std::min<size_t>(options.threads, parts.size()); ++i)
    workers.emplace_back(work);
  work();
  for (std::thread &worker : workers)
    worker.join();

  std::vector<CodeBlob> blobs;
  bool clean = true;
  for (auto [index, part] : llvm::enumerate(parts)) {
    if (!part->error.empty())
      return emitError(part->loc) << part->error;
    clean &= succeeded(report(*part, options));
    CodeBlob blob;
    blob.name = "k" + std::to_string(index) + (assembler ? ".cubin" : ".ptx");
    blob.bytes = assembler ? part->assembled.code : std::vector<char>(part->ptx.begin(), part->ptx.end());
    blob.symbols = {part->symbol};
    blobs.push_back(std::move(blob));
  }
  if (!clean)
    return failure();
  if (!assembler)
    emitRemark(kernels.getLoc()) << "no ptxas found: the plan holds PTX, which the driver assembles when it is loaded";
  return blobs;
}

} // namespace moec::gpu
