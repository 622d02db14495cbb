#include "compiler/Target/CPU/ObjectEmitter.h"

#include "compiler/Target/CPU/MathLowering.h"
#include "compiler/Target/Kernel/KernelParts.h"
#include "lld/Common/Driver.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVMPass.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Transforms/Passes.h"
#include "runtime/plan/PlanFormat.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include <mutex>

LLD_HAS_DRIVER(elf)

using namespace mlir;

namespace moec::cpu {

using kernel::KernelPart;

namespace {

/// Part of the key of the kernel cache. Increase it if compilePart makes another object from the same IR.
constexpr int kEmitterVersion = 1;

std::unique_ptr<llvm::TargetMachine> createMachine(const CpuTarget &target, std::string &error) {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::InitializeAllTargetInfos();
    llvm::InitializeAllTargets();
    llvm::InitializeAllTargetMCs();
    llvm::InitializeAllAsmPrinters();
  });
  llvm::Triple triple(target.triple);
  const llvm::Target *found = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!found)
    return nullptr;
  llvm::TargetOptions options;
  // a*b + c may become one fma; floating point may not change in any other way.
  options.AllowFPOpFusion = llvm::FPOpFusion::Fast;
  return std::unique_ptr<llvm::TargetMachine>(found->createTargetMachine(
      triple, target.cpu, /*features=*/"", options, llvm::Reloc::PIC_, std::nullopt, llvm::CodeGenOptLevel::Default));
}

void optimise(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::PipelineTuningOptions tuning;
  // Kernels are written as vectors already: vectorising or unrolling their loops again only costs compile time.
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  tuning.LoopUnrolling = false;
  llvm::PassBuilder builder(&machine, tuning);
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager sccs;
  llvm::ModuleAnalysisManager modules;
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(sccs);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, sccs, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2).run(module, modules);
}

void compilePart(KernelPart &part, const CpuTarget &target) {
  std::unique_ptr<llvm::TargetMachine> machine = createMachine(target, part.error);
  if (!machine)
    return;
  part.module->setTargetTriple(llvm::Triple(target.triple));
  part.module->setDataLayout(machine->createDataLayout());
  optimise(*part.module, *machine);
  llvm::SmallString<0> object;
  llvm::raw_svector_ostream stream(object);
  llvm::legacy::PassManager codegen;
  if (machine->addPassesToEmitFile(codegen, stream, nullptr, llvm::CodeGenFileType::ObjectFile)) {
    part.error = "target '" + target.cpu + "' cannot emit object files";
    return;
  }
  codegen.run(*part.module);
  part.compiled.code.assign(object.begin(), object.end());
}

FailureOr<std::vector<char>> link(ArrayRef<std::unique_ptr<KernelPart>> parts, Location loc) {
  llvm::SmallString<128> folder;
  if (std::error_code code = llvm::sys::fs::createUniqueDirectory("moec", folder))
    return emitError(loc) << "cannot create a temporary folder: " << code.message();
  auto cleanup = llvm::scope_exit([&] { llvm::sys::fs::remove_directories(folder); });

  std::string output = (folder + "/kernels.so").str();
  // --strip-debug keeps the symbols of kernels for profilers. Undefined symbols are libm's, which the runtime's process
  // provides.
  std::vector<std::string> args = {
      "ld.lld",        "-shared",     "-z", "now", "--hash-style=gnu", "--build-id=none", "--soname=kernels.so",
      "--strip-debug", "--threads=1", "-o", output};
  for (size_t i = 0; i < parts.size(); ++i) {
    std::string path = (folder + "/" + Twine(i) + ".o").str();
    std::error_code code;
    llvm::raw_fd_ostream file(path, code);
    file.write(parts[i]->compiled.code.data(), parts[i]->compiled.code.size());
    file.close();
    if (code || file.has_error())
      return emitError(loc) << "cannot write '" << path << "'";
    args.push_back(path);
  }
  std::vector<const char *> argv;
  for (const std::string &arg : args)
    argv.push_back(arg.c_str());

  // lld keeps its state in globals.
  static std::mutex lldMutex;
  std::lock_guard<std::mutex> guard(lldMutex);
  std::string messages;
  llvm::raw_string_ostream stream(messages);
  lld::Result result = lld::lldMain(argv, stream, stream, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode != 0)
    return emitError(loc) << "internal: linking the kernels failed: " << messages;
  auto file = llvm::MemoryBuffer::getFile(output, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!file)
    return emitError(loc) << "cannot read '" << output << "': " << file.getError().message();
  return std::vector<char>((*file)->getBufferStart(), (*file)->getBufferEnd());
}

} // namespace

void buildKernelLoweringPipeline(OpPassManager &pm, const CpuTarget &target) {
  // Polynomials come first; the remaining math ops become intrinsics and calls.
  pm.addPass(createLowerKernelMath());
  pm.addPass(createCSEPass());
  // No canonicalisation of vectors here: it rewrites chains of inserts into single scalars.
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createUBToLLVMConversionPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
}

FailureOr<CodeBlob> assembleKernels(ModuleOp kernels, const CpuTarget &target, const AssembleOptions &options) {
  MLIRContext *context = kernels.getContext();
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  context->appendDialectRegistry(registry);

  PassManager pm(context);
  buildKernelLoweringPipeline(pm, target);
  if (failed(pm.run(kernels)))
    return failure();

  std::string machine = target.triple + " " + target.cpu + ", emitter " + std::to_string(kEmitterVersion);
  auto parts = kernel::cutKernels(kernels, machine);
  if (failed(parts))
    return failure();
  kernel::KernelCache cache(options.useCache ? kernel::KernelCache::defaultFolder() : "");
  if (failed(
          kernel::compileParts(*parts, options.threads, cache, [&](KernelPart &part) { compilePart(part, target); })))
    return failure();
  FailureOr<std::vector<char>> object = link(*parts, kernels.getLoc());
  if (failed(object))
    return failure();
  CodeBlob blob;
  blob.name = rt::kKernelsBlob;
  blob.bytes = std::move(*object);
  for (const std::unique_ptr<KernelPart> &part : *parts)
    llvm::append_range(blob.kernels, part->kernels);
  return blob;
}

} // namespace moec::cpu
