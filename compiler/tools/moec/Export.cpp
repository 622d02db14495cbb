// moec export
#include "compiler/Spec/Diagnostics.h"
#include "compiler/Spec/Spec.h"
#include "compiler/tools/moec/Subcommands.h"
#include "runtime/base/File.h"

#include <CLI/CLI.hpp>

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/ToolOutputFile.h"
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

static int runExport(const ExportOptions &options) {
  auto context = makeContext();
  DiagnosticPrinter printer(context.get(), llvm::errs());
  spec::ReadOptions how;
  if (!options.member.empty())
    how.members.push_back(options.member);
  auto module = spec::readExperiment(context.get(), options.path, how);
  if (!module)
    return kUserError;
  // Nobody knows where standard output goes; a spec of the current folder most likely stays there.
  namespace fs = std::filesystem;
  std::string from = fs::path(options.path).parent_path().string();
  std::string to = options.output == "-" ? std::string() : fs::absolute(options.output).parent_path().string();
  bool staysHere = options.output == "-" && (from.empty() || fs::equivalent(from, fs::current_path()));
  if (!staysHere)
    spec::moveExperiment(spec::findExperiment(*module), from, to);
  if (rt::isSameFile(options.output, options.path)) {
    llvm::errs() << "error: the output would overwrite its input \"" << options.path << "\"; give -o another name\n";
    return kUsage;
  }
  std::error_code error;
  llvm::ToolOutputFile file(options.output, error, llvm::sys::fs::OF_Text);
  if (error) {
    llvm::errs() << "error: cannot write \"" << options.output << "\": " << error.message() << "\n";
    return kUserError;
  }
  if (options.to == "json") {
    file.os() << spec::prettySpec(spec::findExperiment(*module));
  } else {
    mlir::OpPrintingFlags flags;
    flags.enableDebugInfo(options.locations);
    module->print(file.os(), flags);
    file.os() << "\n";
  }
  file.keep();
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
