// One evaluation: the first windows of each validation source through the model, and the mean of their losses. Which
// windows, and how sources are weighted, stands in docs/data.md.
#ifndef MOEC_RUNTIME_API_EVALUATION_H
#define MOEC_RUNTIME_API_EVALUATION_H

#include "runtime/api/moec.h"
#include "runtime/exec/Executor.h"
#include "runtime/io/Dataset.h"

#include <functional>
#include <span>

namespace moec::rt {

/// A window that was read: seq_len + 1 tokens, and the loss of each but the first, in nats.
struct WindowResult {
  WindowPlace place;
  std::span<const int32_t> tokens;
  std::span<const double> losses;
};

using WindowSink = std::function<Status(const WindowResult &)>;

class Evaluation {
public:
  Evaluation(Executor &executor, const Dataset &data) : executor(executor), data(data), plan(executor.plan()) {}

  /// The report lacks the unigram baseline.
  Result<EvaluateReport> run(const WindowSink &everyWindow);

private:
  /// Up to a batch of windows, as many as are left.
  std::vector<Sample> nextSamples(EvaluationOrder &order) const;
  Status readLosses(std::vector<double> &losses);

  Executor &executor;
  const Dataset &data;
  const Plan &plan;
};

/// Writes what EvaluateOptions ask for, a JSON line per window or a text line per byte, to options.out.
class TokenWriter {
public:
  TokenWriter(Executor &executor, const RunOptions &options, const EvaluateOptions &request)
      : executor(executor), options(options), request(request) {}

  Status write(const WindowResult &window);

private:
  void writeText(const WindowResult &window);
  Status writeJson(const WindowResult &window);

  Executor &executor;
  const RunOptions &options;
  const EvaluateOptions &request;
  bool wroteHeader = false;
};

/// The logits after `text` (one byte or more), of the ids that bytes have, as generate() sees them. MOEC-R002 when one
/// is not finite.
Result<std::vector<double>> logitsAfter(Executor &executor, const std::string &text);

} // namespace moec::rt

#endif // MOEC_RUNTIME_API_EVALUATION_H
