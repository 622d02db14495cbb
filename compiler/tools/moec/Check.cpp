// moec check
#include "compiler/Spec/Diagnostics.h"
#include "compiler/Spec/Spec.h"
#include "compiler/tools/moec/Subcommands.h"

#include <CLI/CLI.hpp>

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

using namespace moec;
using namespace moec::tool;

namespace {
struct CheckOptions {
  std::string path;
  bool explain = false, json = false;
};
} // namespace

/// 1234567 -> "1.23 M".
static std::string shortNumber(int64_t value) {
  const char *units[] = {"", " k", " M", " G", " T"};
  double scaled = static_cast<double>(value);
  int unit = 0;
  while (scaled >= 1000 && unit < 4) {
    scaled /= 1000;
    ++unit;
  }
  if (unit == 0)
    return std::to_string(value);
  return llvm::formatv(scaled < 10 ? "{0:f2}{1}" : scaled < 100 ? "{0:f1}{1}" : "{0:f0}{1}", scaled, units[unit]).str();
}

static int runCheck(const CheckOptions &options) {
  auto context = makeContext();
  DiagnosticPrinter printer(context.get(), options.json ? llvm::outs() : llvm::errs(), options.json);
  auto module = spec::readExperiment(context.get(), options.path, {.checkPaths = true});
  if (!module)
    return kUserError;
  if (options.json)
    return kOk;
  exp::ExperimentOp experiment = spec::findExperiment(*module);
  spec::Summary sizes = spec::summarize(experiment);
  if (options.explain)
    llvm::outs() << spec::explainExperiment(experiment) << "\n";
  llvm::outs() << "ok: " << experiment.getSymName() << ": " << shortNumber(sizes.parameters) << " parameters, "
               << shortNumber(sizes.activeParameters) << " active per token; " << sizes.moeLayers << " MoE and "
               << sizes.denseLayers << " dense layers; " << sizes.steps << " steps of "
               << shortNumber(sizes.tokensPerStep) << " tokens = " << shortNumber(sizes.tokens) << " tokens\n";
  return kOk;
}

Action moec::tool::addCheck(CLI::App &app) {
  auto options = std::make_shared<CheckOptions>();
  app.add_option("spec", options->path, "A spec (.json), or an experiment in exp dialect (.mlir)")->required();
  app.add_flag("--explain", options->explain,
               "Also print every field: its value, where that comes from, what it means");
  app.add_flag("--json", options->json, "Print what is wrong as a JSON array");
  return [options] { return runCheck(*options); };
}
