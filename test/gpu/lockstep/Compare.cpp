#include "Compare.h"

#include "Values.h"

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

/// Their places in the row of all numbers of the type, so that neighbours differ by 1. Both zeros have place 0.
std::vector<int> placesInFloat8(const std::vector<double> &values) {
  std::vector<int> places;
  for (std::byte bits : encode(values, DType::F8E4M3)) {
    int size = std::to_integer<int>(bits) & 0x7F;
    places.push_back((std::to_integer<int>(bits) & 0x80) ? -size : size);
  }
  return places;
}

/// `mayDiffer(i)`: the error of element i is none.
template <typename MayDiffer>
Difference compare(const std::vector<double> &want, const std::vector<double> &have, const std::vector<double> &mask,
                   const std::vector<double> &terms, MayDiffer mayDiffer) {
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
    ++found.compared;
    double error = want[i] - have[i];
    found.absolute = std::max(found.absolute, std::abs(error));
    if (error != 0 && mayDiffer(i))
      ++found.oneStep;
    else
      off.add(error);
    wanted.add(want[i]);
    if (!terms.empty())
      made.add(terms[i]);
  }
  found.relative = std::max(ratio(std::sqrt(off.squares), std::sqrt(std::max(wanted.squares, made.squares))),
                            ratio(off.most, std::max(wanted.most, made.most)));
  return found;
}
} // namespace

Difference compareFloats(const std::vector<double> &want, const std::vector<double> &have,
                         const std::vector<double> &mask, const std::vector<double> &terms) {
  return compare(want, have, mask, terms, [](size_t) { return false; });
}

Difference compareFloat8(const std::vector<double> &want, const std::vector<double> &have,
                         const std::vector<double> &mask, const std::vector<double> &terms) {
  std::vector<double> rounded = decode(encode(want, DType::F8E4M3), DType::F8E4M3);
  std::vector<int> wanted = placesInFloat8(rounded), made = placesInFloat8(have);
  return compare(rounded, have, mask, terms, [&](size_t i) { return std::abs(wanted[i] - made[i]) <= 1; });
}

bool fewSteps(const Difference &found) { return found.oneStep <= std::max<uint64_t>(1, found.compared / 100); }

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
