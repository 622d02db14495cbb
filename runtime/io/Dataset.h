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
  /// `dataDir` replaces the plan's base_dir for relative paths unless empty. Nothing has been trained on.
  static Result<Dataset> open(const Plan &plan, const std::string &dataDir);

  /// Reads all files once, to tell later whether they are still the same. Before goOn() and recordAt().
  Status identify();

  /// Continues after `step` steps of the run that wrote `record`, perhaps with other weights, sources or batches.
  /// A source whose windows are no longer those that it counted is refused, or, if `restartChanged`, begins a new pass.
  /// Returns what the user should know, one sentence each.
  Result<std::vector<std::string>> goOn(const DataRecord &record, int64_t step, bool restartChanged);
  /// What has been read once `step` steps are done.
  DataRecord recordAt(int64_t step) const;
  /// Tokens trained on once `step` steps are done.
  uint64_t tokensAt(int64_t step) const;

  /// Tokens [sequences, seq_len + 1] and source indices [sequences] of the training samples from `firstSample` on, as
  /// the batch buffer wants them. Samples are numbered from step 0 of this plan.
  Status fill(uint64_t firstSample, std::span<int32_t> tokens, std::span<int32_t> domains) const;

  /// One window of the validation data, [seq_len + 1].
  Status fillValidation(Sample sample, std::span<int32_t> tokens) const;
  /// How many windows of each validation source an evaluation of the plan reads.
  const std::vector<uint64_t> &evaluated() const { return evaluationCounts; }

  /// Nats a byte that a model knowing only the byte frequencies of the training data would get on the windows of an
  /// evaluation: frequencies from the first 64 MiB of each source, weighted, plus one count each. `poll`, if there is
  /// one, is asked between pieces; what it fails with is returned.
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
