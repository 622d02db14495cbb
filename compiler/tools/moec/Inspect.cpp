// moec inspect
#include "compiler/Driver/CompileSession.h"
#include "compiler/Spec/Diagnostics.h"
#include "compiler/tools/moec/Subcommands.h"
#include "runtime/api/moec.h"

#include <CLI/CLI.hpp>

#include "llvm/Support/FormatVariadic.h"

using namespace moec;
using namespace moec::tool;

namespace {
struct Options {
  std::string input, to = "place", symbol;
  bool listPhases = false, locations = false;
  CompileOptions compile;
};

/// Views that are not phases: parts of the module that the last phases make.
constexpr std::pair<const char *, const char *> views[] = {
    {"kernels", "the kernels alone, as scf/arith/vector over pointers"},
    {"llvm", "the kernels in the llvm dialect, as they go to LLVM"},
    {"ptx", "the kernels as PTX (GPU targets)"},
};

void listPhases() {
  for (const Phase &phase : phases())
    llvm::outs() << llvm::formatv("{0,-10}{1,-34}{2}\n", phase.name, (phase.from + " -> " + phase.to).str(),
                                  phase.summary);
  for (auto [name, summary] : views)
    llvm::outs() << llvm::formatv("{0,-10}{1,-34}{2}\n", name, "plan", summary);
}

int describePlan(const std::string &path) {
  auto plan = rt::loadPlan(path, /*checkCpu=*/false);
  if (!plan.isOk()) {
    llvm::errs() << "error: " << plan.status().text() << "\n";
    return rt::exitCode(plan.status());
  }
  llvm::outs() << rt::describe(*plan);
  return kOk;
}

int runInspect(const Options &options) {
  if (options.listPhases) {
    listPhases();
    return kOk;
  }
  if (llvm::StringRef(options.input).ends_with(".moec")) {
    if (options.to != Options().to || !options.symbol.empty()) {
      llvm::errs() << "error: a plan holds no IR: --to and --symbol want the spec; " << options.input
                   << " alone prints what is in the plan\n";
      return kUsage;
    }
    return describePlan(options.input);
  }
  bool isView = llvm::any_of(views, [&](auto view) { return options.to == view.first; });
  if (!isView && !findPhase(options.to)) {
    llvm::errs() << "error: no phase \"" << options.to << "\"; there are:\n";
    listPhases();
    return kUsage;
  }
  auto context = makeContext();
  DiagnosticPrinter printer(context.get(), llvm::errs());
  CompileSession session(*context, options.compile);
  if (failed(session.load(options.input)) ||
      failed(session.runTo(isView ? llvm::StringRef(phases().back().name) : llvm::StringRef(options.to))))
    return kUserError;
  if (options.to == "ptx") {
    auto text = session.emitPtx(options.symbol);
    if (failed(text))
      return kUserError;
    llvm::outs() << *text;
    return kOk;
  }
  mlir::Operation *shown = isView ? session.kernels().getOperation() : session.module().getOperation();
  if (options.to == "llvm" && failed(session.lowerKernels()))
    return kInternal;
  if (!options.symbol.empty()) {
    shown = mlir::SymbolTable::lookupSymbolIn(shown, options.symbol);
    if (!shown) {
      llvm::errs() << "error: the " << options.to << " phase has no @" << options.symbol << "\n";
      return kUserError;
    }
  }
  mlir::OpPrintingFlags flags;
  flags.enableDebugInfo(options.locations, /*prettyForm=*/true);
  shown->print(llvm::outs(), flags);
  llvm::outs() << "\n";
  return kOk;
}
} // namespace

Action moec::tool::addInspect(CLI::App &app) {
  auto options = std::make_shared<Options>();
  auto *input = app.add_option("input", options->input, "A spec (.json), an experiment (.mlir), or a plan (.moec)");
  auto *list = app.add_flag("--list-phases", options->listPhases, "List the phases");
  app.add_option("--to", options->to, "Phase to stop after (see --list-phases)")->capture_default_str();
  app.add_option("--symbol,--kernel", options->symbol, "Print only this function, state or kernel");
  app.add_flag("--locations", options->locations, "Print the place in the spec that each op came from");
  addMemberOption(app, options->compile.member);
  addCompileOptions(app, options->compile);
  return [options, input, list] {
    if (input->count() == 0 && list->count() == 0) {
      llvm::errs() << "error: a spec or plan is required; see moec inspect --help\n";
      return static_cast<int>(kUsage);
    }
    return runInspect(*options);
  };
}
