// moec train: trains a spec, or the members of a sweep one after another. Finished members are not trained again.
#include "compiler/Driver/CompileSession.h"
#include "compiler/Driver/IdleKeys.h"
#include "compiler/Spec/Diagnostics.h"
#include "compiler/Spec/Spec.h"
#include "compiler/tools/moec/RunVerbs.h"
#include "compiler/tools/moec/Subcommands.h"
#include "compiler/tools/moec/report/RunLog.h"
#include "runtime/api/moec.h"
#include "runtime/base/File.h"
#include "runtime/base/JsonDifference.h"
#include "runtime/base/Text.h"
#include "runtime/plan/PlanFormat.h"
#include "runtime/plan/PlanWriter.h"

#include <CLI/CLI.hpp>

#include <filesystem>

using namespace moec;
using namespace moec::tool;

namespace {
struct Options {
  std::string input, runDir;
  std::vector<std::string> members;
  bool keepGoing = false;
  CompileOptions compile;
};

int fail(const rt::Status &status) {
  llvm::errs() << "error: " << status.text() << "\n";
  return rt::exitCode(status);
}

/// The plan is beside the run folder, not inside, because the runtime owns the folder.
std::string planPathFor(const std::string &runDir) {
  std::string path = std::filesystem::path(runDir).lexically_normal().string();
  while (path.size() > 1 && path.back() == '/')
    path.pop_back();
  return path + ".moec";
}

/// Compiles one experiment and trains it in `runDir`; `rest` are options of the runtime. The plan stays in memory until
/// the runtime knows that the run can begin; until then, an old run keeps its plan.
int trainOne(mlir::MLIRContext &context, const Options &options, mlir::OwningOpRef<mlir::ModuleOp> module,
             const std::string &runDir, const std::vector<std::string> &rest, bool beginAgain = false) {
  // The runtime checks all this again; checking here avoids a compilation in vain.
  rt::RunOptions runOptions;
  if (std::optional<int> code = rt::parseCommandLine(argumentsFor(options.input, "train", runDir, rest), runOptions))
    return *code;
  runOptions.beginAgain = beginAgain;
  if (rt::Status status = rt::checkRunFolder(runDir, runOptions); !status.isOk())
    return fail(status);
  std::string planPath = planPathFor(runDir);
  if (std::filesystem::exists(planPath))
    if (rt::Status fits = rt::checkOutput(planPath, "a plan", rt::kPlanMagic); !fits.isOk())
      return fail(fits);
  CompileSession session(context, options.compile);
  if (failed(session.load(options.input, std::move(module))))
    return kUserError;
  llvm::FailureOr<std::string> bytes = session.buildPlan();
  if (failed(bytes))
    return kUserError;
  rt::CompiledPlan compiled{std::move(*bytes), beginAgain};
  auto plan = rt::loadPlanBytes(compiled.bytes, planPath);
  rt::Status fits = plan.isOk() ? rt::checkSameSpec(runDir, *plan, runOptions) : plan.status();
  if (!fits.isOk())
    return fail(fits);
  return rt::runCommandLine(argumentsFor(planPath, "train", runDir, rest), &compiled);
}

//===--- Sweeps ---===//

/// The members of a sweep, their run folders, and how far each has come.
class SweepTraining {
public:
  SweepTraining(mlir::MLIRContext &context, const Options &options, spec::SpecMembers spec,
                std::vector<std::string> rest)
      : context(context), options(options), spec(std::move(spec)), rest(std::move(rest)) {
    folder = options.runDir.empty() ? "runs/" + this->spec.name : options.runDir;
  }

  int run() {
    if (std::optional<int> code = rt::parseCommandLine(argumentsFor(options.input, "train", folder, rest), runOptions))
      return *code;
    if (!runOptions.resumeFrom.empty()) {
      llvm::errs() << "error: --resume-from is a checkpoint of one run, this is a sweep; a sweep goes on by itself\n";
      return kUsage;
    }
    if (int code = lookAtMembers())
      return code;
    announce();
    int result = trainMembers();
    printResults();
    return result;
  }

private:
  enum class State { New, Started, Done, Trained, Failed, Interrupted };
  struct Run {
    spec::SpecMember *member;
    std::string folder;
    int64_t steps = 0;
    State state = State::New;
    int64_t step = -1; // of the newest checkpoint
    int code = 0;
  };

  /// Finds all obstacles before anything is trained.
  int lookAtMembers() {
    int result = 0;
    for (spec::SpecMember &member : spec.members) {
      exp::ExperimentOp experiment = spec::findExperiment(*member.module);
      Run run{&member, folder + "/" + member.member, spec::summarize(experiment).steps};
      std::string effective = spec::effectiveSpec(experiment);
      auto hash = rt::specHash(effective);
      auto found = rt::lookAtRun(run.folder);
      if (!hash.isOk() || !found.isOk())
        return fail(hash.isOk() ? found.status() : hash.status());
      bool other = !found->specHash.empty() && found->specHash != *hash && !runOptions.allowOtherSpec;
      if (!runOptions.overwrite && other)
        result = explainOther(run, found->spec, effective);
      setState(run, *found);
      runs.push_back(std::move(run));
    }
    return result;
  }

  void setState(Run &run, const rt::RunState &found) const {
    if (runOptions.overwrite || !found.holdsRun)
      return;
    run.step = found.step;
    run.state = found.step >= run.steps ? State::Done : State::Started;
  }

  int explainOther(const Run &run, const std::string &before, const std::string &now) {
    llvm::errs() << "error: MOEC-C005: " << run.folder
                 << ": this run is of another spec than the member is now:" << rt::describeDifference(before, now)
                 << "\n";
    llvm::errs() << "  undo the change, train it anew with --overwrite --member " << run.member->member
                 << ", or choose another folder with --run-dir\n";
    return rt::kExitCheckpoint;
  }

  void announce() {
    if (runOptions.json)
      return;
    auto count = [&](State state) { return llvm::count_if(runs, [&](const Run &run) { return run.state == state; }); };
    llvm::outs() << spec.name << ": " << runs.size() << (runs.size() == 1 ? " member" : " members") << " of the sweep "
                 << spec.axes << " into " << folder << "; " << count(State::Done) << " done, " << count(State::Started)
                 << " to go on with, " << count(State::New) << " new\n";
  }

  int trainMembers() {
    int result = kOk;
    for (size_t i = 0; i < runs.size(); ++i) {
      Run &run = runs[i];
      // Look again: another process may be training the same sweep.
      if (auto found = rt::lookAtRun(run.folder); found.isOk())
        setState(run, *found);
      if (run.state == State::Done)
        continue;
      if (!runOptions.json)
        llvm::outs() << "\n[" << i + 1 << "/" << runs.size() << "] " << run.member->member << ": "
                     << run.member->settings << "\n";
      llvm::outs().flush();
      run.code =
          trainOne(context, options, std::move(run.member->module), run.folder, argumentsOf(run), beginsAgain(run));
      std::fflush(stdout); // the runtime's; ours go past it
      if (run.code == rt::kExitInterrupted) {
        run.state = State::Interrupted;
        return run.code;
      }
      run.state = run.code != 0 ? State::Failed : reachedEnd(run) ? State::Trained : State::Started;
      if (run.code != 0 && result == kOk)
        result = run.code;
      if (run.code != 0 && (!options.keepGoing || rt::stopRequested()))
        break;
    }
    return result;
  }

  /// --max-steps ends a run before its end.
  static bool reachedEnd(const Run &run) {
    auto found = rt::lookAtRun(run.folder);
    return found.isOk() && found->step >= run.steps;
  }

  /// A run without a checkpoint starts again; its metrics are kept.
  bool beginsAgain(const Run &run) const {
    return !runOptions.overwrite && run.state == State::Started && run.step < 0;
  }

  std::vector<std::string> argumentsOf(const Run &run) const {
    bool resumes = !runOptions.overwrite && run.state == State::Started && run.step >= 0;
    std::vector<std::string> arguments;
    for (const std::string &word : rest) // options that need --resume are passed only with it
      if (word != "--resume" && (resumes || (word != "--allow-other-spec" && word != "--restart-data")))
        arguments.push_back(word);
    if (resumes)
      arguments.push_back("--resume");
    return arguments;
  }

  static std::string wordFor(const Run &run) {
    switch (run.state) {
    case State::New:
      return "not trained";
    case State::Started:
      return "not done";
    case State::Done:
      return "was done";
    case State::Trained:
      return "trained";
    case State::Failed:
      return "failed (" + std::to_string(run.code) + "): " + rt::exitReason(run.code);
    case State::Interrupted:
      return "interrupted";
    }
    return "";
  }

  void printResults() {
    rt::TextTable table({"member", "state", "step", "loss", "validation", "tokens/s"}, "2345");
    for (const Run &run : runs) {
      auto log = report::readRun(run.folder);
      auto found = rt::lookAtRun(run.folder);
      report::RunLog none;
      const report::RunLog &seen = log.isOk() ? *log : none;
      auto loss = seen.lastOf(seen.train, "loss"), validation = seen.lastOf(seen.validation, "loss");
      auto speed = seen.tokensPerSecond();
      int64_t step = std::max(seen.lastStep(), found.isOk() ? found->step : 0);
      table.row({run.member->member, wordFor(run), std::to_string(step) + "/" + std::to_string(run.steps),
                 seen.lastText(seen.train, "loss", 4), seen.lastText(seen.validation, "loss", 4),
                 speed ? rt::formatFixed(*speed, 0) : "-"});
      if (!runOptions.json)
        continue;
      rt::Json line = rt::Json::object();
      line.set("member", rt::Json::string(run.member->member));
      line.set("state", rt::Json::string(wordFor(run)));
      line.set("step", rt::Json::integer(step));
      for (auto [key, value] : {std::pair("loss", loss), {"validation_loss", validation}, {"tokens_per_s", speed}})
        line.set(key, value ? rt::Json::number(*value) : rt::Json());
      llvm::outs() << line.dump() << "\n";
    }
    if (!runOptions.json)
      llvm::outs() << "\n" << table.text() << "\nmoec report " << folder << " draws them\n";
  }

  mlir::MLIRContext &context;
  const Options &options;
  spec::SpecMembers spec;
  std::vector<std::string> rest;
  std::string folder;
  rt::RunOptions runOptions;
  std::vector<Run> runs;
};

int compileAndTrain(Options options, const std::vector<std::string> &rest) {
  auto context = makeContext();
  DiagnosticPrinter printer(context.get(), llvm::errs());
  spec::ReadOptions how;
  how.members = options.members;
  how.examine = makeExaminer(); // all members are examined before the first is trained
  how.inputs = &options.compile.inputs;
  auto read = spec::readMembers(context.get(), options.input, how);
  if (!read)
    return kUserError;
  if (!read->axes.empty())
    return SweepTraining(*context, options, std::move(*read), rest).run();
  std::string runDir = options.runDir.empty() ? "runs/" + read->name : options.runDir;
  return trainOne(*context, options, std::move(read->members.front().module), runDir, rest);
}
} // namespace

Action moec::tool::addTrain(CLI::App &app) {
  auto options = std::make_shared<Options>();
  addRunOptions(app, "train", options->input, options->runDir, options->compile);
  app.add_option("--member", options->members, "Train only this member of a sweep; may be given more than once")
      ->allow_extra_args(false);
  app.add_flag("--keep-going", options->keepGoing, "When a member of a sweep fails, go on with the next");
  return [options, &app] {
    rt::ignoreBrokenPipes(); // also between the members of a sweep, as is the next
    rt::exitOnStopSignals();
    std::vector<std::string> rest = app.remaining();
    if (std::optional<int> code = checkArguments(app, "train", options->input))
      return *code;
    if (isPlan(options->input))
      return rt::runCommandLine(argumentsFor(options->input, "train", options->runDir, rest));
    return compileAndTrain(*options, rest);
  };
}
