#include "compiler/Target/GPU/KernelLowering.h"

#include "compiler/Target/GPU/Assembler.h"
#include "compiler/Target/GPU/GpuFamily.h"
#include "compiler/Target/GPU/MathLowering.h"
#include "compiler/Target/GPU/PtxEmitter.h"
#include "compiler/Target/Kernel/KernelParts.h"
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
#include "mlir/Transforms/Passes.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;

namespace moec::gpu {

using kernel::CompiledKernel;
using kernel::KernelPart;

namespace {

/// Everything besides the kernel's IR on which the machine code depends.
std::string describe(const GpuTarget &target, const Assembler *assembler) {
  return target.arch + " " + target.ptxFeature + ", emitter " + std::to_string(kPtxEmitterVersion) + "\n" +
         (assembler ? assembler->identity() : "no assembler");
}

void compilePart(KernelPart &part, const GpuTarget &target, const Assembler *assembler) {
  CompiledKernel &compiled = part.compiled;
  compiled.text = emitPtx(*part.module, target, part.error);
  if (!part.error.empty() || !assembler)
    return;
  AssemblyResult result = assembler->assemble(compiled.text, target.arch);
  if (result.code.empty()) {
    part.error = "internal: " + assembler->identity() + " refuses the kernel: " + result.log;
    return;
  }
  compiled.code = std::move(result.code);
  compiled.log = std::move(result.log);
}

/// Prints a row of the table of `verbose`, and reports causes of slow kernels as diagnostics. Fails if these are
/// errors.
LogicalResult report(const KernelPart &part, const AssembleOptions &options) {
  LogicalResult result = success();
  const std::string &symbol = part.kernels.front().symbol;
  for (const KernelReport &kernel : parseAssemblerLog(part.compiled.log)) {
    if (options.verbose) {
      std::string note = part.wasCached ? "  cached" : "";
      if (part.kernels.size() > 1)
        note += llvm::formatv("  also {0} more", part.kernels.size() - 1);
      llvm::errs() << llvm::formatv("{0,-32} {1,-40} {2,4} registers {3,6} B spilled {4,6} B stack{5}\n", symbol,
                                    kernel.symbol, kernel.registers, kernel.spillBytes, kernel.stackBytes, note);
    }
    if (kernel.isClean())
      continue;
    InFlightDiagnostic diagnostic = options.strictKernels ? emitError(part.loc) : emitWarning(part.loc);
    diagnostic << "kernel '" << symbol << "' will be slow: " << kernel.spillBytes << " bytes of registers spilled, "
               << kernel.stackBytes << " bytes of stack";
    for (const std::string &warning : kernel.warnings)
      diagnostic << "; " << warning;
    if (options.strictKernels)
      result = failure();
  }
  return result;
}

} // namespace

void buildKernelLoweringPipeline(OpPassManager &pm, const GpuTarget &target) {
  if (target.family)
    target.family->addLowering(pm);
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  // This comes before the conversions; the remaining math ops have instructions.
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

  std::unique_ptr<Assembler> assembler = options.form == CodeForm::Text ? nullptr : Assembler::find();
  if (!assembler && options.form == CodeForm::Binary)
    return emitError(kernels.getLoc()) << "no ptxas found to make a cubin with; name one by MOEC_PTXAS or CUDA_HOME";
  auto parts = kernel::cutKernels(kernels, describe(target, assembler.get()));
  if (failed(parts))
    return failure();
  kernel::KernelCache cache(options.useCache ? kernel::KernelCache::defaultFolder() : "");
  if (failed(kernel::compileParts(*parts, options.threads, cache,
                                  [&](KernelPart &part) { compilePart(part, target, assembler.get()); })))
    return failure();

  std::vector<CodeBlob> blobs;
  bool clean = true;
  for (auto [index, part] : llvm::enumerate(*parts)) {
    clean &= succeeded(report(*part, options));
    const CompiledKernel &compiled = part->compiled;
    CodeBlob blob;
    blob.name = "k" + std::to_string(index) + (assembler ? ".cubin" : ".ptx");
    blob.bytes = assembler ? compiled.code : std::vector<char>(compiled.text.begin(), compiled.text.end());
    blob.kernels = part->kernels;
    blobs.push_back(std::move(blob));
  }
  if (!clean)
    return failure();
  if (!assembler && options.form == CodeForm::Automatic)
    emitRemark(kernels.getLoc()) << "no ptxas found: the plan holds PTX, which the driver assembles when it is loaded";
  return blobs;
}

} // namespace moec::gpu
