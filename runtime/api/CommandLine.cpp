// The command line of moec-run; `moec` hands its run commands over to it.
#include "runtime/api/moec.h"
#include "runtime/base/Json.h"
#include "runtime/base/Options.h"
#include "runtime/base/Text.h"
#include "runtime/comm/Ring.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <unistd.h>

namespace moec::rt {

namespace {

constexpr char kFooter[] = R"(examples:
  moec-run tiny.moec train                      train into runs/tiny
  moec-run tiny.moec train --resume             go on from the newest checkpoint
  moec-run tiny.moec eval                       validation loss of the newest checkpoint
  moec-run tiny.moec generate --prompt "Once"   write some text
  moec-run tiny.moec bench --seconds 10         tokens/s of training steps, nothing is written
  moec-run tiny.moec describe                   memory map, kernels, instructions
  moec-run diagnose DIR                         which rank of a job is behind, from its rings (MOEC_RING_DIR)

exit codes:
  0 done                       4 data missing or unfit (MOEC-D)
  1 failed                     5 checkpoint missing or damaged (MOEC-C)
  2 options, or run folder     6 a loss, a gradient or the state is NaN or infinite
    in the way                 7 stopped by SIGINT, SIGTERM or SIGHUP; what there was to save
                                 was saved (SIGQUIT ends a process without saving)
  3 plan refused (MOEC-P)
)";

class CommandLine {
public:
  explicit CommandLine(std::vector<std::string> alsoKnown = {}, const CompiledPlan *compiled = nullptr)
      : app("Runs a compiled plan: training, evaluation, text generation.", "moec-run"),
        alsoKnown(std::move(alsoKnown)), compiled(compiled) {
    app.failure_message([this](const CLI::App *, const CLI::Error &error) { return describeError(error); });
    app.footer(kFooter);
    app.require_subcommand(1);
    app.fallthrough();
    app.add_option("plan", planPath, "the plan file, from `moec compile`")->required();
    addTrain();
    addEval();
    addGenerate();
    addBench();
    addDescribe();
  }

  /// Nothing when the arguments are fine; else what was to be printed has been, and this is the exit code.
  std::optional<int> parse(std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end()); // CLI11 takes them last first
    try {
      app.parse(arguments);
    } catch (const CLI::ParseError &error) {
      return app.exit(error) == 0 ? kExitOk : kExitUsage;
    } catch (const std::exception &error) {
      std::fprintf(stderr, "moec-run: %s\n", error.what());
      return kExitUsage;
    }
    return std::nullopt;
  }

  const RunOptions &runOptions() const { return options; }

  int run(const std::vector<std::string> &arguments) {
    if (std::optional<int> code = parse(arguments))
      return *code;
    bool trains = app.got_subcommand("train");
    if (trains) {
      ignoreBrokenPipes();
      exitOnStopSignals();
    }
    int code = runVerb();
    errno = 0;
    bool told = std::fflush(stdout) == 0 && !std::ferror(stdout);
    if (told || trains || code != kExitOk) // what a training is for lies in its folder
      return code;
    std::fprintf(stderr, "moec-run: error MOEC-I002: standard output: the result cannot be written: %s\n",
                 std::strerror(errno ? errno : EIO));
    return kExitFailed;
  }

  int runVerb() {
    bool onlyLooks = app.got_subcommand("describe");
    Result<Plan> plan =
        compiled ? loadPlanBytes(compiled->bytes, planPath, !onlyLooks) : loadPlan(planPath, !onlyLooks);
    if (!plan.isOk())
      return fail(plan.status());
    if (onlyLooks)
      return runDescribe(*plan);
    if (app.got_subcommand("train"))
      return runTrain(*plan);
    if (app.got_subcommand("bench"))
      return runBench(*plan);
    if (app.got_subcommand("eval"))
      return fail(evaluate(*plan, options, evaluation).status());
    return runGenerate(*plan);
  }

  std::string optionsOf(const std::string &subcommand) {
    std::string text = app.get_subcommand(subcommand)->help();
    size_t begin = text.find("\nOptions:\n");
    begin = begin == std::string::npos ? text.size() : begin + std::string_view("\nOptions:\n").size();
    text = text.substr(begin, text.find("\n\n", begin) - begin) + "\n";
    for (const char *own : {"  -h,--help", "  --run-dir"})
      if (size_t line = text.find(own); line != std::string::npos)
        text.erase(line, text.find('\n', line) + 1 - line);
    return text;
  }

private:
  void addCommon(CLI::App *command) {
    command->add_option("--run-dir", options.runDir, "folder of the run (default: runs/<plan name>)");
    command->add_option("--resume-from", options.resumeFrom, "use this checkpoint folder, not the newest of the run");
    command->add_option("--threads", options.threads, "worker threads (default: all this process may use)")
        ->check(threadCount());
    command->add_flag("--allow-other-spec", options.allowOtherSpec,
                      "take a checkpoint of another spec if its tensors fit");
    command->add_flag("--profile", options.profile,
                      "print time, GFLOP/s and GB/s of each kernel and section at the end");
    command->add_flag("--poison", options.poison, "fill values with NaN before each function (a test of the plan)");
    command->add_flag("--json", options.json, "JSON lines on standard output");
  }

  void addData(CLI::App *command) {
    command->add_option("--data-dir", options.dataDir, "where relative data paths start (default: the spec's folder)");
  }

  void addTrain() {
    CLI::App *command = app.add_subcommand("train", "train, saving checkpoints and metrics in the run folder");
    addCommon(command);
    addData(command);
    auto *resume = command->add_flag("--resume", options.resume, "go on from the newest checkpoint of the run");
    command
        ->add_flag(
            "--overwrite", options.overwrite,
            "delete the run in the folder (run.json, metrics.jsonl, its checkpoints; all else stays) and begin a "
            "new one")
        ->excludes(resume);
    command->add_flag("--restart-data", options.restartData,
                      "with --resume: data sets whose files or windows changed begin a new pass");
    command
        ->add_option("--max-steps", options.maxSteps,
                     "stop after this many more steps; steps since the newest checkpoint are not saved")
        ->check(wholeNumber(0, kMostSteps));
    command->add_option("--trace", options.tracePath,
                        "write a Chrome trace of one step (the sixth, or the last) to this file");
  }

  void addEval() {
    CLI::App *command = app.add_subcommand("eval", "run the validation data through a checkpoint");
    addCommon(command);
    addData(command);
    auto *perToken = command->add_flag("--per-token", evaluation.perToken,
                                       "the loss of every byte; with --json a line for each window");
    command->add_flag("--logits", evaluation.logits, "with --per-token and --json: the logits of every byte too (slow)")
        ->needs(perToken);
  }

  void addGenerate() {
    CLI::App *command = app.add_subcommand("generate", "continue a prompt");
    addCommon(command);
    command->add_option("--prompt", request.prompt, "text to go on from (default: a newline)");
    command->add_option("--bytes", request.bytes, "how many bytes to write (default: 200)")
        ->check(wholeNumber(1, kMostBytes));
    command->add_option("--temperature", request.temperature, "0 takes the likeliest byte (default: 0.8)")
        ->check(realNumber(0, 1e6));
    command->add_option("--top-k", request.topK, "choose among the K likeliest (default: all)")
        ->check(wholeNumber(1, kMostTokens));
    command->add_option("--seed", request.seed, "another seed, another text (default: 0)")
        ->check(wholeNumber(0, std::numeric_limits<uint64_t>::max()));
  }

  void addBench() {
    CLI::App *command =
        app.add_subcommand("bench", "measure training steps: random tokens, no checkpoints, no run folder");
    command->add_option("--seconds", measure.seconds, "measure at least so long (default: 10)")
        ->check(realNumber(1e-3, 86400));
    command->add_option("--warmup", measure.warmupSteps, "steps before the clock starts (default: 5)")
        ->check(wholeNumber(1, 1000000));
    command->add_flag("--real-data", measure.realData, "read the spec's data");
    addData(command);
    command->add_option("--threads", options.threads, "worker threads (default: all this process may use)")
        ->check(threadCount());
    command->add_flag("--profile", options.profile,
                      "print time, GFLOP/s and GB/s of each kernel and section; steps get slower");
    command->add_flag("--json", options.json, "one JSON line on standard output");
  }

  void addDescribe() {
    CLI::App *command = app.add_subcommand("describe", "print what is in the plan");
    command->add_option("--threads", options.threads, "for the announced peak (default: all this process may use)")
        ->check(threadCount());
    command->add_flag("--no-instructions", noInstructions, "tables only");
  }

  /// One line for arguments that are wrong.
  std::string describeError(const CLI::Error &error) {
    std::vector<std::string> commands, names = alsoKnown, rest = app.remaining(/*recurse=*/true);
    for (const CLI::App *command : app.get_subcommands({}))
      commands.push_back(command->get_name());
    std::string text = error.what();
    bool isChosen = !app.get_subcommands().empty();
    for (const CLI::App *command : app.get_subcommands())
      for (const CLI::Option *option : command->get_options())
        names.push_back(option->get_name());
    if (!isChosen && rest.empty())
      text = "a plan and a command are required, as in moec-run tiny.moec train; --help lists them";
    else if (!isChosen)
      text = "there is no command \"" + rest.front() + "\"" + nearestWord(rest.front(), commands);
    else if (dynamic_cast<const CLI::ExtrasError *>(&error))
      text = describeUnknown(rest, names);
    return "error: " + text + "\n";
  }

  int fail(const Status &status) {
    if (!status.isOk())
      std::fprintf(stderr, "moec-run: error %s\n", status.text().c_str());
    return exitCode(status);
  }

  int runTrain(const Plan &plan) {
    if (compiled) {
      options.planBytes = compiled->bytes;
      options.beginAgain = compiled->beginAgain;
    }
    Result<TrainReport> report = train(plan, options);
    if (!report.isOk())
      return fail(report.status());
    if (!options.json && report->rank == 0)
      std::printf("%lld steps done, this time %lld in %s; metrics and checkpoints in %s\n",
                  static_cast<long long>(report->step), static_cast<long long>(report->stepsHere),
                  formatDuration(report->seconds).c_str(), report->runDir.c_str());
    return report->interrupted ? kExitInterrupted : kExitOk;
  }

  int runBench(const Plan &plan) {
    Result<BenchReport> made = bench(plan, options, measure);
    if (!made.isOk())
      return fail(made.status());
    const BenchReport &report = *made;
    if (options.json) {
      Json line = Json::object();
      line.set("plan", Json::string(plan.name));
      line.set("device", Json::string(report.device));
      line.set("tokens_per_s", Json::number(report.tokensPerSecond));
      line.set("step_ms_median", Json::number(report.medianStepMs));
      line.set("step_ms_fastest", Json::number(report.fastestStepMs));
      line.set("steps", Json::integer(report.steps));
      line.set("seconds", Json::number(report.seconds));
      line.set("tokens_per_step", Json::integer(static_cast<int64_t>(report.tokensPerStep)));
      line.set("loss", Json::number(report.loss));
      line.set("allocated_bytes", Json::integer(static_cast<int64_t>(report.allocatedBytes)));
      line.set("announced_bytes", Json::integer(static_cast<int64_t>(report.announcedBytes)));
      line.set("device_used_bytes", Json::integer(static_cast<int64_t>(report.usedBytes)));
      line.set("clock_mhz", Json::number(report.clockMHz));
      line.set("watts", Json::number(report.watts));
      std::printf("%s\n", line.dump().c_str());
      return kExitOk;
    }
    std::printf("%s: %.0f tokens/s; %lld steps of %llu tokens in %.2f s, median %.3f ms, fastest %.3f ms; loss %.4f\n",
                plan.name.c_str(), report.tokensPerSecond, static_cast<long long>(report.steps),
                static_cast<unsigned long long>(report.tokensPerStep), report.seconds, report.medianStepMs,
                report.fastestStepMs, report.loss);
    std::printf("memory: %llu bytes allocated, %llu announced (%s)",
                static_cast<unsigned long long>(report.allocatedBytes),
                static_cast<unsigned long long>(report.announcedBytes), formatBytes(report.announcedBytes).c_str());
    if (report.usedBytes > 0)
      std::printf("; %s of the device in use, by everything", formatBytes(report.usedBytes).c_str());
    std::printf("\n");
    if (report.clockMHz > 0)
      std::printf("%s: %.0f MHz, %.0f W on average\n", report.device.c_str(), report.clockMHz, report.watts);
    return kExitOk;
  }

  int runGenerate(const Plan &plan) {
    Result<std::string> text = generate(plan, options, request);
    if (!text.isOk())
      return fail(text.status());
    if (options.json) {
      Json line = Json::object();
      line.set("prompt", Json::string(escapeBytes(request.prompt)));
      line.set("prompt_base64", Json::string(base64(request.prompt)));
      line.set("text", Json::string(escapeBytes(*text)));
      line.set("text_base64", Json::string(base64(*text)));
      std::printf("%s\n", line.dump().c_str());
    } else {
      std::printf("%s%s\n", escapeBytes(request.prompt).c_str(), escapeBytes(*text).c_str());
    }
    return kExitOk;
  }

  int runDescribe(const Plan &plan) {
    std::fputs(describe(plan, {options.threads, !noInstructions}).c_str(), stdout);
    return kExitOk;
  }

  static constexpr uint64_t kMostSteps = 1'000'000'000'000, kMostBytes = 1'000'000'000, kMostTokens = 1 << 24;

  CLI::App app;
  std::vector<std::string> alsoKnown;
  const CompiledPlan *compiled;
  std::string planPath;
  RunOptions options;
  EvaluateOptions evaluation;
  GenerateOptions request;
  BenchOptions measure;
  bool noInstructions = false;
};

} // namespace

/// What ranks of a job did last. The one command without a plan.
static int runDiagnose(const std::vector<std::string> &arguments) {
  if (arguments.size() != 2 || arguments[1].starts_with("-")) {
    std::fprintf(stderr, "error: diagnose takes one folder, that of MOEC_RING_DIR: moec-run diagnose DIR\n");
    return kExitUsage;
  }
  Result<std::string> text = diagnoseRings(arguments[1]);
  if (!text.isOk()) {
    std::fprintf(stderr, "moec-run: error %s\n", text.status().text().c_str());
    return kExitFailed;
  }
  std::printf("%s", text->c_str());
  return kExitOk;
}

int runCommandLine(const std::vector<std::string> &arguments, const CompiledPlan *compiled) {
  if (!arguments.empty() && arguments[0] == "diagnose")
    return runDiagnose(arguments);
  return CommandLine({}, compiled).run(arguments);
}

void openStandardStreams() {
  // A file opened next would get a closed stream's number, and what is printed would land in it.
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0)
      (void)!::open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_RDWR); // the lowest number that is free
}

void ignoreBrokenPipes() { ::signal(SIGPIPE, SIG_IGN); }

std::optional<int> parseCommandLine(const std::vector<std::string> &arguments, RunOptions &options,
                                    std::vector<std::string> alsoKnown) {
  CommandLine line(std::move(alsoKnown));
  std::optional<int> code = line.parse(arguments);
  options = line.runOptions();
  return code;
}

std::string commandLineOptions(const std::string &subcommand) { return CommandLine().optionsOf(subcommand); }

} // namespace moec::rt
