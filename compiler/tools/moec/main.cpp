// moec: the command line. Each subcommand is a file of this folder.
#include "compiler/tools/moec/Subcommands.h"

#include "compiler/tools/RegisterAll.h"
#include "mlir/IR/Dialect.h"
#include "runtime/api/moec.h"
#include "runtime/base/Options.h"

#include <CLI/CLI.hpp>

#include "llvm/Support/raw_ostream.h"

using namespace moec::tool;

namespace {
struct Subcommand {
  const char *name, *summary, *example;
  Action (*add)(CLI::App &app);
};

const Subcommand subcommands[] = {
    {"check", "Check a spec and say what it declares", "moec check specs/base/tiny.json --explain", addCheck},
    {"export", "Write a spec with every default, as JSON or as exp dialect",
     "moec export specs/base/tiny.json --to exp", addExport},
    {"explain", "Explain a field, a method or an error code", "moec explain model.moe.top_k", addExplain},
    {"compile", "Compile a spec into a plan file", "moec compile specs/base/tiny.json -o tiny.moec", addCompile},
    {"train", "Compile a spec and train it; a sweep member by member",
     "moec train specs/base/tiny.json --run-dir runs/tiny", addTrain},
    {"eval", "Print the validation loss of a trained run", "moec eval specs/base/tiny.json", addEval},
    {"generate", "Continue a prompt with a trained run", "moec generate specs/base/tiny.json --prompt \"The \"",
     addGenerate},
    {"report", "Draw runs or whole sweeps on one HTML page", "moec report runs/tiny -o report.html", addReport},
    {"run", "Run a plan file (train, eval, generate or describe)", "moec run tiny.moec train --resume", addRun},
    {"inspect", "Print the IR after a phase, or what is in a plan file",
     "moec inspect specs/base/tiny.json --to=dispatch", addInspect},
    {"plan", "Print the memory map: every buffer with offset, size and lifetime", "moec plan specs/base/tiny.json",
     addPlan},
    {"verify", "Compare every layout of ranks with one rank, number by number",
     "moec verify specs/base/tiny.json --layouts", addVerify},
};
} // namespace

std::vector<std::string> moec::tool::optionNames(const CLI::App &app) {
  std::vector<std::string> names;
  for (const CLI::Option *option : app.get_options())
    for (const std::string &name : option->get_lnames())
      names.push_back("--" + name);
  return names;
}

std::unique_ptr<mlir::MLIRContext> moec::tool::makeContext() {
  mlir::DialectRegistry registry;
  moec::registerAllDialects(registry);
  return std::make_unique<mlir::MLIRContext>(registry);
}

/// One line for arguments that are wrong.
static std::string describeError(const CLI::App *app, const CLI::Error &error) {
  std::vector<std::string> commands, names, rest = app->remaining(/*recurse=*/true);
  for (const Subcommand &subcommand : subcommands)
    commands.push_back(subcommand.name);
  for (const CLI::App *command : app->get_subcommands())
    for (const std::string &name : optionNames(*command))
      names.push_back(name);
  std::string text = error.what();
  bool isChosen = !app->get_subcommands().empty();
  if (!isChosen && rest.empty())
    text = "a command is required, as in moec check SPEC; moec --help lists them";
  else if (!isChosen && !rest.front().starts_with("-"))
    text = "there is no command \"" + rest.front() + "\"" + moec::rt::nearestWord(rest.front(), commands);
  else if (!isChosen || dynamic_cast<const CLI::ExtrasError *>(&error))
    text = moec::rt::describeUnknown(rest, isChosen ? names : optionNames(*app));
  return "error: " + text + "\n";
}

int main(int argc, char **argv) {
  moec::rt::openStandardStreams();
  CLI::App app("moec compiles a declared experiment - one JSON file - into a training program.\n"
               "Begin with: moec check specs/base/tiny.json",
               "moec");
  app.require_subcommand(1);
  app.failure_message(describeError);
  app.set_version_flag("--version", "moec 0.1.0");
  app.footer("Exit codes:\n"
             "  0 done                                    5 checkpoint missing or damaged (MOEC-C)\n"
             "  1 the input is wrong                      6 a loss, a gradient or the state is NaN\n"
             "  2 the command line is wrong, or a run     7 stopped by a signal; what there was is saved\n"
             "    folder is in the way                    8 a fault of moec itself\n"
             "  3 plan refused (MOEC-P)\n"
             "  4 data missing or unfit (MOEC-D)\n"
             "`moec COMMAND --help` shows the options of a command and an example; docs/cli.md has all of it.");
  std::vector<std::pair<CLI::App *, Action>> actions;
  for (const Subcommand &subcommand : subcommands) {
    CLI::App *sub = app.add_subcommand(subcommand.name, subcommand.summary);
    sub->footer(std::string("Example: ") + subcommand.example);
    actions.emplace_back(sub, subcommand.add(*sub));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  try {
    for (auto &[sub, action] : actions)
      if (sub->parsed()) {
        int code = action();
        // Lost output was already reported, or nobody reads it. LLVM would end the program because of it.
        llvm::errs().clear_error();
        if (code != kOk || sub->get_name() == "train")
          llvm::outs().clear_error();
        return code;
      }
  } catch (const std::exception &error) {
    std::cerr << "internal: " << error.what() << "\n";
    return kInternal;
  }
  return kUsage;
}
