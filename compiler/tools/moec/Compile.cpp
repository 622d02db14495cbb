// moec compile
#include "compiler/Driver/CompileSession.h"
#include "compiler/Spec/Diagnostics.h"
#include "compiler/Target/All/Targets.h"
#include "compiler/tools/moec/RunVerbs.h"
#include "compiler/tools/moec/Subcommands.h"
#include "runtime/api/moec.h"
#include "runtime/base/File.h"
#include "runtime/base/Options.h"
#include "runtime/plan/PlanFormat.h"

#include <CLI/CLI.hpp>

#include <filesystem>
#include <map>

using namespace moec;
using namespace moec::tool;

namespace {
struct Options {
  std::string spec, output;
  CompileOptions compile;
};

/// A run keeps the plan with which it began: the plan of run folder D is D.moec.
rt::Status checkRunBeside(const std::string &output, const std::string &bytes) {
  std::filesystem::path folder = std::filesystem::path(output).replace_extension();
  if (!std::filesystem::exists(output) || !isPlan(output))
    return rt::Status::ok();
  MOEC_ASSIGN_OR_RETURN(rt::Plan plan, rt::loadPlanBytes(bytes, output, /*checkCpu=*/false));
  MOEC_ASSIGN_OR_RETURN(rt::RunState run, rt::lookAtRun(folder.string()));
  if (run.specHash.empty() || run.specHash == plan.specHash)
    return rt::Status::ok();
  return rt::Status::error("MOEC-R005", output, "this is the plan of the run in \"", folder.string(),
                           "\", which is of another spec; give -o another name");
}

int runCompile(const Options &options) {
  auto context = makeContext();
  DiagnosticPrinter printer(context.get(), llvm::errs());
  CompileSession session(*context, options.compile);
  std::string output = options.output;
  if (output.empty()) {
    const std::string &member = options.compile.member;
    output = std::filesystem::path(options.spec).stem().string() + (member.empty() ? "" : "." + member) + ".moec";
  }
  if (rt::Status fits = rt::checkOutput(output, "a plan", rt::kPlanMagic); !fits.isOk()) {
    llvm::errs() << "error: " << fits.text() << "\n";
    return kUsage;
  }
  if (failed(session.load(options.spec)))
    return kUserError;
  llvm::FailureOr<std::string> plan = session.buildPlan();
  if (failed(plan))
    return kUserError;
  if (rt::Status fits = checkRunBeside(output, *plan); !fits.isOk()) {
    llvm::errs() << "error: " << fits.text() << "\n";
    return kUsage;
  }
  if (rt::Status written = rt::writeFileAtomic(output, *plan); !written.isOk()) {
    llvm::errs() << "error: " << written.text() << "\n";
    return kUserError;
  }
  llvm::outs() << output << ": " << std::filesystem::file_size(output) << " bytes, " << session.countKernels()
               << " kernels for " << options.compile.target << "\n";
  return kOk;
}
} // namespace

/// A check of an option that takes the name of a target.
static std::string checkTarget(const std::string &name) { return createTarget(name) ? "" : unknownTarget(name); }

void moec::tool::addMemberOption(CLI::App &app, std::string &member) {
  app.add_option("--member", member, "Which member of a sweep (`moec check --explain` lists them)");
}

void moec::tool::addCompileOptions(CLI::App &app, CompileOptions &options) {
  app.add_option("--target", options.target, "Machine to compile for: " + targetNames())
      ->capture_default_str()
      ->check(checkTarget);
  app.add_option("--like", options.like,
                 "Give the plan the structure of this target (row alignment, grouping), to compare launch by launch")
      ->check(checkTarget);
  app.add_flag("--reference", options.reference, "Compute in f64 whatever the spec says");
  app.add_option("--compile-threads", options.threads, "Threads that emit kernels (default: all)")
      ->check(rt::threadCount());
  app.add_option("--dump-to", options.dumpTo, "Folder for the IR after each phase");
  app.add_flag("--timing", options.timing, "Print the seconds of each phase");
  AssembleOptions &code = options.code;
  app.add_flag("--strict-kernels", code.strictKernels, "GPU: a kernel that spills registers is an error");
  app.add_flag("--verbose-kernels", code.verbose, "GPU: print the registers of each kernel");
  app.add_flag("!--no-cache", code.useCache, "Compile every kernel anew (see MOEC_CACHE)");
}

Action moec::tool::addCompile(CLI::App &app) {
  auto options = std::make_shared<Options>();
  app.add_option("spec", options->spec, "A spec (.json), or an experiment in exp dialect (.mlir)")->required();
  app.add_option("-o,--output", options->output, "Plan file to write (default: the spec's name with .moec)");
  addMemberOption(app, options->compile.member);
  addCompileOptions(app, options->compile);
  const std::map<std::string, CodeForm> forms = {
      {"auto", CodeForm::Automatic}, {"ptx", CodeForm::Text}, {"cubin", CodeForm::Binary}};
  app.add_option("--emit", options->compile.code.form, "GPU: what the plan holds; auto: cubin if there is a ptxas")
      ->transform(CLI::CheckedTransformer(forms));
  return [options] { return runCompile(*options); };
}
