// Reference loops of routing. I is any type that holds ids, T any float.
//
// N tokens, K slots per token, E experts, R permuted rows.
#ifndef MOEC_RUNTIME_KERNELS_ROUTINGLOOPS_H
#define MOEC_RUNTIME_KERNELS_ROUTINGLOOPS_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace moec::loops {

/// R of moe.permute for at most `slots` slots that have an id: N*K is enough for every routing.
inline int64_t permutedRows(int64_t slots, int64_t E, int64_t align) {
  return (slots + E * (align - 1) + align - 1) / align * align;
}

/// ids [N, K] -> offsets [E+1], counts [E], rowToken [R], rowSlot [R], slotRow [N, K]. Groups by expert, then token,
/// then slot; each starts at a multiple of `align`. Slots that R rows have no room for are dropped.
template <typename I>
void permute(const I *ids, I *offsets, I *counts, I *rowToken, I *rowSlot, I *slotRow, int64_t N, int64_t K, int64_t E,
             int64_t align, int64_t R) {
  for (int64_t r = 0; r < R; ++r)
    rowToken[r] = rowSlot[r] = I(-1);
  int64_t row = 0;
  for (int64_t e = 0; e < E; ++e) {
    offsets[e] = I(row);
    counts[e] = 0;
    for (int64_t i = 0; i < N * K; ++i)
      if (int64_t(ids[i]) == e) {
        slotRow[i] = I(-1);
        if (row == R)
          continue;
        rowToken[row] = I(i / K);
        rowSlot[row] = I(i);
        slotRow[i] = I(row++);
        counts[e] += 1;
      }
    row = (row + align - 1) / align * align;
  }
  offsets[E] = I(row);
  for (int64_t i = 0; i < N * K; ++i)
    if (ids[i] < 0)
      slotRow[i] = I(-1);
}

/// ids [N, K] with the slots beyond `capacity` of each expert replaced by -1: those of lowest weight (ties: the later
/// ones; NaN lowest of all), or the last ones (`byPosition`).
template <typename I, typename T>
void limitCapacity(const I *ids, const T *weights, I *out, int64_t N, int64_t K, int64_t E, int64_t capacity,
                   bool byPosition) {
  for (int64_t i = 0; i < N * K; ++i)
    out[i] = I(-1);
  for (int64_t e = 0; e < E; ++e) {
    std::vector<int64_t> slots;
    for (int64_t i = 0; i < N * K; ++i)
      if (int64_t(ids[i]) == e)
        slots.push_back(i);
    if (!byPosition)
      std::sort(slots.begin(), slots.end(), [&](int64_t a, int64_t b) {
        bool nanA = std::isnan(weights[a]), nanB = std::isnan(weights[b]);
        if (nanA || nanB || weights[a] == weights[b])
          return nanA == nanB ? a < b : nanB;
        return weights[a] > weights[b];
      });
    for (int64_t i = 0; i < std::min<int64_t>(capacity, slots.size()); ++i)
      out[slots[i]] = I(e);
  }
}

/// input [N, E] -> out [G, E]: the n-th largest of each column among the N/G rows of a group, NaN smaller than all; and
/// rows [G, E] (may be null): its row in the group, where among equal entries the earlier row comes first.
template <typename T> void columnKth(const T *input, T *out, T *rows, int64_t N, int64_t E, int64_t G, int64_t n) {
  for (int64_t g = 0; g < G; ++g)
    for (int64_t e = 0; e < E; ++e) {
      std::vector<int64_t> order;
      for (int64_t r = 0; r < N / G; ++r)
        order.push_back(r);
      auto at = [&](int64_t r) { return input[(g * (N / G) + r) * E + e]; };
      std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        bool nanA = std::isnan(at(a)), nanB = std::isnan(at(b));
        if (nanA || nanB || at(a) == at(b))
          return nanA == nanB ? a < b : nanB;
        return at(a) > at(b);
      });
      out[g * E + e] = at(order[n - 1]);
      if (rows)
        rows[g * E + e] = T(order[n - 1]);
    }
}

/// out [G, E] = how often each expert occurs in each group of N/G consecutive tokens.
template <typename I, typename C> void countIds(const I *ids, C *out, int64_t N, int64_t K, int64_t E, int64_t G) {
  for (int64_t i = 0; i < G * E; ++i)
    out[i] = 0;
  for (int64_t i = 0; i < N * K; ++i)
    if (ids[i] >= 0)
      out[i / K / (N / G) * E + int64_t(ids[i])] += 1;
}

} // namespace moec::loops

#endif
