#include "runtime/io/Dataset.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace moec::rt {

static constexpr uint64_t kUnigramBytes = 64u << 20;

Result<Dataset> Dataset::open(const Plan &plan, const std::string &dataDir) {
  const std::string &directory = dataDir.empty() ? plan.data.baseDir : dataDir;
  MOEC_ASSIGN_OR_RETURN(DataFiles train, DataFiles::open(plan.data.train, plan.data.seqLen, directory));
  MOEC_ASSIGN_OR_RETURN(DataFiles validation, DataFiles::open(plan.data.validation, plan.data.seqLen, directory));
  return Dataset(plan, std::move(train), std::move(validation));
}

Dataset::Dataset(const Plan &plan, DataFiles train, DataFiles validation)
    : seqLen(plan.data.seqLen), sequences(plan.data.sequences), vocabulary(plan.vocabulary()),
      trainFiles(std::move(train)), validationFiles(std::move(validation)), order(plan.seed, trainFiles.ordered()) {
  state = freshRecord(plan.seed);
  state.sequences = plan.sequencesPerStep();
  if (plan.evaluation)
    evaluationCounts = shareWindows(validationFiles.ordered(), plan.evaluation->batches * sequences);
}

DataRecord Dataset::freshRecord(uint64_t seed) const {
  DataRecord record;
  record.seed = seed;
  record.seqLen = seqLen;
  for (const OrderedSource &source : trainFiles.ordered())
    record.train.push_back({trainFiles.name(source.stream), source.weight, source.stream, source.windows, 0, 0, {}});
  for (size_t i = 0; i < validationFiles.size(); ++i)
    record.validation.push_back({validationFiles.name(i), validationFiles.weight(i), 0, 0, 0, 0, {}});
  return record;
}

Status Dataset::identify() {
  MOEC_ASSIGN_OR_RETURN(auto train, trainFiles.identify());
  MOEC_ASSIGN_OR_RETURN(auto validation, validationFiles.identify());
  for (size_t i = 0; i < train.size(); ++i)
    state.train[i].files = std::move(train[i]);
  for (size_t i = 0; i < validation.size(); ++i)
    state.validation[i].files = std::move(validation[i]);
  return Status::ok();
}

void Dataset::makeOrder() {
  std::vector<OrderedSource> sources;
  for (size_t i = 0; i < trainFiles.size(); ++i) {
    const SourceRecord &source = state.train[i];
    sources.push_back({source.windows, source.weight, source.stream, source.began});
  }
  order = SampleOrder(state.seed, std::move(sources));
}

uint64_t Dataset::tokensAt(int64_t step) const {
  return state.sinceTokens + static_cast<uint64_t>(step - state.sinceStep) * state.sequences * seqLen;
}

DataRecord Dataset::recordAt(int64_t step) const {
  DataRecord record = state;
  record.tokens = tokensAt(step);
  std::vector<uint64_t> counts = order.countsBefore(static_cast<uint64_t>(step - state.sinceStep) * state.sequences);
  for (size_t i = 0; i < counts.size(); ++i)
    record.train[i].read = record.train[i].began + counts[i];
  return record;
}

/// Index of the first file that differs, or nothing.
static std::optional<size_t> firstChange(const std::vector<FileIdentity> &before,
                                         const std::vector<FileIdentity> &now) {
  size_t common = std::min(before.size(), now.size());
  for (size_t i = 0; i < common; ++i)
    if (!before[i].isSame(now[i]))
      return i;
  return before.size() == now.size() ? std::nullopt : std::optional(common);
}

/// The error for it: which file differs, and how.
static Status describeChange(const SourceRecord &old, const SourceRecord &now, size_t at, const std::string &rest) {
  std::string set = "data set \"" + now.name + "\": ";
  if (at >= now.files.size())
    return Status::error("MOEC-D007", old.files[at].path, set,
                         "this file was read when the checkpoint was written, "
                         "now the data set has ",
                         now.files.size(), " files and had ", old.files.size(), rest);
  const FileIdentity &file = now.files[at];
  if (at >= old.files.size())
    return Status::error("MOEC-D007", file.path, set, "this file is new since the checkpoint was written", rest);
  if (old.files[at].bytes != file.bytes)
    return Status::error("MOEC-D007", file.path, set, "this file has changed since the checkpoint was written: it had ",
                         old.files[at].bytes, " bytes, now ", file.bytes, rest);
  return Status::error("MOEC-D007", file.path, set, "this file has changed since the checkpoint was written: it has ",
                       file.bytes, " bytes as before, but other contents", rest);
}

/// Transfers the place of a source to the present spec, if the place is still valid.
Status Dataset::takeOver(const SourceRecord &old, const DataRecord &record, bool restartChanged, SourceRecord &source,
                         std::vector<std::string> &notes) const {
  source.stream = old.stream;
  if (!(source.weight > 0)) { // not read now; its place is kept for later
    source.windows = old.windows;
    source.files = old.files;
    source.began = old.read;
    return Status::ok();
  }
  // A source that was never read has nothing to compare with.
  std::optional<size_t> changed = old.windows > 0 ? firstChange(old.files, source.files) : std::nullopt;
  uint64_t windows = std::max<uint64_t>(old.windows, 1), done = old.read % windows;
  if (!changed && (source.windows == old.windows || old.windows == 0)) {
    source.began = old.read;
    return Status::ok();
  }
  std::string lost = " Of pass " + std::to_string(old.read / windows + 1) + ", " + std::to_string(done) + " of " +
                     std::to_string(windows) + " windows were read";
  std::string advice = "." + lost +
                       ": a place among other windows means nothing. Bring back what it was, or begin a "
                       "new pass over this data set with --restart-data";
  Status refused = changed
                       ? describeChange(old, source, *changed, advice)
                       : Status::error("MOEC-C025", "data." + source.name, "seq_len was ", record.seqLen, ", is now ",
                                       seqLen, ", which makes other windows of data set \"", source.name, "\"", advice);
  // Between two passes another seq_len does no harm; changed contents are reported in any case.
  if (!restartChanged && (changed || done > 0))
    return refused;
  uint64_t passes = (old.read + windows - 1) / windows;
  source.began = passes * source.windows;
  notes.push_back("data set \"" + source.name + "\" begins a new pass of " + std::to_string(source.windows) +
                  " windows." + lost);
  return Status::ok();
}

/// Whether weights, sources and batches are those of the record, so that samples simply continue.
bool Dataset::isSameOrder(const DataRecord &record) const {
  if (record.sequences != state.sequences || record.seqLen != seqLen || record.train.size() < state.train.size())
    return false;
  for (size_t i = 0; i < record.train.size(); ++i) {
    const SourceRecord &old = record.train[i];
    bool known = i < state.train.size();
    if (old.weight != (known ? state.train[i].weight : 0) || (known && old.name != state.train[i].name) ||
        (known && old.weight > 0 && firstChange(old.files, state.train[i].files)))
      return false;
  }
  return true;
}

static const SourceRecord *findNamed(const std::vector<SourceRecord> &sources, const std::string &name) {
  auto it = std::find_if(sources.begin(), sources.end(), [&](const SourceRecord &s) { return s.name == name; });
  return it == sources.end() ? nullptr : &*it;
}

/// The source of the record that this source continues: the one with the same name, otherwise a renamed one with the
/// same files.
static const SourceRecord *findBefore(const DataRecord &record, const DataRecord &now, const SourceRecord &source) {
  if (const SourceRecord *same = findNamed(record.train, source.name))
    return same;
  for (const SourceRecord &old : record.train)
    if (!findNamed(now.train, old.name) && !old.files.empty() && !firstChange(old.files, source.files))
      return &old;
  return nullptr;
}

Result<std::vector<std::string>> Dataset::goOn(const DataRecord &record, int64_t step, bool restartChanged) {
  std::vector<std::string> notes;
  for (const SourceRecord &source : state.validation)
    if (const SourceRecord *old = findNamed(record.validation, source.name); old && source.weight > 0)
      if (std::optional<size_t> at = old->files.empty() ? std::nullopt : firstChange(old->files, source.files)) {
        Status change = describeChange(*old, source, *at, "; validation losses before and after are not comparable");
        notes.push_back("warning: " + change.place() + ": validation " + change.message());
      }
  DataRecord next = state;
  next.seed = record.seed;
  if (isSameOrder(record)) {
    next.sinceStep = record.sinceStep;
    next.sinceTokens = record.sinceTokens;
    for (size_t i = 0; i < record.train.size(); ++i)
      if (i < next.train.size() && next.train[i].weight > 0) {
        next.train[i].stream = record.train[i].stream;
        next.train[i].began = record.train[i].began;
      } else if (i < next.train.size()) {
        next.train[i] = record.train[i];
      } else {
        next.train.push_back(record.train[i]);
      }
  } else {
    next.sinceStep = step;
    next.sinceTokens = record.tokens;
    std::vector<const SourceRecord *> continued;
    uint32_t free = 0;
    for (const SourceRecord &old : record.train)
      free = std::max(free, old.stream + 1);
    for (SourceRecord &source : next.train) {
      const SourceRecord *old = findBefore(record, state, source);
      continued.push_back(old);
      if (old)
        MOEC_RETURN_IF_ERROR(takeOver(*old, record, restartChanged, source, notes));
      else
        source.stream = free++;
    }
    // The place of a removed source is kept, because the source may come back.
    for (const SourceRecord &old : record.train)
      if (std::find(continued.begin(), continued.end(), &old) == continued.end()) {
        next.train.push_back(old);
        next.train.back().weight = 0;
        next.train.back().began = old.read;
      }
  }
  state = std::move(next);
  makeOrder();
  return notes;
}

Status Dataset::copyTokens(const DataFiles &files, Sample sample, std::span<int32_t> tokens) const {
  std::vector<std::byte> window(seqLen + 1);
  MOEC_RETURN_IF_ERROR(files.read(sample, window));
  uint32_t highest = 0;
  for (uint64_t i = 0; i <= seqLen; ++i) {
    auto id = std::to_integer<uint32_t>(window[i]);
    highest = std::max(highest, id);
    tokens[i] = static_cast<int32_t>(id);
  }
  if (highest < vocabulary)
    return Status::ok();
  WindowPlace place = files.place(sample);
  return Status::error("MOEC-D003", place.path, "byte ", highest, " between offsets ", place.offset, " and ",
                       place.offset + seqLen, " is not in the vocabulary of ", vocabulary,
                       " ids; raise vocab_size in the spec to 256");
}

Status Dataset::fill(uint64_t firstSample, std::span<int32_t> tokens, std::span<int32_t> domains) const {
  for (uint64_t row = 0; row < sequences; ++row) {
    Sample sample = trainSample(firstSample + row);
    MOEC_RETURN_IF_ERROR(copyTokens(trainFiles, sample, tokens.subspan(row * (seqLen + 1), seqLen + 1)));
    domains[row] = static_cast<int32_t>(sample.source);
  }
  return Status::ok();
}

Status Dataset::fillValidation(Sample sample, std::span<int32_t> tokens) const {
  return copyTokens(validationFiles, sample, tokens);
}

Result<double> Dataset::unigramBaseline(const std::function<Status()> &poll) const {
  std::array<double, 256> weighted{};
  double totalWeight = 0, totalBytes = 0;
  for (size_t i = 0; i < trainFiles.size(); ++i)
    totalWeight += trainFiles.weight(i);
  for (size_t i = 0; i < trainFiles.size(); ++i) {
    if (!(trainFiles.weight(i) > 0))
      continue;
    if (poll)
      MOEC_RETURN_IF_ERROR(poll());
    std::array<uint64_t, 256> counts{};
    MOEC_ASSIGN_OR_RETURN(uint64_t bytes, trainFiles.countBytes(i, kUnigramBytes, counts));
    for (size_t id = 0; id < 256; ++id)
      weighted[id] += trainFiles.weight(i) / totalWeight * static_cast<double>(counts[id]) / static_cast<double>(bytes);
    totalBytes += static_cast<double>(bytes);
  }

  // One source at a time, since weights apply to the means of sources.
  std::vector<double> nats(validationFiles.size(), 0);
  std::vector<std::byte> window(seqLen + 1);
  EvaluationOrder windows(evaluationCounts);
  while (std::optional<Sample> sample = windows.next()) {
    if (poll)
      MOEC_RETURN_IF_ERROR(poll());
    MOEC_RETURN_IF_ERROR(validationFiles.read(*sample, window));
    for (std::byte byte : std::span(window).subspan(1)) {
      double share = (weighted[std::to_integer<size_t>(byte)] * totalBytes + 1) / (totalBytes + 256);
      nats[sample->source] -= std::log(share);
    }
  }
  double sum = 0, weights = 0;
  for (size_t i = 0; i < nats.size(); ++i)
    weights += validationFiles.weight(i);
  for (size_t i = 0; i < nats.size(); ++i)
    if (evaluationCounts[i] > 0)
      sum += validationFiles.weight(i) / weights * nats[i] / static_cast<double>(evaluationCounts[i] * seqLen);
  return sum;
}

} // namespace moec::rt
