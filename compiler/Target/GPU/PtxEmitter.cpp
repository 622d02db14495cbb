#include "compiler/Target/GPU/PtxEmitter.h"

#include "compiler/Target/GPU/GpuFamily.h"

#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include <mutex>

namespace moec::gpu {

namespace {

std::unique_ptr<llvm::TargetMachine> createMachine(const GpuTarget &target, std::string &error) {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::InitializeAllTargetInfos();
    llvm::InitializeAllTargets();
    llvm::InitializeAllTargetMCs();
    llvm::InitializeAllAsmPrinters();
  });
  llvm::Triple triple("nvptx64-nvidia-cuda");
  const llvm::Target *found = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!found)
    return nullptr;
  llvm::TargetOptions options;
  // a*b + c may become one fma; floating point may not change in any other way.
  options.AllowFPOpFusion = llvm::FPOpFusion::Fast;
  return std::unique_ptr<llvm::TargetMachine>(found->createTargetMachine(
      triple, target.arch, target.ptxFeature, options, std::nullopt, std::nullopt, llvm::CodeGenOptLevel::Aggressive));
}

/// Inline assembly with side effects (barriers, wgmma) must be executed by exactly the intended threads, so LLVM may
/// neither duplicate it nor sink it into a branch. MLIR has no attribute for this.
void markConvergent(llvm::Module &module) {
  for (llvm::Function &function : module)
    for (llvm::Instruction &instruction : llvm::instructions(function))
      if (auto *call = llvm::dyn_cast<llvm::CallInst>(&instruction))
        if (auto *text = llvm::dyn_cast<llvm::InlineAsm>(call->getCalledOperand()); text && text->hasSideEffects()) {
          call->setConvergent();
          call->setDoesNotThrow();
        }
}

bool optimise(llvm::Module &module, llvm::TargetMachine &machine, std::string &error) {
  llvm::PipelineTuningOptions tuning;
  // Templates write vectors themselves; unrolling stays enabled, since it hides latency.
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
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
  llvm::ModulePassManager passes;
  bool keepsLoops = llvm::any_of(module, [](const llvm::Function &f) { return f.hasFnAttribute(kKeepLoops); });
  if (keepsLoops) {
    // The full pipeline rotates and unrolls the main loop, which doubles the code without a gain.
    const char *text =
        "function(sroa,early-cse,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(licm),early-cse,dce)";
    if (llvm::Error failed = builder.parsePassPipeline(passes, text)) {
      error = llvm::toString(std::move(failed));
      return false;
    }
  } else {
    passes = builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2);
  }
  passes.run(module, modules);
  return true;
}

} // namespace

std::string emitPtx(llvm::Module &module, const GpuTarget &target, std::string &error) {
  std::unique_ptr<llvm::TargetMachine> machine = createMachine(target, error);
  if (!machine)
    return {};
  module.setTargetTriple(machine->getTargetTriple());
  module.setDataLayout(machine->createDataLayout());
  markConvergent(module);
  if (!optimise(module, *machine, error))
    return {};
  llvm::SmallString<0> text;
  llvm::raw_svector_ostream stream(text);
  llvm::legacy::PassManager codegen;
  if (machine->addPassesToEmitFile(codegen, stream, nullptr, llvm::CodeGenFileType::AssemblyFile)) {
    error = "target '" + target.arch + "' cannot emit PTX";
    return {};
  }
  codegen.run(module);
  return text.str().str();
}

} // namespace moec::gpu
