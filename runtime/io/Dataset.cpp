#include "runtime/io/Dataset.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

namespace moec::rt {

static constexpr uint64_t kUnigramBytes = 64u << 20, kReadBytes = 1u << 20;

Dataset::Dataset(const Plan &plan, Split train, Split validation)
    : seqLen(plan.data.seqLen), sequences(plan.data.sequences), vocabulary(plan.vocabulary()),
      trainSplit(std::move(train)), validationSplit(std::move(validation)) {}

Result<Dataset::Split> Dataset::openSplit(const Plan &plan, const std::vector<PlanDataSet> &sets,
                                          const std::string &directory) {
  std::vector<double> weights;
  std::vector<InputFile> files;
  std::vector<uint64_t> windows;
  for (const PlanDataSet &set : sets) {
    std::string path = (std::filesystem::path(directory) / set.path).string();
    Result<InputFile> file = InputFile::open(path);
    if (!file.isOk())
      return Status::error("MOEC-D001", path, "data set \"", set.name, "\": ", file.status().message(),
                           "; the spec names it \"", set.path, "\" relative to \"", directory,
                           "\", --data-dir looks elsewhere");
    uint64_t size = file->size();
    if (size < plan.data.seqLen + 1)
      return Status::error("MOEC-D002", path, "data set \"", set.name, "\" has ", size, " bytes, one window needs ",
                           plan.data.seqLen + 1, "; use a longer file or a smaller seq_len");
    weights.push_back(set.weight);
    files.push_back(std::move(file).value());
    windows.push_back((size - 1) / plan.data.seqLen);
  }
  SampleOrder order(plan.seed, std::move(windows), weights);
  return Split{std::move(weights), std::move(files), std::move(order)};
}

Result<Dataset> Dataset::open(const Plan &plan, const std::string &dataDir) {
  const std::string &directory = dataDir.empty() ? plan.data.baseDir : dataDir;
  MOEC_ASSIGN_OR_RETURN(Split train, openSplit(plan, plan.data.train, directory));
  MOEC_ASSIGN_OR_RETURN(Split validation, openSplit(plan, plan.data.validation, directory));
  return Dataset(plan, std::move(train), std::move(validation));
}

Status Dataset::Split::read(size_t set, uint64_t offset, std::span<std::byte> into) const {
  const InputFile &file = files[set];
  Status status = file.read(offset, into);
  if (status.isOk())
    return status;
  return Status::error("MOEC-D005", file.path(), "the file had ", file.size(), " bytes when it was opened, now ",
                       into.size(), " bytes at offset ", offset, " cannot be read (", status.message(),
                       "); data must stay as they are while they are in use");
}

Status Dataset::fill(bool validation, uint64_t firstSample, std::span<int32_t> batchTokens,
                     std::span<int32_t> domains) const {
  const Split &split = validation ? validationSplit : trainSplit;
  std::vector<std::byte> window(seqLen + 1);
  for (uint64_t row = 0; row < sequences; ++row) {
    uint64_t number = firstSample + row;
    Sample sample = validation ? split.order.validation(number) : split.order.train(number);
    MOEC_RETURN_IF_ERROR(split.read(sample.set, sample.window * seqLen, window));
    int32_t *tokens = batchTokens.data() + row * (seqLen + 1);
    uint32_t highest = 0;
    for (uint64_t i = 0; i <= seqLen; ++i) {
      auto id = std::to_integer<uint32_t>(window[i]);
      highest = std::max(highest, id);
      tokens[i] = static_cast<int32_t>(id);
    }
    if (highest >= vocabulary)
      return Status::error("MOEC-D003", split.files[sample.set].path(), "byte ", highest, " between offsets ",
                           sample.window * seqLen, " and ", sample.window * seqLen + seqLen,
                           " is not in the vocabulary of ", vocabulary, " ids; raise vocab_size in the spec to 256");
    domains[row] = static_cast<int32_t>(sample.set);
  }
  return Status::ok();
}

Result<double> Dataset::unigramBaseline(uint64_t samples) const {
  std::array<double, 256> weighted{};
  double totalWeight = 0, totalBytes = 0;
  std::vector<std::byte> part;
  for (double weight : trainSplit.weights)
    totalWeight += weight;
  for (size_t i = 0; i < trainSplit.files.size(); ++i) {
    uint64_t bytes = std::min<uint64_t>(trainSplit.files[i].size(), kUnigramBytes);
    std::array<uint64_t, 256> counts{};
    for (uint64_t at = 0; at < bytes; at += part.size()) {
      part.resize(std::min<uint64_t>(bytes - at, kReadBytes));
      MOEC_RETURN_IF_ERROR(trainSplit.read(i, at, part));
      for (std::byte byte : part)
        ++counts[std::to_integer<size_t>(byte)];
    }
    auto size = static_cast<double>(bytes);
    for (size_t id = 0; id < 256; ++id)
      weighted[id] += trainSplit.weights[i] / totalWeight * static_cast<double>(counts[id]) / size;
    totalBytes += size;
  }

  std::array<uint64_t, 256> targets{};
  uint64_t total = 0;
  for (uint64_t number = 0; number < samples && total < kUnigramBytes; ++number, total += seqLen) {
    Sample sample = validationSplit.order.validation(number);
    part.resize(seqLen);
    MOEC_RETURN_IF_ERROR(validationSplit.read(sample.set, sample.window * seqLen + 1, part));
    for (std::byte byte : part)
      ++targets[std::to_integer<size_t>(byte)];
  }
  double nats = 0;
  for (size_t id = 0; id < 256; ++id)
    nats -= static_cast<double>(targets[id]) * std::log((weighted[id] * totalBytes + 1) / (totalBytes + 256));
  return total == 0 ? 0 : nats / static_cast<double>(total);
}

} // namespace moec::rt
