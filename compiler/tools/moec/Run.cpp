// moec eval, generate: compile, then hand over to the runtime. moec run: hand over at once.
#include "compiler/Spec/Diagnostics.h"
#include "compiler/Spec/Spec.h"
#include "compiler/tools/moec/RunVerbs.h"
#include "compiler/tools/moec/Subcommands.h"
#include "runtime/api/moec.h"

#include <CLI/CLI.hpp>

#include <filesystem>

using namespace moec;
using namespace moec::tool;

bool moec::tool::isPlan(llvm::StringRef input) { return input.ends_with(".moec"); }

std::vector<std::string> moec::tool::argumentsFor(const std::string &plan, const std::string &verb,
                                                  const std::string &runDir, const std::vector<std::string> &rest) {
  std::vector<std::string> arguments{plan, verb};
  if (!runDir.empty()) {
    arguments.push_back("--run-dir");
    arguments.push_back(runDir);
  }
  arguments.insert(arguments.end(), rest.begin(), rest.end());
  return arguments;
}

void moec::tool::addRunOptions(CLI::App &app, const std::string &verb, std::string &input, std::string &runDir,
                               CompileOptions &compile) {
  app.add_option("spec", input, "A spec (.json), an experiment (.mlir), or a plan (.moec)")->required();
  app.add_option("-o,--run-dir", runDir, "Folder of the run (default: runs/<name>, of a member runs/<name>/<member>)");
  addCompileOptions(app, compile);
  app.allow_extras();
  app.footer("Options of the runtime, after the spec (`moec-run PLAN " + verb + "` takes them too):\n" +
             rt::commandLineOptions(verb) + "\n" + app.get_footer());
}

std::optional<int> moec::tool::checkArguments(const CLI::App &app, const std::string &verb, const std::string &input) {
  std::vector<std::string> rest = app.remaining();
  // `--threads 2 own.json` leaves "2" here: only options of the compiler may come first.
  rt::RunOptions ignored;
  if (isPlan(input) || std::filesystem::exists(input) || rest.empty())
    return rt::parseCommandLine(argumentsFor(input, verb, "", rest), ignored, optionNames(app));
  llvm::errs() << "error: there is no file \"" << input
               << "\"; the spec comes first, options of the runtime after it\n";
  return kUsage;
}

std::optional<std::string> moec::tool::compileInMemory(const std::string &spec, const CompileOptions &options) {
  auto context = makeContext();
  DiagnosticPrinter printer(context.get(), llvm::errs());
  CompileSession session(*context, options);
  if (failed(session.load(spec)))
    return std::nullopt;
  llvm::FailureOr<std::string> plan = session.buildPlan();
  return failed(plan) ? std::nullopt : std::optional(std::move(*plan));
}

namespace {
struct Options {
  std::string input, runDir;
  CompileOptions compile;
};

/// eval and generate leave the plan of the run as it is.
int compileAndLook(Options options, const std::string &verb, const std::vector<std::string> &rest) {
  if (options.runDir.empty() && !options.compile.member.empty()) {
    auto context = makeContext();
    DiagnosticPrinter printer(context.get(), llvm::errs());
    spec::ReadOptions how;
    how.members.push_back(options.compile.member);
    auto read = spec::readMembers(context.get(), options.input, how);
    if (!read)
      return kUserError;
    options.runDir = "runs/" + read->name + "/" + options.compile.member;
  }
  rt::RunOptions runOptions;
  if (std::optional<int> code =
          rt::parseCommandLine(argumentsFor(options.input, verb, options.runDir, rest), runOptions))
    return *code;
  options.compile.oneRank = true; // checkpoints hold all of every state
  std::optional<std::string> plan = compileInMemory(options.input, options.compile);
  if (!plan)
    return kUserError;
  rt::CompiledPlan compiled{std::move(*plan)};
  return rt::runCommandLine(argumentsFor(options.input, verb, options.runDir, rest), &compiled);
}

Action addLook(CLI::App &app, const std::string &verb) {
  auto options = std::make_shared<Options>();
  addRunOptions(app, verb, options->input, options->runDir, options->compile);
  addMemberOption(app, options->compile.member);
  return [options, verb, &app] {
    std::vector<std::string> rest = app.remaining();
    if (std::optional<int> code = checkArguments(app, verb, options->input))
      return *code;
    if (isPlan(options->input))
      return rt::runCommandLine(argumentsFor(options->input, verb, options->runDir, rest));
    return compileAndLook(*options, verb, rest);
  };
}
} // namespace

Action moec::tool::addEval(CLI::App &app) { return addLook(app, "eval"); }
Action moec::tool::addGenerate(CLI::App &app) { return addLook(app, "generate"); }

Action moec::tool::addRun(CLI::App &app) {
  app.prefix_command();
  app.footer("moec run PLAN train|eval|generate|describe [OPTIONS] is moec-run PLAN ...; `moec run PLAN train "
             "--help` lists\noptions.\n\n" +
             app.get_footer());
  return [&app] { return rt::runCommandLine(app.remaining()); };
}
