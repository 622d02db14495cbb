#include "runtime/io/SampleOrder.h"

#include "runtime/base/Random.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace moec::rt {

uint64_t permute(uint64_t index, uint64_t size, uint64_t key) {
  if (size <= 1)
    return 0;
  int half = (std::bit_width(size - 1) + 1) / 2;
  uint64_t mask = (uint64_t{1} << half) - 1;
  uint64_t value = index;
  // The domain is less than 4 * size, so the walk takes less than 4 rounds on average. It ends: the network is a
  // permutation and the walk starts inside.
  do {
    uint64_t left = value >> half, right = value & mask;
    for (uint32_t round = 0; round < 4; ++round) {
      uint64_t mixed = philox4x32({uint32_t(right), uint32_t(right >> 32), round, 0}, key)[0];
      uint64_t next = left ^ (mixed & mask);
      left = right;
      right = next;
    }
    value = left << half | right;
  } while (value >= size);
  return value;
}

/// `part` of `whole` in units of 2^-64; never 0, and never all.
static uint64_t ratioOf(double part, long double whole) {
  long double scaled = std::ldexp(static_cast<long double>(part) / whole, 64);
  return scaled < 1 ? 1 : scaled >= 0x1p64L ? ~uint64_t{0} : static_cast<uint64_t>(scaled);
}

SampleOrder::SampleOrder(uint64_t seed, std::vector<OrderedSource> sourcesGiven)
    : seed(seed), sources(std::move(sourcesGiven)), shares(sources.size()) {
  long double rest = 0;
  for (size_t i = sources.size(); i-- > 0;) {
    if (!(sources[i].weight > 0))
      continue;
    last = rest == 0 ? i : last;
    rest += sources[i].weight;
    // The phase decides where within its even spacing a source comes first: on average, each gets its share from the
    // first sample on.
    shares[i] = {ratioOf(sources[i].weight, rest), randomBits(seed, RandomStream::DataSet, i)};
  }
}

/// Of `left` samples that the sources before leave, how many are this one's: floor(left * ratio + phase), exactly.
uint64_t SampleOrder::countOf(size_t source, uint64_t left) const {
  if (!(sources[source].weight > 0))
    return 0;
  if (source == last)
    return left;
  auto exact = static_cast<unsigned __int128>(left) * shares[source].ratio + shares[source].phase;
  return static_cast<uint64_t>(exact >> 64);
}

Sample SampleOrder::train(uint64_t number) const {
  uint64_t left = number;
  size_t chosen = 0;
  uint64_t count = 0;
  for (;; ++chosen) {
    count = countOf(chosen, left);
    if (countOf(chosen, left + 1) > count)
      break;
    left -= count;
  }
  const OrderedSource &source = sources[chosen];
  uint64_t index = source.first + count;
  uint64_t key = randomBits(seed, RandomStream::WindowOrder, index / source.windows, source.stream);
  return {static_cast<uint32_t>(chosen), permute(index % source.windows, source.windows, key)};
}

std::vector<uint64_t> SampleOrder::countsBefore(uint64_t number) const {
  std::vector<uint64_t> counts;
  for (size_t i = 0; i < sources.size(); ++i) {
    counts.push_back(countOf(i, number));
    number -= counts.back();
  }
  return counts;
}

std::vector<uint64_t> shareWindows(const std::vector<OrderedSource> &sources, uint64_t budget) {
  std::vector<uint64_t> counts(sources.size(), 0);
  std::vector<size_t> open; // sources that have more windows than they get
  for (size_t i = 0; i < sources.size(); ++i)
    if (sources[i].weight > 0)
      open.push_back(i);
  long double weight = 0;
  auto wanted = [&](size_t i) { return static_cast<long double>(budget) * sources[i].weight / weight; };
  for (auto small = open.end();; open.erase(small)) {
    weight = 0;
    for (size_t i : open)
      weight += sources[i].weight;
    small = std::find_if(open.begin(), open.end(),
                         [&](size_t i) { return static_cast<long double>(sources[i].windows) <= wanted(i); });
    if (small == open.end())
      break;
    // All that it has, which is no more than its share: those of the others do not shrink.
    counts[*small] = sources[*small].windows;
    budget -= counts[*small];
  }
  uint64_t given = 0;
  for (size_t i : open)
    given += counts[i] = std::max<uint64_t>(1, static_cast<uint64_t>(wanted(i)));
  // Whole numbers: what is left goes to the largest remainders, what is too much comes from the largest counts.
  for (; given < budget && !open.empty(); ++given) {
    size_t most = *std::max_element(open.begin(), open.end(), [&](size_t a, size_t b) {
      return wanted(a) - static_cast<long double>(counts[a]) < wanted(b) - static_cast<long double>(counts[b]);
    });
    ++counts[most];
  }
  for (; given > budget; --given)
    --*std::max_element(counts.begin(), counts.end());
  return counts;
}

std::optional<Sample> EvaluationOrder::next() {
  for (size_t passed = 0; passed <= counts.size(); ++passed) {
    if (source == counts.size()) {
      source = 0;
      ++round;
    }
    uint32_t candidate = source++;
    if (candidate < counts.size() && round < counts[candidate])
      return Sample{candidate, round};
  }
  return std::nullopt;
}

} // namespace moec::rt
