// Reference loops of plans and decompositions. T is any float; compute in f64 for a reference.
#ifndef MOEC_RUNTIME_KERNELS_DECOMPOSITIONLOOPS_H
#define MOEC_RUNTIME_KERNELS_DECOMPOSITIONLOOPS_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace moec::loops {

/// scores [N, E] -> plan [N, E]: log v and log u in turn, as moe.sinkhorn says. Returns how many pairs of updates it
/// took.
template <typename T>
int64_t sinkhorn(const T *scores, T *plan, int64_t N, int64_t E, double xi, int64_t maxIters, double tol) {
  std::vector<double> logU(N, 0.0), logV(E);
  double share = double(N) / double(E);
  auto sumExp = [](int64_t count, auto at) {
    double most = at(0), sum = 0;
    for (int64_t i = 1; i < count; ++i)
      most = std::max(most, at(i));
    for (int64_t i = 0; i < count; ++i)
      sum += std::exp(at(i) - most);
    return most + std::log(sum);
  };
  auto logPlan = [&](int64_t r, int64_t e) { return scores[r * E + e] / xi + logU[r] + logV[e]; };
  int64_t pairs = 0;
  for (double error = INFINITY; pairs < maxIters && !(error < tol); ++pairs) {
    for (int64_t e = 0; e < E; ++e)
      logV[e] = std::log(share) - sumExp(N, [&](int64_t r) { return scores[r * E + e] / xi + logU[r]; });
    for (int64_t r = 0; r < N; ++r)
      logU[r] = -sumExp(E, [&](int64_t e) { return scores[r * E + e] / xi + logV[e]; });
    double squares = 0;
    for (int64_t e = 0; e < E; ++e) {
      double sum = -share;
      for (int64_t r = 0; r < N; ++r)
        sum += std::exp(logPlan(r, e));
      squares += sum * sum;
    }
    for (int64_t r = 0; r < N; ++r) {
      double sum = -1;
      for (int64_t e = 0; e < E; ++e)
        sum += std::exp(logPlan(r, e));
      squares += sum * sum;
    }
    error = std::sqrt(squares);
  }
  for (int64_t r = 0; r < N; ++r)
    for (int64_t e = 0; e < E; ++e)
      plan[r * E + e] = T(std::exp(logPlan(r, e)));
  return pairs;
}

/// q [M, N] and the diagonal of r [N] of a [M, N] = q r, by Householder reflections; the diagonal is positive. For full
/// rank.
template <typename T> void qr(const T *a, T *q, T *diagonal, int64_t M, int64_t N) {
  std::vector<double> work(a, a + M * N);
  std::vector<std::vector<double>> reflections;
  for (int64_t j = 0; j < N; ++j) {
    std::vector<double> v(M, 0.0);
    double norm = 0;
    for (int64_t r = j; r < M; ++r) {
      v[r] = work[r * N + j];
      norm += v[r] * v[r];
    }
    norm = std::sqrt(norm);
    v[j] += v[j] < 0 ? -norm : norm;
    double size = 0;
    for (double x : v)
      size += x * x;
    for (int64_t c = j; c < N; ++c) {
      double dot = 0;
      for (int64_t r = j; r < M; ++r)
        dot += v[r] * work[r * N + c];
      for (int64_t r = j; r < M; ++r)
        work[r * N + c] -= 2 * dot / size * v[r];
    }
    reflections.push_back(v);
  }
  for (int64_t c = 0; c < N; ++c) {
    std::vector<double> column(M, 0.0);
    column[c] = 1;
    for (int64_t j = N - 1; j >= 0; --j) {
      const std::vector<double> &v = reflections[j];
      double dot = 0, size = 0;
      for (int64_t r = 0; r < M; ++r) {
        dot += v[r] * column[r];
        size += v[r] * v[r];
      }
      for (int64_t r = 0; r < M; ++r)
        column[r] -= 2 * dot / size * v[r];
    }
    double sign = work[c * N + c] < 0 ? -1 : 1;
    diagonal[c] = T(sign * work[c * N + c]);
    for (int64_t r = 0; r < M; ++r)
      q[r * N + c] = T(sign * column[r]);
  }
}

} // namespace moec::loops

#endif
