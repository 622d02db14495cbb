// Matrix products as plain loops, the reference for tests of the generated kernels. Row-major, any floating type.
#ifndef MOEC_RUNTIME_KERNELS_PRODUCTLOOPS_H
#define MOEC_RUNTIME_KERNELS_PRODUCTLOOPS_H

#include <cstdint>

namespace moec::loops {

/// c[M, N] = a[M, K] b[K, N]; `ta`: a is [K, M]; `tb`: b is [N, K].
template <typename T>
void matmul(const T *a, const T *b, T *c, int64_t M, int64_t N, int64_t K, bool ta = false, bool tb = false) {
  for (int64_t m = 0; m < M; ++m)
    for (int64_t n = 0; n < N; ++n) {
      T sum = 0;
      for (int64_t k = 0; k < K; ++k)
        sum += (ta ? a[k * M + m] : a[m * K + k]) * (tb ? b[n * K + k] : b[k * N + n]);
      c[m * N + n] = sum;
    }
}

/// result[r] = input[rows[r]], zeros for -1.
template <typename T, typename I> void gatherRows(const T *input, const I *rows, T *result, int64_t R, int64_t D) {
  for (int64_t r = 0; r < R; ++r)
    for (int64_t d = 0; d < D; ++d)
      result[r * D + d] = rows[r] < 0 ? T(0) : input[static_cast<int64_t>(rows[r]) * D + d];
}

/// Rows offsets[e] .. offsets[e+1] of c[R, N] = those of a[R, K] times w[e]; rows beyond offsets[E] stay as they are.
template <typename T, typename I>
void groupedMatmul(const T *a, const T *w, const I *offsets, T *c, int64_t E, int64_t N, int64_t K, bool tb = false) {
  for (int64_t e = 0; e < E; ++e) {
    auto first = static_cast<int64_t>(offsets[e]), last = static_cast<int64_t>(offsets[e + 1]);
    matmul(a + first * K, w + e * K * N, c + first * N, last - first, N, K, false, tb);
  }
}

/// c[e] [K, N] = the sum over the rows of expert e of a[row]^T b[row].
template <typename T, typename I>
void groupedOuter(const T *a, const T *b, const I *offsets, const I *counts, T *c, int64_t E, int64_t K, int64_t N) {
  for (int64_t e = 0; e < E; ++e) {
    auto first = static_cast<int64_t>(offsets[e]);
    matmul(a + first * K, b + first * N, c + e * K * N, K, N, static_cast<int64_t>(counts[e]), true, false);
  }
}

} // namespace moec::loops

#endif
