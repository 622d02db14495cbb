// The public face of the runtime. Everything that `moec-run` and the run commands of `moec` do goes through here.
//
// Ownership: a Plan must outlive the call it is given to; results own what they hold. Threads: one call at a time in a
// process (train() handles signals). Errors: a Status with a code, a place and a sentence; nothing throws, nothing
// exits.
#ifndef MOEC_RUNTIME_API_MOEC_H
#define MOEC_RUNTIME_API_MOEC_H

#include "runtime/base/Result.h"
#include "runtime/plan/Plan.h"

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moec::rt {

struct RunOptions {
  std::string runDir;          // empty: runs/<plan name>
  std::string dataDir;         // empty: the spec's own; replaces base_dir for relative paths
  std::string resumeFrom;      // a checkpoint folder; empty: the newest of the run
  bool allowOtherSpec = false; // take a checkpoint of another spec when its tensors fit
  unsigned threads = 0;        // 0: all this process may use
  bool profile = false;        // print where the time went
  bool poison = false;         // fill values with NaN before each function, to find reads of unwritten memory
  bool json = false;           // machine-readable lines on `out`
  std::FILE *out = stdout;     // nullptr: silent

  // train() only.
  bool resume = false;        // go on from the newest checkpoint (or resumeFrom)
  bool overwrite = false;     // delete the run that the folder holds: run.json, metrics.jsonl, checkpoints
  bool beginAgain = false;    // a run that has no checkpoint yet begins again; its metrics are kept aside
  bool restartData = false;   // data sets that changed since the checkpoint begin a new pass
  int64_t maxSteps = -1;      // stop after so many more steps; -1: as the plan says
  bool handleSignals = true;  // SIGINT, SIGTERM, SIGHUP: finish the step, save, return
  std::string tracePath;      // write a Chrome trace of one step, the sixth or the last, here
  std::string_view planBytes; // to be written to Plan::path when nothing can be refused any more; empty: it is there
};

struct MetricValue {
  std::string name;
  std::vector<uint64_t> shape;
  std::vector<double> values;
  bool isInteger = false; // counts
};

struct TrainReport {
  std::string runDir;
  int rank = 0;             // of this process; only the first says what was done
  int64_t step = 0;         // done in all
  int64_t stepsHere = 0;    // done by this call
  double seconds = 0;       // of this call's training
  bool interrupted = false; // a signal came; a checkpoint of `step` was saved
  std::vector<MetricValue> metrics;
  uint64_t allocatedBytes = 0; // arena and scratch; Plan::peakBytes announced it
};

struct EvaluateReport {
  int64_t step = 0;                 // of the checkpoint
  std::vector<MetricValue> metrics; // "loss": mean over sources by weight of the means over their windows
  double unigramBaseline = 0;       // nats per byte, see Dataset
  struct Source {
    std::string name;
    double loss = 0;      // nats per byte
    uint64_t windows = 0; // that were read
  };
  std::vector<Source> sources; // those with a weight above 0
};

/// What evaluate() may write beside the loss of the whole.
struct EvaluateOptions {
  bool perToken = false; // the loss of each byte
  bool logits = false;   // and the scores of all bytes that it was chosen from; slow: one forward pass a byte
};

struct GenerateOptions {
  std::string prompt; // empty stands for one newline: a model needs something to go on from
  uint64_t bytes = 200;
  double temperature = 0.8; // 0: always the likeliest
  uint32_t topK = 0;        // 0: all
  uint64_t seed = 0;
};

struct BenchOptions {
  double seconds = 10; // at least so long, after the warm-up
  int64_t warmupSteps = 5;
  bool realData = false; // the spec's; else random tokens
};

struct BenchReport {
  int64_t steps = 0;
  double seconds = 0, tokensPerSecond = 0;
  double medianStepMs = 0, fastestStepMs = 0;
  double loss = 0; // of the last step
  uint64_t tokensPerStep = 0, allocatedBytes = 0, announcedBytes = 0;
  uint64_t usedBytes = 0;         // of the device's memory, by whomever; 0 where nobody can tell
  double clockMHz = 0, watts = 0; // mean of what was seen; 0 where nobody can tell
  std::string device;
};

struct DescribeOptions {
  unsigned threads = 0; // for the announced peak; 0: all this process may use
  bool instructions = true;
};

/// Reads and checks a plan. A plan that is only looked at need not fit this processor.
Result<Plan> loadPlan(const std::string &path, bool checkCpu = true);
/// The same for the bytes of a plan file; `path` is where it lies or will lie.
Result<Plan> loadPlanBytes(std::string_view bytes, const std::string &path, bool checkCpu = true);

Result<TrainReport> train(const Plan &plan, const RunOptions &options);

/// Train steps without data files, checkpoints, metrics or a run folder, to see how fast they are.
Result<BenchReport> bench(const Plan &plan, const RunOptions &options, const BenchOptions &request);

/// The validation data on the newest checkpoint (or resumeFrom).
Result<EvaluateReport> evaluate(const Plan &plan, const RunOptions &options, const EvaluateOptions &request = {});

/// The bytes after the prompt, as they are; escapeBytes() of runtime/base/Text.h makes them fit for a terminal.
Result<std::string> generate(const Plan &plan, const RunOptions &options, const GenerateOptions &request);

/// What train() would say of its folder: an error (MOEC-R001) when it holds a run that the options neither go on with
/// nor delete, or files of others that a run would replace. For those who have work to do before train(), such as
/// compiling.
Status checkRunFolder(const std::string &folder, const RunOptions &options);
/// MOEC-C005 when the options go on with a run of another spec and do not allow that. For those who replace the run's
/// plan before train().
Status checkSameSpec(const std::string &folder, const Plan &plan, const RunOptions &options);

/// What a run folder holds, for those who go on with many runs. A run that was stopped very early has no spec yet.
struct RunState {
  bool holdsRun = false;
  int64_t step = -1;          // of the newest checkpoint; -1: none
  std::string specHash, spec; // of run.json; the spec as JSON text
};
Result<RunState> lookAtRun(const std::string &folder);

/// For main(), before train() is called: while no step is under way, SIGINT, SIGTERM and SIGHUP write a line to
/// standard error and end the process with kExitInterrupted.
void exitOnStopSignals();
/// Whether one of them has asked the newest train() to stop, whatever that returned.
bool stopRequested();

/// Tables of memory, buffers, kernels and instructions.
std::string describe(const Plan &plan, const DescribeOptions &options = {});

/// What a process should return: the table is in `moec-run --help`.
enum ExitCode {
  kExitOk = 0,
  kExitFailed = 1,      // anything without a number of its own
  kExitUsage = 2,       // options that make no sense, or a run folder in the way
  kExitPlan = 3,        // MOEC-P...
  kExitData = 4,        // MOEC-D...
  kExitCheckpoint = 5,  // MOEC-C...
  kExitNotFinite = 6,   // a loss, a gradient or the state is NaN or infinite
  kExitInterrupted = 7, // stopped by a signal, after saving what there was to save
};
int exitCode(const Status &status);
/// What an exit code stands for, in a few words: "data missing or unfit".
const char *exitReason(int code);

/// `moec-run` without its main: arguments after the program name, e.g. {"a.moec", "train", "--resume"}. Prints, and
/// returns an ExitCode. `moec train spec.json ...` compiles and then hands the rest over to this, with the plan in
/// memory.
/// `compiled`: what the caller found out already.
struct CompiledPlan {
  std::string bytes;       // of the plan file; `train` writes it, the others leave no file behind
  bool beginAgain = false; // RunOptions::beginAgain
};
int runCommandLine(const std::vector<std::string> &arguments, const CompiledPlan *compiled = nullptr);

/// Puts /dev/null where a standard stream is closed; writing to standard output still fails. For main().
void openStandardStreams();
/// For commands that must not end because nobody reads what they print.
void ignoreBrokenPipes();

/// Only reads the arguments. An exit code when that is all there is to do: they are wrong, or ask for help; it has been
/// printed. `alsoKnown`: options that the caller has taken out already, as candidates for what an unknown one meant.
std::optional<int> parseCommandLine(const std::vector<std::string> &arguments, RunOptions &options,
                                    std::vector<std::string> alsoKnown = {});

/// The options of one of its subcommands ("train"), as `moec-run PLAN train --help` prints them, except --help and
/// --run-dir, which `moec train` has itself.
std::string commandLineOptions(const std::string &subcommand);

} // namespace moec::rt

#endif // MOEC_RUNTIME_API_MOEC_H
