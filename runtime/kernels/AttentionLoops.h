// Causal attention and its gradient as plain loops over a full row of scores, the reference for tests of the blocked
// kernels. q, o [B*S, H*dh], k, v [B*S, G*dh], lse [B*S, H]. Query head h reads key head h / (H/G). The query at
// position i sees the keys first(i) .. i. Row-major, any floating type.
#ifndef MOEC_RUNTIME_KERNELS_ATTENTIONLOOPS_H
#define MOEC_RUNTIME_KERNELS_ATTENTIONLOOPS_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace moec::loops {

struct AttentionShape {
  int64_t B, S, H, G, dh;
  int64_t window = 0; // most keys that a query sees; 0: all keys up to it

  int64_t first(int64_t i) const { return window ? std::max<int64_t>(0, i - window + 1) : 0; }
};

template <typename T> void attention(const AttentionShape &shape, const T *q, const T *k, const T *v, T *o, T *lse) {
  auto [B, S, H, G, dh, window] = shape;
  T scale = 1 / std::sqrt(static_cast<T>(dh));
  std::vector<T> scores(S);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t i = 0; i < S; ++i) {
        int64_t row = b * S + i, g = h / (H / G);
        T most = -INFINITY, sum = 0;
        for (int64_t j = shape.first(i); j <= i; ++j) {
          T dot = 0;
          for (int64_t d = 0; d < dh; ++d)
            dot += q[(row * H + h) * dh + d] * k[((b * S + j) * G + g) * dh + d];
          scores[j] = dot * scale;
          most = std::max(most, scores[j]);
        }
        for (int64_t j = shape.first(i); j <= i; ++j)
          sum += scores[j] = std::exp(scores[j] - most);
        lse[row * H + h] = most + std::log(sum);
        for (int64_t d = 0; d < dh; ++d) {
          T total = 0;
          for (int64_t j = shape.first(i); j <= i; ++j)
            total += scores[j] * v[((b * S + j) * G + g) * dh + d];
          o[(row * H + h) * dh + d] = total / sum;
        }
      }
}

template <typename T>
void attentionGrad(const AttentionShape &shape, const T *q, const T *k, const T *v, const T *o, const T *lse,
                   const T *grad, T *dq, T *dk, T *dv) {
  auto [B, S, H, G, dh, window] = shape;
  T scale = 1 / std::sqrt(static_cast<T>(dh));
  std::fill(dq, dq + B * S * H * dh, T(0));
  std::fill(dk, dk + B * S * G * dh, T(0));
  std::fill(dv, dv + B * S * G * dh, T(0));
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t i = 0; i < S; ++i) {
        int64_t row = b * S + i, g = h / (H / G), x = (row * H + h) * dh;
        T rowSum = 0;
        for (int64_t d = 0; d < dh; ++d)
          rowSum += grad[x + d] * o[x + d];
        for (int64_t j = shape.first(i); j <= i; ++j) {
          int64_t y = ((b * S + j) * G + g) * dh;
          T dot = 0, dp = 0;
          for (int64_t d = 0; d < dh; ++d) {
            dot += q[x + d] * k[y + d];
            dp += grad[x + d] * v[y + d];
          }
          T p = std::exp(dot * scale - lse[row * H + h]), ds = scale * p * (dp - rowSum);
          for (int64_t d = 0; d < dh; ++d) {
            dq[x + d] += ds * k[y + d];
            dk[y + d] += ds * q[x + d];
            dv[y + d] += p * grad[x + d];
          }
        }
      }
}

} // namespace moec::loops

#endif
