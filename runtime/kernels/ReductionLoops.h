// Reference loops of the reductions over rows. T is float or double, I any type that holds ids. Row-major.
//
// N rows, C columns, G groups of N/G consecutive rows, V vocabulary, D columns of an embedding.
#ifndef MOEC_RUNTIME_KERNELS_REDUCTIONLOOPS_H
#define MOEC_RUNTIME_KERNELS_REDUCTIONLOOPS_H

#include <cstdint>

namespace moec::loops {

/// out [G, C] = sums of the rows of each group of x [N, C], in order.
template <typename T> void colReduce(const T *x, T *out, int64_t N, int64_t C, int64_t G) {
  for (int64_t i = 0; i < G * C; ++i)
    out[i] = 0;
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c)
      out[n / (N / G) * C + c] += x[n * C + c];
}

/// out [V, D] = sum of the rows n of grad [N, D] with ids[n] = v, in order.
template <typename T, typename I> void embedGrad(const T *grad, const I *ids, T *out, int64_t N, int64_t V, int64_t D) {
  for (int64_t i = 0; i < V * D; ++i)
    out[i] = 0;
  for (int64_t n = 0; n < N; ++n)
    for (int64_t d = 0; d < D; ++d)
      out[int64_t(ids[n]) * D + d] += grad[n * D + d];
}

} // namespace moec::loops

#endif
