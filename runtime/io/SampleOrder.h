// Which window of which data set a training sample is: a pure function of (seed, sample number), O(1), so that resuming
// needs no cursor and any layout of workers sees the same data.
//
//   set    = weighted draw by Philox(seed, sample)
//   epoch  = sample / windows(set)
//   window = permutation[seed, set, epoch](sample mod windows(set))
//
// Since the sample number itself indexes the permutation, no window of a set comes twice within an epoch of
// `windows(set)` global samples; a set of weight w shows about w of its windows in each.
#ifndef MOEC_RUNTIME_IO_SAMPLEORDER_H
#define MOEC_RUNTIME_IO_SAMPLEORDER_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace moec::rt {

struct Sample {
  uint32_t set = 0;
  uint64_t window = 0;
};

/// A keyed permutation of [0, size): a Feistel network over the next even number of bits, walked until it lands inside.
uint64_t permute(uint64_t index, uint64_t size, uint64_t key);

class SampleOrder {
public:
  /// `windows` and `weights` have one entry for each set; sets of weight 0 are never drawn.
  SampleOrder(uint64_t seed, std::vector<uint64_t> windows, const std::vector<double> &weights);

  Sample train(uint64_t number) const;
  /// In order, round-robin over the sets, no randomness; starts over in a set that has run out.
  Sample validation(uint64_t number) const;

private:
  uint64_t seed;
  std::vector<uint64_t> windows;
  std::vector<double> upTo; // cumulative weights, the last is 1
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_SAMPLEORDER_H
