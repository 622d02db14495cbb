// moec verify: the same experiment under every layout of ranks, compared number by number.
#include "compiler/Driver/CompileSession.h"
#include "compiler/Spec/Diagnostics.h"
#include "compiler/Spec/Spec.h"
#include "compiler/tools/moec/RunVerbs.h"
#include "compiler/tools/moec/Subcommands.h"
#include "runtime/api/Snapshot.h"
#include "runtime/base/Options.h"
#include "runtime/base/Text.h"

#include <CLI/CLI.hpp>

#include <numeric>

using namespace moec;
using namespace moec::tool;

namespace {

/// What two orders of the same additions may differ by in f64, relative to the largest element of a tensor.
constexpr double kTolerance = 1e-12;

/// The compiler refused a layout, and has said why.
constexpr char kRefused[] = "refused";

struct Options {
  std::string input;
  CompileOptions compile;
  int64_t ranks = 8, steps = 2;
  bool layouts = false, json = false;
};

/// One way to divide a step.
struct Layout {
  int64_t micro = 1; // sequences of a micro-batch
  int64_t data = 1, experts = 1, zero = 0;

  int64_t ranks() const { return data * experts; }
  std::string text() const {
    std::string text = "micro " + std::to_string(micro);
    if (data > 1)
      text += ", data " + std::to_string(data);
    if (experts > 1)
      text += ", experts " + std::to_string(experts);
    return text + (zero ? ", zero 1" : "");
  }
};

class Certificate {
public:
  Certificate(mlir::MLIRContext &context, const Options &options, mlir::OwningOpRef<mlir::ModuleOp> module)
      : context(context), options(options), module(std::move(module)) {}

  int run() {
    exp::ExperimentOp experiment = spec::findExperiment(*module);
    bool isOrdered = experiment.section<exp::PrecisionOp>().getReduce() == exp::SumOrder::ordered;
    // All orders agree in f64. In the numbers of the spec, an order that layouts share gives the same bytes.
    if (int code = compareAll(/*reference=*/true))
      return code;
    if (isOrdered)
      if (int code = compareAll(/*reference=*/false))
        return code;
    return finish(isOrdered);
  }

private:
  int compareAll(bool reference) {
    for (int64_t micro : microSizes()) {
      rt::Result<rt::Snapshot> alone = snapshot({micro}, reference);
      if (!alone.isOk())
        return fail(alone.status(), {micro});
      for (const Layout &layout : layoutsOf(micro)) {
        rt::Result<rt::Snapshot> divided = snapshot(layout, reference);
        if (!divided.isOk() && divided.status().code() == kRefused) {
          refuse(layout, reference);
          continue;
        }
        if (!divided.isOk())
          return fail(divided.status(), layout);
        compare(layout, reference, *alone, *divided);
      }
    }
    return kOk;
  }

  int64_t sequences() { return spec::findExperiment(*module).section<exp::BatchOp>().getSequences(); }

  /// The spec's own, and with --layouts every other that divides the batch.
  std::vector<int64_t> microSizes() {
    int64_t own = spec::findExperiment(*module).section<exp::BatchOp>().getMicroSequences();
    std::vector<int64_t> sizes;
    for (int64_t micro = 1; micro <= sequences(); ++micro)
      if (micro == own || (options.layouts && sequences() % micro == 0))
        sizes.push_back(micro);
    return sizes;
  }

  std::vector<Layout> layoutsOf(int64_t micro) {
    std::vector<Layout> layouts;
    int64_t microBatches = sequences() / micro;
    auto moe = spec::findExperiment(*module).section<exp::MoeOp>();
    int64_t numExperts = moe ? moe.getNumExperts() : 1;
    auto divides = [](int64_t part, int64_t whole) { return whole % part == 0; };
    for (int64_t data = 1; data <= std::min(options.ranks, microBatches); ++data)
      for (int64_t experts = 1; data * experts <= options.ranks; ++experts)
        for (int64_t zero : {0, 1})
          if (data * experts > 1 && divides(data, microBatches) && divides(experts, micro) &&
              divides(experts, numExperts))
            layouts.push_back({micro, data, experts, zero});
    return layouts;
  }

  /// Compiles the experiment for the layout and runs a few steps.
  rt::Result<rt::Snapshot> snapshot(const Layout &layout, bool reference) {
    mlir::OwningOpRef<mlir::ModuleOp> copy = module->clone();
    exp::ExperimentOp experiment = spec::findExperiment(*copy);
    experiment.section<exp::BatchOp>().setMicroSequences(layout.micro);
    auto parallel = experiment.section<exp::ParallelOp>();
    if (!parallel) {
      mlir::OpBuilder b = mlir::OpBuilder::atBlockEnd(&experiment.getBody().front());
      parallel = exp::ParallelOp::create(b, experiment.getLoc());
    }
    parallel.setData(layout.data);
    parallel.setExperts(layout.experts);
    parallel.setZero(layout.zero);
    CompileOptions compile = options.compile;
    compile.reference = reference;
    CompileSession session(context, compile);
    mlir::FailureOr<std::string> bytes = mlir::failure();
    if (mlir::succeeded(session.load(options.input, std::move(copy))))
      bytes = session.buildPlan();
    if (mlir::failed(bytes)) // it has been reported
      return rt::Status::error(kRefused, options.input, "could not be compiled for this layout");
    MOEC_ASSIGN_OR_RETURN(rt::Plan plan, rt::loadPlanBytes(*bytes, options.input));
    rt::RunOptions run;
    run.out = nullptr;
    run.threads = 1;
    return rt::takeSnapshot(plan, run, options.steps);
  }

  void compare(const Layout &layout, bool reference, const rt::Snapshot &alone, const rt::Snapshot &divided) {
    double worst = 0;
    std::string where = "-";
    bool isWhole = alone.tensors.size() == divided.tensors.size();
    for (size_t i = 0; isWhole && i < alone.tensors.size(); ++i) {
      const rt::Snapshot::Tensor &a = alone.tensors[i], &b = divided.tensors[i];
      double difference = a.name == b.name ? rt::differenceOf(a, b) : std::numeric_limits<double>::infinity();
      if (difference > worst) {
        worst = difference;
        where = a.name;
      }
    }
    // A rank that makes 2^k micro-batches holds a whole part of the tree.
    int64_t own = sequences() / layout.micro / layout.data;
    bool wantsBytes = !reference && (own & (own - 1)) == 0 && layout.experts == 1;
    bool isEqual = isWhole && (wantsBytes || reference ? worst <= (reference ? kTolerance : 0) : true);
    bool isCounted = divided.sentBytes - divided.sentRowBytes == divided.plannedBytes &&
                     divided.allocatedBytes == divided.announcedBytes;
    bool isOk = isEqual && isCounted;
    ++(isOk ? numGood : numBad);
    table.row({layout.text(), reference ? "f64" : "spec's", number(worst), where, std::to_string(divided.sentBytes),
               rt::formatBytes(divided.allocatedBytes),
               isOk        ? (wantsBytes  ? "same bytes"
                              : reference ? "ok"
                                          : "not promised")
               : isCounted ? "DIFFERS"
                           : "MISCOUNTED"});
    if (!options.json)
      return;
    rt::Json line = lineOf(layout, reference);
    line.set("difference", rt::Json::number(worst));
    line.set("tensor", rt::Json::string(where));
    line.set("tensors", rt::Json::integer(static_cast<int64_t>(divided.tensors.size())));
    line.set("sent_bytes", rt::Json::integer(static_cast<int64_t>(divided.sentBytes)));
    line.set("sent_row_bytes", rt::Json::integer(static_cast<int64_t>(divided.sentRowBytes)));
    line.set("planned_bytes", rt::Json::integer(static_cast<int64_t>(divided.plannedBytes)));
    line.set("allocated_bytes", rt::Json::integer(static_cast<int64_t>(divided.allocatedBytes)));
    line.set("ok", rt::Json::boolean(isOk));
    llvm::outs() << line.dump() << "\n";
  }

  /// A part of the experiment may not be dividable in this way; such a layout cannot train wrong numbers.
  void refuse(const Layout &layout, bool reference) {
    ++numRefused;
    table.row({layout.text(), reference ? "f64" : "spec's", "", "", "", "", "refused"});
    if (!options.json)
      return;
    rt::Json line = lineOf(layout, reference);
    line.set("refused", rt::Json::boolean(true));
    llvm::outs() << line.dump() << "\n";
  }

  static rt::Json lineOf(const Layout &layout, bool reference) {
    rt::Json line = rt::Json::object();
    line.set("micro_sequences", rt::Json::integer(layout.micro));
    line.set("data", rt::Json::integer(layout.data));
    line.set("experts", rt::Json::integer(layout.experts));
    line.set("zero", rt::Json::integer(layout.zero));
    line.set("reference", rt::Json::boolean(reference));
    return line;
  }

  static std::string number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, value == 0 ? "0" : "%.1e", value);
    return text;
  }

  int fail(const rt::Status &status, const Layout &layout) {
    llvm::errs() << "error: " << layout.text() << ": " << status.text() << "\n";
    return status.code() == kRefused ? static_cast<int>(kUserError) : rt::exitCode(status);
  }

  int finish(bool isOrdered) {
    bool isEmpty = numGood + numBad == 0;
    if (!options.json) {
      llvm::outs() << table.text() << "\n";
      llvm::outs() << numGood + numBad << " comparisons with one rank, " << options.steps
                   << " steps each: metrics, parameters, optimizer and balance state. ";
      llvm::outs() << (numBad    ? std::to_string(numBad) + " FAILED\n"
                       : isEmpty ? "Nothing was compared\n"
                                 : "All hold\n");
      if (numRefused)
        llvm::outs() << numRefused << " layouts were refused, for the reasons above\n";
      if (!isOrdered)
        llvm::outs() << "precision.reduce is \"fast\": bytes are not promised; \"ordered\" compares them too\n";
    }
    return numBad || isEmpty ? kUserError : kOk;
  }

  mlir::MLIRContext &context;
  const Options &options;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  rt::TextTable table{{"layout", "numbers", "difference", "where", "sent per step", "memory of a rank", "result"},
                      "0010110"};
  int64_t numGood = 0, numBad = 0, numRefused = 0;
};

} // namespace

Action moec::tool::addVerify(CLI::App &app) {
  auto options = std::make_shared<Options>();
  app.add_option("input", options->input, "A spec (.json) or an experiment (.mlir)")->required();
  app.add_flag("--layouts", options->layouts, "Also with every other size of micro-batches that divides the batch");
  app.add_option("--ranks", options->ranks, "The most ranks of a layout")
      ->check(CLI::Range(2, 64))
      ->capture_default_str();
  app.add_option("--steps", options->steps, "Training steps to compare")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--json", options->json, "One line of JSON per comparison");
  addMemberOption(app, options->compile.member);
  addCompileOptions(app, options->compile);
  return [options] {
    auto context = makeContext();
    DiagnosticPrinter printer(context.get(), llvm::errs());
    spec::ReadOptions how;
    if (!options->compile.member.empty())
      how.members.push_back(options->compile.member);
    mlir::OwningOpRef<mlir::ModuleOp> module = spec::readExperiment(context.get(), options->input, how);
    if (!module)
      return static_cast<int>(kUserError);
    return Certificate(*context, *options, std::move(module)).run();
  };
}
