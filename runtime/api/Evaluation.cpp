#include "runtime/api/Evaluation.h"

#include "runtime/base/Json.h"
#include "runtime/base/Text.h"

#include <algorithm>
#include <utility>

namespace moec::rt {

std::vector<Sample> Evaluation::nextSamples(EvaluationOrder &order) const {
  std::vector<Sample> samples;
  while (samples.size() < plan.data.sequences) {
    std::optional<Sample> sample = order.next();
    if (!sample)
      break;
    samples.push_back(*sample);
  }
  return samples;
}

Status Evaluation::readLosses(std::vector<double> &losses) {
  Device &device = executor.device();
  uint64_t offset = plan.evaluation->lossesOffset;
  if (plan.elementType == DType::F64) {
    device.read(offset, losses.data(), losses.size() * sizeof(double));
  } else {
    std::vector<float> raw(losses.size());
    device.read(offset, raw.data(), raw.size() * sizeof(float));
    std::copy(raw.begin(), raw.end(), losses.begin());
  }
  return device.finish();
}

Result<EvaluateReport> Evaluation::run(const WindowSink &everyWindow) {
  const uint64_t seqLen = plan.data.seqLen, rows = plan.data.sequences;
  std::vector<int32_t> tokens(rows * (seqLen + 1)), domains(rows);
  std::vector<double> losses(rows * seqLen), sums(data.validation().size(), 0);
  auto rowOf = [&](std::span<int32_t> all, size_t row) { return all.subspan(row * (seqLen + 1), seqLen + 1); };
  EvaluationOrder order(data.evaluated());
  for (std::vector<Sample> samples = nextSamples(order); !samples.empty(); samples = nextSamples(order)) {
    for (size_t row = 0; row < rows; ++row) {
      // Rows that are left over repeat windows of this batch. They are not counted.
      Sample sample = samples[row % samples.size()];
      MOEC_RETURN_IF_ERROR(data.fillValidation(sample, rowOf(tokens, row)));
      domains[row] = static_cast<int32_t>(sample.source);
    }
    executor.device().write(plan.batchOffset, tokens.data(), tokens.size() * sizeof(int32_t));
    executor.device().write(plan.domainsOffset, domains.data(), domains.size() * sizeof(int32_t));
    executor.call(plan.evaluation->function);
    MOEC_RETURN_IF_ERROR(readLosses(losses));
    for (size_t row = 0; row < samples.size(); ++row) {
      std::span<const double> found = std::span(losses).subspan(row * seqLen, seqLen);
      for (double loss : found)
        sums[samples[row].source] += loss;
      if (everyWindow)
        MOEC_RETURN_IF_ERROR(everyWindow({data.validation().place(samples[row]), rowOf(tokens, row), found}));
    }
  }

  EvaluateReport report;
  report.step = executor.stepCounter();
  double sum = 0, weights = 0;
  for (size_t i = 0; i < sums.size(); ++i)
    weights += data.validation().weight(i);
  for (size_t i = 0; i < sums.size(); ++i) {
    uint64_t windows = data.evaluated()[i];
    if (windows == 0)
      continue;
    report.sources.push_back({data.validation().name(i), sums[i] / static_cast<double>(windows * seqLen), windows});
    sum += data.validation().weight(i) / weights * report.sources.back().loss;
  }
  report.metrics = {{"loss", {}, {sum}}};
  return report;
}

Status TokenWriter::write(const WindowResult &window) {
  if (options.json)
    return writeJson(window);
  writeText(window);
  return Status::ok();
}

/// Tabs between, so that scripts can cut it; the byte comes last and is escaped.
void TokenWriter::writeText(const WindowResult &window) {
  if (!std::exchange(wroteHeader, true))
    std::fprintf(options.out, "source\tfile\twindow\tposition\tloss\tbyte\n");
  for (size_t i = 0; i < window.losses.size(); ++i) {
    char byte = static_cast<char>(window.tokens[i + 1]);
    std::string shown = byte == '\n' ? "\\n" : byte == '\t' ? "\\t" : escapeBytes({&byte, 1});
    std::fprintf(options.out, "%s\t%s\t%llu\t%zu\t%.6f\t%s\n", window.place.source.c_str(),
                 escapeBytes(window.place.path).c_str(), static_cast<unsigned long long>(window.place.window), i,
                 window.losses[i], shown.c_str());
  }
}

Status TokenWriter::writeJson(const WindowResult &window) {
  Json line = Json::object(), losses = Json::array(), tokens = Json::array();
  line.set("split", Json::string("validation"));
  line.set("source", Json::string(window.place.source));
  line.set("file", Json::string(escapeBytes(window.place.path)));
  line.set("window", Json::integer(static_cast<int64_t>(window.place.window)));
  line.set("offset", Json::integer(static_cast<int64_t>(window.place.offset)));
  for (int32_t token : window.tokens)
    tokens.append(Json::integer(token));
  for (double loss : window.losses)
    losses.append(Json::number(loss));
  line.set("tokens", std::move(tokens));
  line.set("losses", std::move(losses));
  if (request.logits) {
    Json rows = Json::array();
    std::string bytes(window.tokens.begin(), window.tokens.end());
    for (size_t i = 0; i < window.losses.size(); ++i) {
      MOEC_ASSIGN_OR_RETURN(std::vector<double> logits, logitsAfter(executor, bytes.substr(0, i + 1)));
      Json row = Json::array();
      for (double logit : logits)
        row.append(Json::number(logit));
      rows.append(std::move(row));
    }
    line.set("logits", std::move(rows));
  }
  std::fprintf(options.out, "%s\n", line.dump().c_str());
  return Status::ok();
}

} // namespace moec::rt
