// moec compile
#include "compiler/Driver/CompileSession.h"
#include "compiler/Spec/Diagnostics.h"
#include "compiler/Target/All/Targets.h"
#include "compiler/tools/moec/Subcommands.h"
#include "runtime/base/File.h"
#include "runtime/base/Options.h"

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

int runCompile(const Options &options) {
  auto context = makeContext();
  DiagnosticPrinter printer(context.get(), llvm::errs());
  CompileSession session(*context, options.compile);
  std::string output = options.output;
  if (output.empty()) {
    const std::string &member = options.compile.member;
    output = std::filesystem::path(options.spec).stem().string() + (member.empty() ? "" : "." + member) + ".moec";
  }
  if (rt::isSameFile(output, options.spec)) {
    llvm::errs() << "error: the plan would overwrite the spec \"" << options.spec << "\"; give -o another name\n";
    return kUsage;
  }
  if (failed(session.load(options.spec)) || failed(session.writePlan(output)))
    return kUserError;
  llvm::outs() << output << ": " << std::filesystem::file_size(output) << " bytes, " << session.countKernels()
               << " kernels for " << options.compile.target << "\n";
  return kOk;
}
} // namespace

void moec::tool::addMemberOption(CLI::App &app, std::string &member) {
  app.add_option("--member", member, "Which member of a sweep (`moec check --explain` lists them)");
}

void moec::tool::addCompileOptions(CLI::App &app, CompileOptions &options) {
  app.add_option("--target", options.target, "Machine to compile for: " + targetNames())->capture_default_str();
  app.add_option(
      "--like", options.like,
      "Target whose structure the plan takes over (row alignment, grouping), for launch by launch comparison");
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
