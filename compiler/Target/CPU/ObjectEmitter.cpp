#include "compiler/Target/CPU/ObjectEmitter.h"

#include "compiler/Target/CPU/MathLowering.h"
#include "lld/Common/Driver.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVMPass.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include <atomic>
#include <mutex>
#include <thread>

LLD_HAS_DRIVER(elf)

using namespace mlir;

namespace moec::cpu {

namespace {

// Kernels that share one LLVM module. Cut by number, never by `threads`: the bytes of a plan must not depend on who
// compiled it.
constexpr size_t kKernelsPerPart = 16;

struct Part {
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module;
  llvm::SmallString<0> object;
  std::string error;
};

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
  // a*b + c may become one fma; nothing else is relaxed.
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

void compilePart(Part &part, const CpuTarget &target) {
  std::unique_ptr<llvm::TargetMachine> machine = createMachine(target, part.error);
  if (!machine)
    return;
  part.module->setTargetTriple(llvm::Triple(target.triple));
  part.module->setDataLayout(machine->createDataLayout());
  optimise(*part.module, *machine);
  llvm::raw_svector_ostream stream(part.object);
  llvm::legacy::PassManager codegen;
  if (machine->addPassesToEmitFile(codegen, stream, nullptr, llvm::CodeGenFileType::ObjectFile)) {
    part.error = "target '" + target.cpu + "' cannot emit object files";
    return;
  }
  codegen.run(*part.module);
  part.module.reset();
}

// Moves the functions of `kernels` into modules of kKernelsPerPart; declarations (libm) are copied to those that use
// them.
SmallVector<OwningOpRef<ModuleOp>> split(ModuleOp kernels) {
  SmallVector<OwningOpRef<ModuleOp>> parts;
  llvm::StringMap<Operation *> declarations;
  size_t count = 0;
  for (Operation &op : llvm::make_early_inc_range(*kernels.getBody())) {
    auto function = dyn_cast<LLVM::LLVMFuncOp>(op);
    if (!function)
      continue;
    if (function.isExternal()) {
      declarations[function.getName()] = &op;
      continue;
    }
    if (count++ % kKernelsPerPart == 0)
      parts.push_back(ModuleOp::create(kernels.getLoc()));
    op.moveBefore(parts.back()->getBody(), parts.back()->getBody()->end());
  }
  for (OwningOpRef<ModuleOp> &part : parts) {
    SmallVector<StringRef> used;
    part->walk([&](LLVM::CallOp call) {
      if (auto callee = call.getCallee(); callee && !llvm::is_contained(used, *callee))
        used.push_back(*callee);
    });
    for (StringRef name : used)
      if (Operation *declaration = declarations.lookup(name))
        part->getBody()->push_front(declaration->clone());
  }
  return parts;
}

FailureOr<std::vector<char>> link(ArrayRef<std::unique_ptr<Part>> parts, Location loc) {
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
    file << parts[i]->object;
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
  // Polynomials first: whatever math is left after them becomes intrinsics and calls.
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

FailureOr<std::vector<char>> emitSharedObject(ModuleOp kernels, const CpuTarget &target, unsigned threads) {
  MLIRContext *context = kernels.getContext();
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  context->appendDialectRegistry(registry);

  PassManager pm(context);
  buildKernelLoweringPipeline(pm, target);
  if (failed(pm.run(kernels)))
    return failure();

  std::vector<std::unique_ptr<Part>> parts;
  for (auto [index, module] : llvm::enumerate(split(kernels))) {
    auto part = std::make_unique<Part>();
    part->module = translateModuleToLLVMIR(*module, part->context, "kernels." + std::to_string(index));
    if (!part->module)
      return emitError(kernels.getLoc()) << "internal: a kernel cannot be translated to LLVM IR";
    part->module->setSourceFileName("kernels." + std::to_string(index));
    parts.push_back(std::move(part));
  }

  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t i = next++; i < parts.size(); i = next++)
      compilePart(*parts[i], target);
  };
  std::vector<std::thread> workers;
  for (unsigned i = 1; i < std::min<size_t>(threads, parts.size()); ++i)
    workers.emplace_back(work);
  work();
  for (std::thread &worker : workers)
    worker.join();
  for (const std::unique_ptr<Part> &part : parts)
    if (!part->error.empty())
      return emitError(kernels.getLoc()) << part->error;
  return link(parts, kernels.getLoc());
}

} // namespace moec::cpu
