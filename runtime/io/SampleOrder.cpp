#include "runtime/io/SampleOrder.h"

#include "runtime/base/Random.h"

#include <bit>

namespace moec::rt {

uint64_t permute(uint64_t index, uint64_t size, uint64_t key) {
  if (size <= 1)
    return 0;
  int half = (std::bit_width(size - 1) + 1) / 2;
  uint64_t mask = (uint64_t{1} << half) - 1;
  PhiloxKey philoxKey = {uint32_t(key), uint32_t(key >> 32)};
  uint64_t value = index;
  // The domain is less than 4 * size, so the walk takes less than 4 rounds on average. It ends: the network is a
  // permutation and the walk starts inside.
  do {
    uint64_t left = value >> half, right = value & mask;
    for (uint32_t round = 0; round < 4; ++round) {
      uint64_t mixed = philox4x32({uint32_t(right), uint32_t(right >> 32), round, 0}, philoxKey)[0];
      uint64_t next = left ^ (mixed & mask);
      left = right;
      right = next;
    }
    value = left << half | right;
  } while (value >= size);
  return value;
}

SampleOrder::SampleOrder(uint64_t seed, std::vector<uint64_t> windows, const std::vector<double> &weights)
    : seed(seed), windows(std::move(windows)) {
  double total = 0, sum = 0;
  std::size_t lastUsed = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    total += weights[i];
    if (weights[i] > 0)
      lastUsed = i;
  }
  for (double weight : weights)
    upTo.push_back((sum += weight) / total);
  // Rounding must not leave a gap below 1 that would fall to a set of weight 0.
  for (std::size_t i = lastUsed; i < upTo.size(); ++i)
    upTo[i] = 1;
}

Sample SampleOrder::train(uint64_t number) const {
  double draw = randomUniform(seed, RandomStream::DataSet, number);
  uint32_t set = 0;
  while (set + 1 < upTo.size() && draw >= upTo[set])
    ++set;
  uint64_t epoch = number / windows[set];
  uint64_t key = randomBits(seed, RandomStream::WindowOrder, epoch, set);
  return {set, permute(number % windows[set], windows[set], key)};
}

Sample SampleOrder::validation(uint64_t number) const {
  auto set = static_cast<uint32_t>(number % windows.size());
  return {set, number / windows.size() % windows[set]};
}

} // namespace moec::rt
