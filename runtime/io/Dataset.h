// The data of a run: raw files, one token a byte. A window is seq_len + 1 tokens and windows start every
// seq_len tokens, so that each token is predicted once.
// Codes: MOEC-D001 file missing or unreadable, MOEC-D002 file too short, MOEC-D003 id not in the vocabulary,
// MOEC-D005 file changed while it was in use.
#ifndef MOEC_RUNTIME_IO_DATASET_H
#define MOEC_RUNTIME_IO_DATASET_H

#include "runtime/base/File.h"
#include "runtime/base/Result.h"
#include "runtime/io/SampleOrder.h"
#include "runtime/plan/Plan.h"

#include <span>
#include <string>
#include <vector>

namespace moec::rt {

class Dataset {
public:
  /// `dataDir` replaces the plan's base_dir for relative paths unless empty.
  static Result<Dataset> open(const Plan &plan, const std::string &dataDir);

  /// Tokens [sequences, seq_len + 1] and set indices [sequences] of the samples from `firstSample` on, as the batch
  /// buffer wants them.
  Status fill(bool validation, uint64_t firstSample, std::span<int32_t> tokens, std::span<int32_t> domains) const;

  /// Nats a byte that a model knowing only the byte frequencies of the training data would get on the first
  /// `samples` validation samples: frequencies from the first 64 MiB of each set, weighted, plus one count each.
  Result<double> unigramBaseline(uint64_t samples) const;

  const SampleOrder &order(bool validation) const { return validation ? validationSplit.order : trainSplit.order; }

private:
  struct Split {
    std::vector<double> weights;
    std::vector<InputFile> files;
    SampleOrder order;

    /// MOEC-D005 when the file has become shorter since it was opened.
    Status read(size_t set, uint64_t offset, std::span<std::byte> into) const;
  };

  Dataset(const Plan &plan, Split train, Split validation);
  static Result<Split> openSplit(const Plan &plan, const std::vector<PlanDataSet> &sets, const std::string &directory);

  uint64_t seqLen, sequences, vocabulary;
  Split trainSplit, validationSplit;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_DATASET_H
