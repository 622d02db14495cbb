#include "compiler/Target/GPU/KernelLowering.h"

#include "compiler/Target/GPU/Assembler.h"
#include "compiler/Target/GPU/GpuFamily.h"
#include "compiler/Target/GPU/KernelCache.h"
#include "compiler/Target/GPU/MathLowering.h"
#include "compiler/Target/GPU/PtxEmitter.h"
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
#include "llvm/Config/llvm-config.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/xxhash.h"
#include <atomic>
#include <thread>

using namespace mlir;

namespace moec::gpu {

namespace {

/// Kernels of equal code on their way. Each part stands alone in its module: the bytes of a plan must not depend on who
/// compiled it, and kernels that did not change need not be assembled again.
struct Part {
  explicit Part(Location loc) : loc(loc) {}

  Location loc;                          // of the first kernel
  std::vector<CodeBlob::Kernel> kernels; // never empty; all have one entry
  std::string key;                       // in the cache
  bool wasCached = false;
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module;
  CompiledKernel compiled;
  std::string error;
};

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

/// "moec_row_12" -> "moec_row": what numbers a kernel within its plan must not tell it from its equals.
StringRef stemOf(StringRef symbol) {
  StringRef stem = symbol.rtrim("0123456789");
  return stem.size() < symbol.size() && stem.ends_with("_") ? stem.drop_back() : symbol;
}

/// Everything that the machine code depends on, as text.
std::string describe(const llvm::Module &module, const GpuTarget &target, const Assembler *assembler) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << target.arch << " " << target.ptxFeature << "\nLLVM " LLVM_VERSION_STRING ", emitter " << kPtxEmitterVersion
         << "\n"
         << (assembler ? assembler->identity() : "no assembler") << "\n";
  module.print(stream, nullptr);
  return text;
}

/// Cuts `kernels` into parts. Fails with a diagnostic.
FailureOr<std::vector<std::unique_ptr<Part>>> cut(ModuleOp kernels, const GpuTarget &target,
                                                  const Assembler *assembler) {
  SymbolTable symbols(kernels);
  std::vector<std::unique_ptr<Part>> parts;
  llvm::StringMap<Part *> byKey;
  for (auto kernel : kernels.getOps<LLVM::LLVMFuncOp>()) {
    std::string symbol = kernel.getName().str(), stem = stemOf(symbol).str();
    auto part = std::make_unique<Part>(kernel.getLoc());
    OwningOpRef<ModuleOp> alone = isolate(kernel, symbols);
    cast<LLVM::LLVMFuncOp>(alone->getBody()->back()).setName(stem);
    part->module = translateModuleToLLVMIR(*alone, part->context, stem);
    if (!part->module)
      return emitError(part->loc) << "internal: kernel '" << symbol << "' cannot be translated to LLVM IR";
    part->key = describe(*part->module, target, assembler);
    Part *&known = byKey[part->key];
    if (known) {
      known->kernels.push_back({symbol, known->kernels.front().entry});
      continue;
    }
    known = part.get();
    std::string entry = stem + "_" + llvm::utohexstr(llvm::xxh3_64bits(part->key), /*LowerCase=*/true, /*Width=*/16);
    part->module->getFunction(stem)->setName(entry);
    part->kernels = {{symbol, entry}};
    parts.push_back(std::move(part));
  }
  return parts;
}

void compilePart(Part &part, const GpuTarget &target, const Assembler *assembler, const KernelCache &cache) {
  if (auto found = cache.find(part.key)) {
    part.module.reset();
    part.compiled = std::move(*found);
    part.wasCached = true;
    return;
  }
  CompiledKernel &compiled = part.compiled;
  compiled.ptx = emitPtx(*part.module, target, part.error);
  part.module.reset();
  if (!part.error.empty())
    return;
  if (assembler) {
    AssemblyResult result = assembler->assemble(compiled.ptx, target.arch);
    if (result.code.empty()) {
      part.error = "internal: " + assembler->identity() + " refuses the kernel: " + result.log;
      return;
    }
    compiled.cubin = std::move(result.code);
    compiled.log = std::move(result.log);
  }
  cache.store(part.key, compiled);
}

/// Compiles all parts on `threads` threads.
void compileParts(ArrayRef<std::unique_ptr<Part>> parts, unsigned threads, llvm::function_ref<void(Part &)> compile) {
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t i = next++; i < parts.size(); i = next++)
      compile(*parts[i]);
  };
  std::vector<std::thread> workers;
  for (unsigned i = 1; i < std::min<size_t>(threads, parts.size()); ++i)
    workers.emplace_back(work);
  work();
  for (std::thread &worker : workers)
    worker.join();
}

/// A row of the table of `verbose`; what makes a kernel slow as a diagnostic. Fails when that is an error.
LogicalResult report(const Part &part, const AssembleOptions &options) {
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

  std::unique_ptr<Assembler> assembler = options.form == CodeForm::Text ? nullptr : Assembler::find();
  if (!assembler && options.form == CodeForm::Binary)
    return emitError(kernels.getLoc()) << "no ptxas found to make a cubin with; name one by MOEC_PTXAS or CUDA_HOME";
  auto parts = cut(kernels, target, assembler.get());
  if (failed(parts))
    return failure();
  KernelCache cache(options.useCache ? KernelCache::defaultFolder() : "");
  compileParts(*parts, options.threads, [&](Part &part) { compilePart(part, target, assembler.get(), cache); });
  cache.trim();

  std::vector<CodeBlob> blobs;
  bool clean = true;
  for (auto [index, part] : llvm::enumerate(*parts)) {
    if (!part->error.empty())
      return emitError(part->loc) << "kernel '" << part->kernels.front().symbol << "': " << part->error;
    clean &= succeeded(report(*part, options));
    const CompiledKernel &compiled = part->compiled;
    CodeBlob blob;
    blob.name = "k" + std::to_string(index) + (assembler ? ".cubin" : ".ptx");
    blob.bytes = assembler ? compiled.cubin : std::vector<char>(compiled.ptx.begin(), compiled.ptx.end());
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
