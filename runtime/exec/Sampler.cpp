#include "runtime/exec/Sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace moec::rt {

uint32_t sampleToken(std::span<const double> logits, double temperature, uint32_t topK, double uniform) {
  std::vector<uint32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::sort(ids.begin(), ids.end(), [&](uint32_t a, uint32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; // the same on every machine
  });
  if (temperature <= 0)
    return ids.front();
  if (topK > 0 && topK < ids.size())
    ids.resize(topK);

  std::vector<double> weights;
  double total = 0;
  for (uint32_t id : ids)
    total += weights.emplace_back(std::exp((logits[id] - logits[ids.front()]) / temperature));
  double left = uniform * total;
  for (size_t i = 0; i < ids.size(); ++i)
    if ((left -= weights[i]) < 0)
      return ids[i];
  return ids.front(); // rounding ate the tail: the likeliest
}

} // namespace moec::rt
