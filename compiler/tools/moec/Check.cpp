// moec check
#include "compiler/Driver/CompileSession.h"
#include "compiler/Driver/IdleKeys.h"
#include "compiler/Model/ModelBuilder.h"
#include "compiler/Model/Parameters.h"
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
  std::string path, member;
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

/// "255 k", or "255 k to 1.2 M".
static std::string range(std::pair<int64_t, int64_t> bounds) {
  std::string low = shortNumber(bounds.first), high = shortNumber(bounds.second);
  return low == high ? low : low + " to " + high;
}

static std::string sizesText(exp::ExperimentOp experiment) {
  spec::Summary sizes = spec::summarize(experiment);
  ParameterCounts parameters = countParameters(experiment);
  return llvm::formatv("{0} parameters, {1} active per token; {2} MoE and {3} dense layers; {4} steps of {5} tokens = "
                       "{6} tokens",
                       shortNumber(parameters.total), shortNumber(parameters.active), sizes.moeLayers,
                       sizes.denseLayers, sizes.steps, shortNumber(sizes.tokensPerStep), shortNumber(sizes.tokens));
}

static void printSweep(const spec::SpecMembers &spec, bool explain) {
  std::pair<int64_t, int64_t> parameters = {INT64_MAX, 0};
  int64_t tokens = 0;
  for (const spec::SpecMember &member : spec.members) {
    exp::ExperimentOp experiment = spec::findExperiment(*member.module);
    int64_t total = countParameters(experiment).total;
    parameters = {std::min(parameters.first, total), std::max(parameters.second, total)};
    tokens += spec::summarize(experiment).tokens;
    if (explain)
      llvm::outs() << member.member << "\n  " << member.settings << "\n  " << sizesText(experiment) << "\n\n";
  }
  llvm::outs() << "ok: " << spec.name << ": " << spec.members.size()
               << (spec.members.size() == 1 ? " member" : " members") << " of the sweep " << spec.axes << "; "
               << range(parameters) << " parameters; " << shortNumber(tokens) << " tokens in all\n";
}

static int runCheck(const CheckOptions &options) {
  auto context = makeContext();
  DiagnosticPrinter printer(context.get(), options.json ? llvm::outs() : llvm::errs(), options.json);
  spec::ReadOptions how{.checkPaths = true, .members = {}, .examine = makeExaminer()};
  if (!options.member.empty())
    how.members.push_back(options.member);
  auto read = spec::readMembers(context.get(), options.path, how);
  if (!read)
    return kUserError;
  if (options.json)
    return kOk;
  if (!read->axes.empty() && options.member.empty()) {
    printSweep(*read, options.explain);
    return kOk;
  }
  exp::ExperimentOp experiment = spec::findExperiment(*read->members.front().module);
  if (options.explain)
    llvm::outs() << spec::explainExperiment(experiment) << "\n";
  llvm::outs() << "ok: " << experiment.getSymName() << ": " << sizesText(experiment) << "\n";
  for (const std::string &text : describeFuture(experiment))
    llvm::outs() << "sees later tokens: " << text << "\n";
  return kOk;
}

Action moec::tool::addCheck(CLI::App &app) {
  auto options = std::make_shared<CheckOptions>();
  app.add_option("spec", options->path, "A spec (.json), or an experiment in exp dialect (.mlir)")->required();
  app.add_flag("--explain", options->explain,
               "Also print every field: its value, its origin and its meaning; for a sweep, its members");
  addMemberOption(app, options->member);
  app.add_flag("--json", options->json, "Print errors and warnings as a JSON array");
  return [options] { return runCheck(*options); };
}
