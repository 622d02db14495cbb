// moec train, eval, generate: compile, then hand over to the runtime. moec run: hand over at once.
#include "compiler/Driver/CompileSession.h"
#include "compiler/Spec/Diagnostics.h"
#include "compiler/tools/moec/Subcommands.h"
#include "compiler/tools/moec/TemporaryPlan.h"
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

bool isPlan(llvm::StringRef input) { return input.ends_with(".moec"); }

std::vector<std::string> argumentsFor(const std::string &plan, const std::string &verb, const std::string &runDir,
                                      const std::vector<std::string> &rest) {
  std::vector<std::string> arguments{plan, verb};
  if (!runDir.empty()) {
    arguments.push_back("--run-dir");
    arguments.push_back(runDir);
  }
  arguments.insert(arguments.end(), rest.begin(), rest.end());
  return arguments;
}

int compileAndTrain(const Options &options, const std::vector<std::string> &rest) {
  auto context = makeContext();
  DiagnosticPrinter printer(context.get(), llvm::errs());
  CompileSession session(*context, options.compile);
  if (failed(session.load(options.input)))
    return kUserError;
  std::string runDir = options.runDir;
  if (runDir.empty())
    runDir = "runs/" + session.experiment().getSymName().str();
  // The runtime checks all this again, but by then the plan of a run in the way would have been replaced.
  rt::RunOptions runOptions;
  if (std::optional<int> code = rt::parseCommandLine(argumentsFor(options.input, "train", runDir, rest), runOptions))
    return *code;
  if (rt::Status status = rt::checkRunFolder(runDir, runOptions); !status.isOk()) {
    llvm::errs() << "error: " << status.text() << "\n";
    return rt::exitCode(status);
  }
  // Beside the run folder, not inside: the runtime owns what is inside.
  std::string planPath = std::filesystem::path(runDir).lexically_normal().string();
  while (planPath.size() > 1 && planPath.back() == '/')
    planPath.pop_back();
  planPath += ".moec";
  std::error_code error;
  std::filesystem::path parent = std::filesystem::path(planPath).parent_path();
  if (!parent.empty())
    std::filesystem::create_directories(parent, error);
  // The run's plan is replaced only once it is known to be of the same spec.
  std::string newPath = planPath + ".new";
  if (failed(session.writePlan(newPath)))
    return kUserError;
  auto plan = rt::loadPlan(newPath);
  rt::Status fits = plan.isOk() ? rt::checkSameSpec(runDir, *plan, runOptions) : plan.status();
  if (!fits.isOk()) {
    std::filesystem::remove(newPath, error);
    llvm::errs() << "error: " << fits.text() << "\n";
    return rt::exitCode(fits);
  }
  std::filesystem::rename(newPath, planPath, error);
  if (error) {
    llvm::errs() << "error: cannot rename " << newPath << " to " << planPath << ": " << error.message() << "\n";
    return kUserError;
  }
  llvm::errs() << "compiled " << options.input << " to " << planPath << "\n";
  return rt::runCommandLine(argumentsFor(planPath, "train", runDir, rest));
}

/// eval and generate leave the plan of the run as it is.
int compileAndLook(const Options &options, const std::string &verb, const std::vector<std::string> &rest) {
  rt::RunOptions runOptions;
  if (std::optional<int> code =
          rt::parseCommandLine(argumentsFor(options.input, verb, options.runDir, rest), runOptions))
    return *code;
  TemporaryPlan plan(options.input, options.compile);
  if (plan.path().empty())
    return kUserError;
  return rt::runCommandLine(argumentsFor(plan.path(), verb, options.runDir, rest));
}

Action addVerb(CLI::App &app, const std::string &verb) {
  auto options = std::make_shared<Options>();
  app.add_option("spec", options->input, "A spec (.json), an experiment (.mlir), or a plan (.moec)")->required();
  app.add_option("--run-dir", options->runDir, "Folder of the run (default: runs/<name>)");
  addCompileOptions(app, options->compile);
  app.allow_extras();
  app.footer("Options of the runtime, after the spec (`moec-run PLAN " + verb + "` takes them too):\n" +
             rt::commandLineOptions(verb) + "\n" + app.get_footer());
  return [options, verb, &app] {
    std::vector<std::string> rest = app.remaining();
    if (isPlan(options->input))
      return rt::runCommandLine(argumentsFor(options->input, verb, options->runDir, rest));
    // `--threads 2 own.json` leaves "2" here: only options of the compiler may come first.
    if (!std::filesystem::exists(options->input) && !rest.empty()) {
      llvm::errs() << "error: there is no file \"" << options->input
                   << "\"; the spec comes first, options of the runtime after it\n";
      return static_cast<int>(kUsage);
    }
    return verb == "train" ? compileAndTrain(*options, rest) : compileAndLook(*options, verb, rest);
  };
}
} // namespace

Action moec::tool::addTrain(CLI::App &app) { return addVerb(app, "train"); }
Action moec::tool::addEval(CLI::App &app) { return addVerb(app, "eval"); }
Action moec::tool::addGenerate(CLI::App &app) { return addVerb(app, "generate"); }

Action moec::tool::addRun(CLI::App &app) {
  app.prefix_command();
  app.footer("moec run PLAN train|eval|generate|describe [OPTIONS] is moec-run PLAN ...; `moec run PLAN train "
             "--help` lists\noptions.\n\n" +
             app.get_footer());
  return [&app] { return rt::runCommandLine(app.remaining()); };
}
