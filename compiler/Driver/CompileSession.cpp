#include "compiler/Driver/CompileSession.h"

#include "compiler/Conversion/MoeToPlan/Passes.h"
#include "compiler/Spec/Spec.h"
#include "compiler/Target/All/Targets.h"
#include "compiler/Target/Plan/ManifestBuilder.h"
#include "runtime/base/File.h"
#include "runtime/plan/LineKeys.h"
#include "runtime/plan/PlanWriter.h"
#include "llvm/Support/Format.h"

#include <chrono>
#include <filesystem>
#include <thread>

using namespace mlir;

namespace moec {

CompileSession::CompileSession(MLIRContext &context, CompileOptions options)
    : context(context), options(std::move(options)) {
  if (this->options.threads == 0)
    this->options.threads = std::max(1u, std::thread::hardware_concurrency());
  this->options.code.threads = this->options.threads;
}

LogicalResult CompileSession::timed(StringRef what, function_ref<LogicalResult()> work) {
  auto start = std::chrono::steady_clock::now();
  LogicalResult result = work();
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.timing)
    llvm::errs() << llvm::format("%8.3f s  ", seconds) << what << "\n";
  return result;
}

std::string CompileSession::dumpPath(size_t number, StringRef phase) const {
  return options.dumpTo + "/" + std::to_string(number) + "-" + phase.str() + ".mlir";
}

/// Called before anything is written: a dump must never replace a file that is read.
LogicalResult CompileSession::checkDumps() {
  if (options.dumpTo.empty())
    return success();
  for (size_t i = 0; i < phases().size(); ++i)
    for (const std::string &input : options.inputs)
      if (std::string path = dumpPath(i, phases()[i].name); rt::isSameFile(path, input))
        return emitError(UnknownLoc::get(&context))
               << "the IR after phase " << phases()[i].name << " would take the place of \"" << input
               << "\"; give --dump-to another folder";
  std::error_code error;
  std::filesystem::create_directories(options.dumpTo, error);
  if (!std::filesystem::is_directory(options.dumpTo))
    return emitError(UnknownLoc::get(&context))
           << "--dump-to: \"" << options.dumpTo << "\" is no folder and cannot be made one";
  return success();
}

void CompileSession::dump(StringRef phase) {
  if (options.dumpTo.empty())
    return;
  std::error_code error;
  std::string path = dumpPath(done, phase);
  llvm::raw_fd_ostream file(path, error);
  if (error) {
    emitError(UnknownLoc::get(&context)) << "cannot write " << path << ": " << error.message();
    return;
  }
  current->print(file, OpPrintingFlags().enableDebugInfo());
}

LogicalResult CompileSession::load(const std::string &path) {
  OwningOpRef<ModuleOp> module;
  if (failed(timed("read", [&] {
        spec::ReadOptions how;
        if (!options.member.empty())
          how.members.push_back(options.member);
        how.inputs = &options.inputs;
        module = spec::readExperiment(&context, path, how);
        return success(static_cast<bool>(module));
      })))
    return failure();
  return load(path, std::move(module));
}

LogicalResult CompileSession::load(const std::string &path, OwningOpRef<ModuleOp> module) {
  specPath = path;
  source = std::move(module);
  target = createTarget(options.target);
  if (!target)
    return emitError(UnknownLoc::get(&context)) << unknownTarget(options.target);
  if (!options.like.empty() && !(like = createTarget(options.like)))
    return emitError(UnknownLoc::get(&context)) << unknownTarget(options.like);
  declared = spec::findExperiment(*source);
  if (!declared)
    return source->emitError("holds no exp.experiment");
  if (auto parallel = declared.section<exp::ParallelOp>(); parallel && options.oneRank) {
    parallel.setData(1);
    parallel.setExperts(1);
  }
  current = source->clone();
  return checkDumps();
}

LogicalResult CompileSession::runTo(StringRef name) {
  PhaseOptions phaseOptions{
      declared,          target.get(),  like ? like.get() : target.get(),
      options.reference, options.apart, {std::begin(rt::line_key::all), std::end(rt::line_key::all)}};
  for (; done < phases().size(); ++done) {
    const Phase &phase = phases()[done];
    LogicalResult result = timed(phase.name, [&] {
      PassManager pm(&context);
      phase.build(pm, phaseOptions);
      return pm.run(*current);
    });
    if (failed(result))
      return failure();
    dump(phase.name);
    if (phase.name == name) {
      ++done;
      break;
    }
  }
  return success();
}

ModuleOp CompileSession::kernels() { return current->lookupSymbol<ModuleOp>(kernelModuleName); }

LogicalResult CompileSession::lowerKernels() {
  PassManager pm(&context);
  target->buildKernelLowering(pm);
  return pm.run(kernels());
}

FailureOr<std::string> CompileSession::emitPtx(StringRef symbol) {
  if (target->kind() != "cuda")
    return emitError(UnknownLoc::get(&context)) << "target " << target->name() << " has no PTX; see --target";
  if (!symbol.empty()) {
    if (!SymbolTable::lookupSymbolIn(kernels(), symbol))
      return emitError(UnknownLoc::get(&context)) << "there is no kernel @" << symbol;
    for (auto function : llvm::make_early_inc_range(kernels().getOps<FunctionOpInterface>()))
      if (function.getName() != symbol)
        function->erase();
  }
  AssembleOptions code = options.code;
  code.form = CodeForm::Text;
  FailureOr<std::vector<CodeBlob>> blobs = target->assemble(kernels(), code);
  if (failed(blobs))
    return failure();
  std::string text;
  for (const CodeBlob &blob : *blobs)
    text.append(blob.bytes.begin(), blob.bytes.end());
  return text;
}

int64_t CompileSession::countKernels() { return llvm::range_size(current->getOps<plan::KernelOp>()); }

FailureOr<std::string> CompileSession::buildPlan() {
  if (failed(runTo(phases().back().name)))
    return failure();
  ManifestInputs inputs;
  inputs.experiment = declared;
  inputs.effectiveSpec = spec::effectiveSpec(declared);
  inputs.specFile = specPath;
  inputs.baseDir = std::filesystem::absolute(specPath).parent_path().lexically_normal().string();
  inputs.target = target.get();
  std::vector<CodeBlob> code;
  if (failed(timed("machine code", [&] {
        FailureOr<std::vector<CodeBlob>> blobs = target->assemble(kernels(), options.code);
        if (failed(blobs))
          return failure();
        code = std::move(*blobs);
        return success();
      })))
    return failure();
  inputs.code = code;
  FailureOr<rt::Json> manifest = buildManifest(*current, inputs);
  if (failed(manifest))
    return failure();
  std::vector<rt::PlanWriterBlob> blobs;
  for (const CodeBlob &blob : code)
    blobs.push_back({blob.name, std::string_view(blob.bytes.data(), blob.bytes.size())});
  rt::Result<std::string> file = rt::buildCheckedPlan(std::move(*manifest), blobs);
  if (!file.isOk())
    return emitError(UnknownLoc::get(&context)) << file.status().text();
  return std::move(*file);
}

LogicalResult CompileSession::writePlan(const std::string &path) {
  FailureOr<std::string> file = buildPlan();
  if (failed(file))
    return failure();
  if (rt::Status status = rt::writeFileAtomic(path, *file); !status.isOk())
    return emitError(UnknownLoc::get(&context)) << status.text();
  return success();
}

LogicalResult examineModel(ModuleOp experiment) {
  CompileSession session(*experiment.getContext(), {});
  return success(succeeded(session.load("", experiment.clone())) && succeeded(session.runTo("partition")));
}

} // namespace moec
