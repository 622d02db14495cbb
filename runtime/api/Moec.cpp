#include "runtime/api/moec.h"
#include "runtime/api/Session.h"
#include "runtime/base/Random.h"
#include "runtime/exec/Devices.h"
#include "runtime/exec/Sampler.h"
#include "runtime/plan/PlanDescribe.h"
#include "runtime/plan/PlanReader.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace moec::rt {

Result<Plan> loadPlan(const std::string &path, bool checkCpu) { return readPlan(path, {checkCpu}); }

Result<Plan> loadPlanBytes(std::string_view bytes, const std::string &path, bool checkCpu) {
  return parsePlan(std::as_bytes(std::span(bytes)), path, {checkCpu});
}

std::string describe(const Plan &plan, const DescribeOptions &options) {
  return describePlan(plan, {options.threads == 0 ? defaultThreads() : options.threads, options.instructions});
}

int exitCode(const Status &status) {
  if (status.isOk())
    return kExitOk;
  const std::string &code = status.code();
  if (code == "MOEC-R001" || code == "MOEC-R005")
    return kExitUsage;
  if (code == "MOEC-R002" || code == "MOEC-C018")
    return kExitNotFinite;
  switch (code.size() > 5 ? code[5] : ' ') {
  case 'P':
    return kExitPlan;
  case 'D':
    return kExitData;
  case 'C':
    return kExitCheckpoint;
  default:
    return kExitFailed;
  }
}

const char *exitReason(int code) {
  switch (code) {
  case kExitOk:
    return "done";
  case kExitUsage:
    return "options, or run folder in the way";
  case kExitPlan:
    return "plan refused";
  case kExitData:
    return "data missing or unfit";
  case kExitCheckpoint:
    return "checkpoint missing, damaged or of another spec";
  case kExitNotFinite:
    return "NaN or infinity in loss, gradient or state";
  case kExitInterrupted:
    return "stopped by a signal";
  default:
    return "see the error above";
  }
}

/// Functions that look at a model need all of it here.
static Status checkOneRank(const Plan &plan) {
  for (const PlanState &state : plan.state)
    if (state.kind == StateKind::Parameter && state.runs > 1)
      return Status::error("MOEC-R010", plan.path, "the plan divides \"", state.name, "\" over ", state.runs,
                           " ranks; give `moec` the spec, which it then compiles for one rank");
  return Status::ok();
}

Result<EvaluateReport> evaluate(const Plan &plan, const RunOptions &options, const EvaluateOptions &request) {
  if (request.logits && (!request.perToken || !options.json))
    return Status::error("MOEC-R005", "",
                         "logits go with per-token and json: each byte has as many as there are bytes");
  if (request.logits && !plan.generate)
    return Status::error("MOEC-R006", plan.path, "this plan has no function that gives logits");
  MOEC_RETURN_IF_ERROR(checkOneRank(plan));
  Session session(plan, options);
  MOEC_ASSIGN_OR_RETURN(std::string checkpoint, session.chooseCheckpoint());
  MOEC_RETURN_IF_ERROR(session.openData());
  MOEC_RETURN_IF_ERROR(session.openDevice());
  MOEC_RETURN_IF_ERROR(session.restore(checkpoint).status());
  TokenWriter writer(session.executor(), options, request);
  WindowSink everyWindow;
  if (request.perToken && options.out)
    everyWindow = [&](const WindowResult &window) { return writer.write(window); };
  MOEC_ASSIGN_OR_RETURN(EvaluateReport report, session.runEvaluation(everyWindow));
  session.progress().result("step " + std::to_string(report.step) + "  " + evaluationText(report),
                            evaluationLine(report));
  session.printProfile();
  MOEC_RETURN_IF_ERROR(checkEvaluation(report, checkpoint));
  return report;
}

static std::vector<double> readLogits(const Plan &plan, Device &device) {
  const PlanGenerate &place = *plan.generate;
  std::vector<double> logits(place.vocabulary);
  if (plan.elementType == DType::F64) {
    device.read(place.logitsOffset, logits.data(), logits.size() * sizeof(double));
  } else {
    std::vector<float> raw(place.vocabulary);
    device.read(place.logitsOffset, raw.data(), raw.size() * sizeof(float));
    std::copy(raw.begin(), raw.end(), logits.begin());
  }
  logits.resize(std::min<size_t>(logits.size(), 256)); // a vocabulary may be padded, tokens are bytes
  return logits;
}

/// The window on the last tokens of the text, zeros after them.
static void writeWindow(const Plan &plan, Device &device, const std::string &text) {
  const PlanGenerate &place = *plan.generate;
  std::vector<int32_t> tokens(place.window, 0);
  size_t used = std::min<size_t>(text.size(), place.window);
  for (size_t i = 0; i < used; ++i)
    tokens[i] = static_cast<unsigned char>(text[text.size() - used + i]);
  auto position = static_cast<int32_t>(used - 1);
  device.write(place.tokensOffset, tokens.data(), tokens.size() * sizeof(int32_t));
  device.write(place.positionOffset, &position, sizeof position);
}

Result<std::vector<double>> logitsAfter(Executor &executor, const std::string &text) {
  writeWindow(executor.plan(), executor.device(), text);
  executor.call(executor.plan().generate->function);
  std::vector<double> logits = readLogits(executor.plan(), executor.device());
  MOEC_RETURN_IF_ERROR(executor.device().finish());
  if (!std::all_of(logits.begin(), logits.end(), [](double logit) { return std::isfinite(logit); }))
    return Status::error("MOEC-R002", executor.plan().path, "the logits after ", text.size(), " bytes are not finite");
  return logits;
}

static Status checkPrompt(const Plan &plan, const std::string &prompt) {
  for (size_t i = 0; i < prompt.size(); ++i)
    if (static_cast<unsigned char>(prompt[i]) >= plan.vocabulary())
      return Status::error("MOEC-D003", "prompt", "byte ", int(static_cast<unsigned char>(prompt[i])), " at offset ", i,
                           " is not in the vocabulary of ", plan.vocabulary(), " ids");
  return Status::ok();
}

Result<std::string> generate(const Plan &plan, const RunOptions &options, const GenerateOptions &request) {
  if (!plan.generate)
    return Status::error("MOEC-R006", plan.path, "this plan has no function that gives logits, so it cannot generate");
  if (!(request.temperature >= 0) || !std::isfinite(request.temperature))
    return Status::error("MOEC-R005", "", "the temperature must be >= 0, is ", request.temperature);
  std::string prompt = request.prompt.empty() ? "\n" : request.prompt;
  MOEC_RETURN_IF_ERROR(checkPrompt(plan, prompt));
  MOEC_RETURN_IF_ERROR(checkOneRank(plan));
  Session session(plan, options);
  MOEC_ASSIGN_OR_RETURN(std::string checkpoint, session.chooseCheckpoint());
  MOEC_RETURN_IF_ERROR(session.openDevice());
  MOEC_RETURN_IF_ERROR(session.restore(checkpoint).status());

  std::string text = prompt;
  for (uint64_t i = 0; i < request.bytes; ++i) {
    MOEC_ASSIGN_OR_RETURN(std::vector<double> logits, logitsAfter(session.executor(), text));
    double uniform = randomUniform(request.seed, RandomStream::Generation, text.size());
    text += static_cast<char>(sampleToken(logits, request.temperature, request.topK, uniform));
  }
  session.printProfile();
  return text.substr(prompt.size());
}

} // namespace moec::rt
