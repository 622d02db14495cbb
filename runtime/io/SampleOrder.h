// Which window of which source a sample is. docs/data.md has the laws that hold here, each with a number.
//
// Training is a pure function of the sample's number, O(sources): resuming needs no state and any layout of workers
// sees the same data.
//   source = the one whose count grows at this sample; counts follow the weights as evenly as whole numbers can
//   index  = how many samples of this source came before
//   window = permutation[seed, source, index div windows](index mod windows)
// Since a source counts its own samples, a pass shows each of its windows once, whatever the other sources do.
#ifndef MOEC_RUNTIME_IO_SAMPLEORDER_H
#define MOEC_RUNTIME_IO_SAMPLEORDER_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace moec::rt {

struct Sample {
  uint32_t source = 0;
  uint64_t window = 0;
};

/// A keyed permutation of [0, size): a Feistel network over the next even number of bits, walked until it lands inside.
uint64_t permute(uint64_t index, uint64_t size, uint64_t key);

struct OrderedSource {
  uint64_t windows = 0; // 1 or more, unless the weight is 0
  double weight = 0;    // relative to the others; 0 is never drawn
  uint32_t stream = 0;  // tells its permutations from those of other sources
  uint64_t first = 0;   // samples taken from it before sample 0
};

class SampleOrder {
public:
  SampleOrder(uint64_t seed, std::vector<OrderedSource> sources);

  Sample train(uint64_t number) const;
  /// How many of the samples 0 .. number - 1 each source gave.
  std::vector<uint64_t> countsBefore(uint64_t number) const;

private:
  struct Share {
    uint64_t ratio = 0, phase = 0; // of 2^64; of what the sources before leave
  };
  uint64_t countOf(size_t source, uint64_t left) const;

  uint64_t seed;
  std::vector<OrderedSource> sources;
  std::vector<Share> shares;
  size_t last = 0; // the last source with a weight: takes what is left
};

/// How many windows of each source an evaluation reads, `budget` in all at most: in proportion to the weights, at least
/// one of each with a weight above 0 (there must be room), never more than a source has. What a short source leaves
/// goes to the others.
std::vector<uint64_t> shareWindows(const std::vector<OrderedSource> &sources, uint64_t budget);

/// The windows of an evaluation: the first ones of each source in the order of the file, sources taking turns.
class EvaluationOrder {
public:
  explicit EvaluationOrder(std::vector<uint64_t> counts) : counts(std::move(counts)) {}
  /// Nothing when all have come.
  std::optional<Sample> next();

private:
  std::vector<uint64_t> counts;
  uint64_t round = 0;
  uint32_t source = 0;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_SAMPLEORDER_H
