#include "Compare.h"

#include <algorithm>
#include <cmath>

namespace moec::rt::test {

namespace {
/// Both norms of the finite elements.
struct Size {
  double squares = 0, most = 0;

  void add(double value) {
    if (!std::isfinite(value))
      return;
    squares += value * value;
    most = std::max(most, std::abs(value));
  }
};

/// Where there is nothing to be relative to, the error itself.
double ratio(double error, double size) { return size == 0 ? error : error / size; }
} // namespace

Difference compareFloats(const std::vector<double> &want, const std::vector<double> &have,
                         const std::vector<double> &mask, const std::vector<double> &terms) {
  Difference found;
  Size off, wanted, made;
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::isnan(mask[i]))
      continue;
    if (std::isfinite(want[i]) != std::isfinite(have[i])) {
      ++found.notFinite;
      continue;
    }
    if (!std::isfinite(want[i]))
      continue;
    off.add(want[i] - have[i]);
    wanted.add(want[i]);
    if (!terms.empty())
      made.add(terms[i]);
  }
  found.absolute = off.most;
  found.relative = std::max(ratio(std::sqrt(off.squares), std::sqrt(std::max(wanted.squares, made.squares))),
                            ratio(off.most, std::max(wanted.most, made.most)));
  return found;
}

void perturb(std::vector<double> &values, std::mt19937_64 &random) {
  uint64_t signs = 0;
  for (size_t i = 0; i < values.size(); ++i, signs >>= 1) {
    if (i % 64 == 0)
      signs = random();
    values[i] *= signs & 1 ? 1 + kPerturbation : 1 - kPerturbation;
  }
}

std::vector<double> termsOf(const std::vector<double> &plain, const std::vector<double> &perturbed) {
  std::vector<double> terms(plain.size());
  for (size_t i = 0; i < plain.size(); ++i)
    terms[i] = std::abs(perturbed[i] - plain[i]) / kPerturbation;
  return terms;
}

} // namespace moec::rt::test
