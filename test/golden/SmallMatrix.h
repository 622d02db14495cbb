// Matrices of a few dozen rows for the tests of optimizers: what they need of linear algebra, the plain way.
#ifndef MOEC_TEST_GOLDEN_SMALLMATRIX_H
#define MOEC_TEST_GOLDEN_SMALLMATRIX_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace moec::test {

struct SmallMatrix {
  int64_t rows, cols;
  std::vector<double> values;
  double &at(int64_t row, int64_t col) { return values[row * cols + col]; }
  double at(int64_t row, int64_t col) const { return values[row * cols + col]; }
};

inline SmallMatrix product(const SmallMatrix &x, const SmallMatrix &y) {
  SmallMatrix result{x.rows, y.cols, std::vector<double>(x.rows * y.cols)};
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t k = 0; k < x.cols; ++k)
      for (int64_t j = 0; j < y.cols; ++j)
        result.at(i, j) += x.at(i, k) * y.at(k, j);
  return result;
}

inline SmallMatrix transposed(const SmallMatrix &x) {
  SmallMatrix result{x.cols, x.rows, std::vector<double>(x.values.size())};
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.cols; ++j)
      result.at(j, i) = x.at(i, j);
  return result;
}

inline double frobenius(const SmallMatrix &x) {
  double sum = 0;
  for (double value : x.values)
    sum += value * value;
  return std::sqrt(sum);
}

inline double largestDifference(const SmallMatrix &x, const SmallMatrix &y) {
  double worst = x.values.size() == y.values.size() ? 0 : INFINITY;
  for (size_t i = 0; i < x.values.size() && worst < INFINITY; ++i) {
    double difference = std::fabs(x.values[i] - y.values[i]);
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  }
  return worst;
}

/// The rows of a square matrix made orthonormal, one after the other (twice, for the last digits).
inline SmallMatrix orthogonal(SmallMatrix x) {
  for (int64_t i = 0; i < x.rows; ++i) {
    for (int turn = 0; turn < 2; ++turn)
      for (int64_t other = 0; other < i; ++other) {
        double dot = 0;
        for (int64_t c = 0; c < x.cols; ++c)
          dot += x.at(i, c) * x.at(other, c);
        for (int64_t c = 0; c < x.cols; ++c)
          x.at(i, c) -= dot * x.at(other, c);
      }
    double norm = 0;
    for (int64_t c = 0; c < x.cols; ++c)
      norm += x.at(i, c) * x.at(i, c);
    for (int64_t c = 0; c < x.cols; ++c)
      x.at(i, c) /= std::sqrt(norm);
  }
  return x;
}

/// All min(rows, cols) of them, smallest first: one-sided Jacobi on the shorter side.
inline std::vector<double> singularValues(SmallMatrix x) {
  if (x.rows > x.cols)
    x = transposed(x);
  for (int sweep = 0; sweep < 60; ++sweep)
    for (int64_t i = 0; i < x.rows; ++i)
      for (int64_t j = i + 1; j < x.rows; ++j) {
        double a = 0, b = 0, c = 0;
        for (int64_t k = 0; k < x.cols; ++k) {
          a += x.at(i, k) * x.at(i, k);
          b += x.at(j, k) * x.at(j, k);
          c += x.at(i, k) * x.at(j, k);
        }
        if (std::fabs(c) <= 1e-15 * std::sqrt(a * b))
          continue;
        double angle = 0.5 * std::atan2(2 * c, a - b), cosine = std::cos(angle), sine = std::sin(angle);
        for (int64_t k = 0; k < x.cols; ++k) {
          double first = x.at(i, k), second = x.at(j, k);
          x.at(i, k) = cosine * first + sine * second;
          x.at(j, k) = cosine * second - sine * first;
        }
      }
  std::vector<double> values;
  for (int64_t i = 0; i < x.rows; ++i) {
    double sum = 0;
    for (int64_t k = 0; k < x.cols; ++k)
      sum += x.at(i, k) * x.at(i, k);
    values.push_back(std::sqrt(sum));
  }
  std::sort(values.begin(), values.end());
  return values;
}

} // namespace moec::test

#endif
