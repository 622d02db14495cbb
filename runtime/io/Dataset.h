// The data of a run: which windows a training step reads, where a resumed run goes on, which windows an evaluation
// reads. docs/data.md has the laws.
// Codes: those of DataFiles.h, MOEC-D003 id not in the vocabulary, MOEC-D007 a file holds other bytes than when the
// checkpoint was written, MOEC-C025 a place in the data means nothing with this seq_len.
#ifndef MOEC_RUNTIME_IO_DATASET_H
#define MOEC_RUNTIME_IO_DATASET_H

#include "runtime/io/DataFiles.h"

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace moec::rt {

class Dataset {
public:
  /// `dataDir` replaces the plan's base_dir for relative paths unless empty. The result is at the start of training.
  static Result<Dataset> open(const Plan &plan, const std::string &dataDir);

  /// Reads all files once, so that later changes can be detected. Call it before goOn() and recordAt().
  Status identify();

  /// Continues after `step` steps of the run that wrote `record`, perhaps with other weights, sources or batches.
  /// A source whose windows have changed is refused or, if `restartChanged`, begins a new pass. Returns notes for the
  /// user, one sentence each.
  Result<std::vector<std::string>> goOn(const DataRecord &record, int64_t step, bool restartChanged);
  /// The record of the data read after `step` steps.
  DataRecord recordAt(int64_t step) const;
  /// Tokens trained on after `step` steps.
  uint64_t tokensAt(int64_t step) const;

  /// Tokens [sequences, seq_len + 1] and source indices [sequences] of the training samples from `firstSample` on, in
  /// the layout of the batch buffer. Samples are numbered from step 0 of this plan.
  Status fill(uint64_t firstSample, std::span<int32_t> tokens, std::span<int32_t> domains) const;

  /// One window of the validation data, [seq_len + 1].
  Status fillValidation(Sample sample, std::span<int32_t> tokens) const;
  /// The number of windows of each validation source that an evaluation of the plan reads.
  const std::vector<uint64_t> &evaluated() const { return evaluationCounts; }

  /// The loss in nats per byte, on the windows of an evaluation, of a model that knows only the byte frequencies of the
  /// training data. The frequencies come from the first 64 MiB of each source, weighted, plus one count for each byte
  /// value. `poll`, if given, is called between pieces; its failure is returned.
  Result<double> unigramBaseline(const std::function<Status()> &poll = {}) const;

  const DataFiles &train() const { return trainFiles; }
  const DataFiles &validation() const { return validationFiles; }
  Sample trainSample(uint64_t number) const { return order.train(number - firstNumber()); }

private:
  Dataset(const Plan &plan, DataFiles train, DataFiles validation);
  Status copyTokens(const DataFiles &files, Sample sample, std::span<int32_t> tokens) const;
  uint64_t firstNumber() const { return static_cast<uint64_t>(state.sinceStep) * state.sequences; }
  DataRecord freshRecord(uint64_t seed) const;
  bool isSameOrder(const DataRecord &record) const;
  Status takeOver(const SourceRecord &old, const DataRecord &record, bool restartChanged, SourceRecord &source,
                  std::vector<std::string> &notes) const;
  void makeOrder();

  uint64_t seqLen, sequences, vocabulary;
  DataFiles trainFiles, validationFiles;
  DataRecord state; // as of state.sinceStep
  SampleOrder order;
  std::vector<uint64_t> evaluationCounts;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_DATASET_H
