// moec train, eval, generate: compile, then hand over to the runtime. moec run: hand over at once.
#include "compiler/Driver/CompileSession.h"
#include "compiler/Spec/Diagnostics.h"
#include "compiler/tools/moec/Subcommands.h"
#include "runtime/api/moec.h"

#include <CLI/CLI.hpp>

#include <filesystem>

using namespace moec;
using namespace moec::tool;

namespace {
struct Options {
  std::string input, runDir;
  CompileOptions compile;
};

constexpr char moreOptions[] =
    "Options of the runtime follow the spec as they are: --threads, --resume, --overwrite, --max-steps, --profile,\n"
    "--prompt, --bytes, ... `moec-run PLAN ";

int runWith(const Options &options, const std::string &verb, const std::vector<std::string> &rest) {
  std::string planPath = options.input;
  std::string runDir = options.runDir;
  if (!llvm::StringRef(options.input).ends_with(".moec")) {
    auto context = makeContext();
    DiagnosticPrinter printer(context.get(), llvm::errs());
    CompileSession session(*context, options.compile);
    if (failed(session.load(options.input)))
      return kUserError;
    if (runDir.empty())
      runDir = "runs/" + session.experiment().getSymName().str();
    // Beside the run folder, not inside: the runtime owns what is inside.
    planPath = std::filesystem::path(runDir).lexically_normal().string();
    while (planPath.size() > 1 && planPath.back() == '/')
      planPath.pop_back();
    planPath += ".moec";
    std::error_code error;
    std::filesystem::path parent = std::filesystem::path(planPath).parent_path();
    if (!parent.empty())
      std::filesystem::create_directories(parent, error);
    if (failed(session.writePlan(planPath)))
      return kUserError;
    llvm::errs() << "compiled " << options.input << " to " << planPath << "\n";
  }
  std::vector<std::string> arguments{planPath, verb};
  if (!runDir.empty()) {
    arguments.push_back("--run-dir");
    arguments.push_back(runDir);
  }
  arguments.insert(arguments.end(), rest.begin(), rest.end());
  return rt::runCommandLine(arguments);
}

Action addVerb(CLI::App &app, const std::string &verb) {
  auto options = std::make_shared<Options>();
  app.add_option("spec", options->input, "A spec (.json), an experiment (.mlir), or a plan (.moec)")->required();
  app.add_option("--run-dir", options->runDir, "Folder of the run (default: runs/<name>)");
  addCompileOptions(app, options->compile);
  app.allow_extras();
  app.footer(app.get_footer() + "\n" + moreOptions + verb + " --help` lists them.");
  return [options, verb, &app] { return runWith(*options, verb, app.remaining()); };
}
} // namespace

Action moec::tool::addTrain(CLI::App &app) { return addVerb(app, "train"); }
Action moec::tool::addEval(CLI::App &app) { return addVerb(app, "eval"); }
Action moec::tool::addGenerate(CLI::App &app) { return addVerb(app, "generate"); }

Action moec::tool::addRun(CLI::App &app) {
  app.prefix_command();
  return [&app] { return rt::runCommandLine(app.remaining()); };
}
