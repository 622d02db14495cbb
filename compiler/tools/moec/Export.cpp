// moec export
#include "compiler/Spec/Diagnostics.h"
#include "compiler/Spec/Spec.h"
#include "compiler/tools/moec/Subcommands.h"
#include "runtime/base/File.h"
#include "runtime/plan/PlanFormat.h"

#include <CLI/CLI.hpp>

#include "llvm/Support/raw_ostream.h"

#include <filesystem>

using namespace moec;
using namespace moec::tool;

namespace {
struct ExportOptions {
  std::string path, member, to, output = "-";
  bool locations = false;
};
} // namespace

static bool isFilled(const std::string &path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error) && std::filesystem::file_size(path, error) > 0;
}

static int runExport(const ExportOptions &options) {
  auto context = makeContext();
  DiagnosticPrinter printer(context.get(), llvm::errs());
  spec::ReadOptions how;
  std::vector<std::string> inputs;
  how.inputs = &inputs;
  if (!options.member.empty())
    how.members.push_back(options.member);
  auto module = spec::readExperiment(context.get(), options.path, how);
  if (!module)
    return kUserError;
  // The destination of standard output is unknown; a spec of the current folder most likely stays there.
  namespace fs = std::filesystem;
  std::string from = fs::path(options.path).parent_path().string();
  std::string to = options.output == "-" ? std::string() : fs::absolute(options.output).parent_path().string();
  bool staysHere = options.output == "-" && (from.empty() || fs::equivalent(from, fs::current_path()));
  if (!staysHere)
    spec::moveExperiment(spec::findExperiment(*module), from, to);
  std::string text;
  llvm::raw_string_ostream stream(text);
  if (options.to == "json") {
    stream << spec::prettySpec(spec::findExperiment(*module));
  } else {
    mlir::OpPrintingFlags flags;
    flags.enableDebugInfo(options.locations);
    module->print(stream, flags);
    stream << "\n";
  }
  if (options.output == "-") {
    llvm::outs() << text;
    return kOk;
  }
  for (const std::string &input : inputs)
    if (rt::isSameFile(options.output, input)) {
      llvm::errs() << "error: the output would overwrite its input \"" << input << "\"; give -o another name\n";
      return kUsage;
    }
  // Among other files, only a plan is known not to be a spec.
  if (rt::checkOutput(options.output, "a plan", rt::kPlanMagic).isOk() && isFilled(options.output)) {
    llvm::errs() << "error: \"" << options.output << "\" is a plan; give -o another name\n";
    return kUsage;
  }
  if (rt::Status written = rt::writeFileAtomic(options.output, text); !written.isOk()) {
    llvm::errs() << "error: " << written.text() << "\n";
    return kUserError;
  }
  return kOk;
}

Action moec::tool::addExport(CLI::App &app) {
  auto options = std::make_shared<ExportOptions>();
  app.add_option("spec", options->path, "A spec (.json), or an experiment in exp dialect (.mlir)")->required();
  app.add_option("--to", options->to, "json, or exp (dialect text)")->required()->check(CLI::IsMember({"json", "exp"}));
  app.add_option("-o,--output", options->output,
                 "File to write, with paths that are right from its folder; standard output when not given");
  addMemberOption(app, options->member);
  app.add_flag("--locations", options->locations, "With --to exp: print the place of every field");
  return [options] { return runExport(*options); };
}
