// Reference loops of the row ops (dialects/Moe/IR/MoeComputeOps.td), in plain order. T is float or double, I any type
// that holds ids. All matrices are row-major.
//
// N rows (tokens), D columns, E experts, K slots per token, R permuted rows, V vocabulary, S positions, dh columns of a
// head.
#ifndef MOEC_RUNTIME_KERNELS_ROWLOOPS_H
#define MOEC_RUNTIME_KERNELS_ROWLOOPS_H

#include "runtime/base/Philox.h"
#include "runtime/kernels/ProductLoops.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace moec::loops {

/// out [N, 1] = sum of x [N, D].
template <typename T> void rowSum(const T *x, T *out, int64_t N, int64_t D) {
  for (int64_t n = 0; n < N; ++n) {
    T sum = 0;
    for (int64_t d = 0; d < D; ++d)
      sum += x[n * D + d];
    out[n] = sum;
  }
}

/// out [N, 1] = max of x [N, D]; NaN if any is.
template <typename T> void rowMax(const T *x, T *out, int64_t N, int64_t D) {
  for (int64_t n = 0; n < N; ++n) {
    T most = -std::numeric_limits<T>::infinity();
    for (int64_t d = 0; d < D; ++d)
      if (std::isnan(x[n * D + d]) || x[n * D + d] > most)
        most = x[n * D + d];
      else if (std::isnan(most))
        break;
    out[n] = most;
  }
}

/// out [N, D] = x * rsqrt(mean(x^2) + eps) * scale [1, D].
template <typename T> void rmsNorm(const T *x, const T *scale, T *out, int64_t N, int64_t D, double eps) {
  for (int64_t n = 0; n < N; ++n) {
    T sum = 0;
    for (int64_t d = 0; d < D; ++d)
      sum += x[n * D + d] * x[n * D + d];
    T factor = 1 / std::sqrt(sum / T(D) + T(eps));
    for (int64_t d = 0; d < D; ++d)
      out[n * D + d] = x[n * D + d] * factor * scale[d];
  }
}

/// out [N, D] = exp(x - max) / sum.
template <typename T> void softmax(const T *x, T *out, int64_t N, int64_t D) {
  for (int64_t n = 0; n < N; ++n) {
    T most = -std::numeric_limits<T>::infinity(), sum = 0;
    for (int64_t d = 0; d < D; ++d)
      most = std::max(most, x[n * D + d]);
    for (int64_t d = 0; d < D; ++d)
      sum += out[n * D + d] = std::exp(x[n * D + d] - most);
    for (int64_t d = 0; d < D; ++d)
      out[n * D + d] /= sum;
  }
}

/// out [N, 1] = log(sum(exp(x))).
template <typename T> void logSumExp(const T *x, T *out, int64_t N, int64_t D) {
  for (int64_t n = 0; n < N; ++n) {
    T most = -std::numeric_limits<T>::infinity(), sum = 0;
    for (int64_t d = 0; d < D; ++d)
      most = std::max(most, x[n * D + d]);
    for (int64_t d = 0; d < D; ++d)
      sum += std::exp(x[n * D + d] - most);
    out[n] = most + std::log(sum);
  }
}

/// ids [N, K]: columns of the K largest of scores [N, E], largest first; equal ones lowest column first; NaN below
/// every number.
template <typename T, typename I> void topK(const T *scores, I *ids, int64_t N, int64_t E, int64_t K) {
  auto before = [](T a, T b) { return std::isnan(b) ? !std::isnan(a) : a > b; };
  for (int64_t n = 0; n < N; ++n) {
    std::vector<bool> taken(E, false);
    for (int64_t k = 0; k < K; ++k) {
      int64_t best = -1;
      for (int64_t e = 0; e < E; ++e)
        if (!taken[e] && (best < 0 || before(scores[n * E + e], scores[n * E + best])))
          best = e;
      taken[best] = true;
      ids[n * K + k] = static_cast<I>(best);
    }
  }
}

/// out [N, K] = x[n, ids[n, k]], 0 where the id is negative. x [N, E].
template <typename T, typename I> void take(const T *x, const I *ids, T *out, int64_t N, int64_t E, int64_t K) {
  for (int64_t i = 0; i < N * K; ++i)
    out[i] = ids[i] < 0 ? T(0) : x[i / K * E + int64_t(ids[i])];
}

/// out [N, E] = zeros, then out[n, ids[n, k]] += values[n, k] over k in order.
template <typename T, typename I> void put(const T *values, const I *ids, T *out, int64_t N, int64_t E, int64_t K) {
  for (int64_t i = 0; i < N * E; ++i)
    out[i] = 0;
  for (int64_t i = 0; i < N * K; ++i)
    if (ids[i] >= 0)
      out[i / K * E + int64_t(ids[i])] += values[i];
}

/// x, out [N, H*dh]; cos, sin [S, dh/2]; row n is position n mod S.
template <typename T>
void rope(const T *x, const T *cos, const T *sin, T *out, int64_t N, int64_t H, int64_t dh, int64_t S, bool inverse) {
  int64_t half = dh / 2;
  for (int64_t n = 0; n < N; ++n)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t i = 0; i < half; ++i) {
        const T *head = x + (n * H + h) * dh;
        T a = head[i], b = head[i + half], c = cos[n % S * half + i], s = sin[n % S * half + i];
        if (inverse)
          s = -s;
        out[(n * H + h) * dh + i] = a * c - b * s;
        out[(n * H + h) * dh + i + half] = b * c + a * s;
      }
}

/// out [N, D] = sum over k of weights[n, k] * rows[slot_row[n, k]]; weights may be null for 1.
template <typename T, typename I>
void combineRows(const T *rows, const I *slotRow, const T *weights, T *out, int64_t N, int64_t K, int64_t D) {
  for (int64_t n = 0; n < N; ++n)
    for (int64_t d = 0; d < D; ++d) {
      T sum = 0;
      for (int64_t k = 0; k < K; ++k)
        if (auto r = int64_t(slotRow[n * K + k]); r >= 0)
          sum += (weights ? weights[n * K + k] : T(1)) * rows[r * D + d];
      out[n * D + d] = sum;
    }
}

/// out [R, D] = weights[n, k] * input[n] with n*K + k = row_slot[r]; zeros for -1.
template <typename T, typename I>
void spreadRows(const T *input, const I *rowSlot, const T *weights, T *out, int64_t R, int64_t K, int64_t D) {
  for (int64_t r = 0; r < R; ++r)
    for (int64_t d = 0; d < D; ++d)
      out[r * D + d] = rowSlot[r] < 0
                           ? T(0)
                           : (weights ? weights[int64_t(rowSlot[r])] : T(1)) * input[int64_t(rowSlot[r]) / K * D + d];
}

/// out [N, K] = dot(input[n], rows[slot_row[n, k]]); 0 for -1.
template <typename T, typename I>
void dotRows(const T *input, const T *rows, const I *slotRow, T *out, int64_t N, int64_t K, int64_t D) {
  for (int64_t i = 0; i < N * K; ++i) {
    T sum = 0;
    for (int64_t d = 0; d < D && slotRow[i] >= 0; ++d)
      sum += input[i / K * D + d] * rows[int64_t(slotRow[i]) * D + d];
    out[i] = sum;
  }
}

/// out [N, C] = input[n, first + c]. input [N, S].
template <typename I> void sliceColumns(const I *input, I *out, int64_t N, int64_t S, int64_t C, int64_t first) {
  for (int64_t i = 0; i < N * C; ++i)
    out[i] = input[i / C * S + first + i % C];
}

/// Elements 0..count-1 of copy `copy` (moe.random_normal): Philox4x32-10, Box-Muller in double. With the four words w
/// of pair j: u = ((w0 | w1 << 32) >> 11) + 1, v = (w2 | w3 << 32) >> 11, both times 2^-53; r = sqrt(-2 log u); element
/// 2j = r cos(2 pi v), 2j+1 = r sin(2 pi v).
template <typename T>
void randomNormal(T *out, int64_t count, uint64_t seed, uint32_t stream, uint32_t copy, double mean, double stddev) {
  for (int64_t i = 0; i < count; ++i) {
    uint64_t j = static_cast<uint64_t>(i / 2);
    auto [w0, w1, w2, w3] = rt::philox4x32({uint32_t(j), uint32_t(j >> 32), stream, copy}, seed);
    double u = double(((uint64_t{w1} << 32 | w0) >> 11) + 1) * 0x1.0p-53;
    double v = double((uint64_t{w3} << 32 | w2) >> 11) * 0x1.0p-53;
    double angle = 2 * 3.141592653589793238 * v;
    out[i] = T(mean + stddev * std::sqrt(-2 * std::log(u)) * (i % 2 ? std::sin(angle) : std::cos(angle)));
  }
}

} // namespace moec::loops

#endif
