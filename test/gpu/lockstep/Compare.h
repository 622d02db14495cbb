// How far the results of one dispatch are from the reference's.
//
// A sum may cancel: its result is then small beside its terms, and so is nothing that rounding left. Each operand is
// therefore measured against whichever is larger, the reference's result or the terms it is made of:
//
//   terms     T_i = |ref(x (1 + d s))_i - ref(x)_i| / d, with a sign s for each element of each input and a d so small
//             that this is linear: the root of the sum of squares of the terms of result i, up to the signs' luck
//   relative  max of  |have - want|_2 / max(|want|_2, |T|_2)         the operand as a whole
//               and   |have - want|_max / max(|want|_max, |T|_max)   its worst element: one wrong among millions shows
//   absolute  |have - want|_max
//
// A tolerance on `relative` is thus a bound that an algorithm keeps when each of its roundings is one of its own terms.
//
// Results in e4m3 have another measure. Neighbours of that type are up to an eighth of themselves apart, so a value
// that lies between two of them may become either, by the last bit of what it is rounded from. A step to the neighbour
// is therefore no error, however large it is, as long as few elements take it: rounding that is done wrongly (cut off,
// or ties away from zero) takes it often. What is further off than that is measured as above.
#ifndef MOEC_TEST_GPU_LOCKSTEP_COMPARE_H
#define MOEC_TEST_GPU_LOCKSTEP_COMPARE_H

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace moec::rt::test {

struct Difference {
  double relative = 0, absolute = 0;
  uint64_t compared = 0;  // elements
  uint64_t oneStep = 0;   // compareFloat8: are the reference's neighbour in the type
  uint64_t notFinite = 0; // the reference has a number there, the other has none, or the other way round
};

/// Elements where `mask` is NaN are left out. `terms`: T above; empty: the results alone count.
Difference compareFloats(const std::vector<double> &want, const std::vector<double> &have,
                         const std::vector<double> &mask, const std::vector<double> &terms);

/// The same for results in e4m3, in units of their last place: an element that is the reference's neighbour adds to
/// `oneStep` and `absolute` alone. `want` is rounded to the type first.
Difference compareFloat8(const std::vector<double> &want, const std::vector<double> &have,
                         const std::vector<double> &mask, const std::vector<double> &terms);
/// Whether that many neighbours are luck: one, or one element in a hundred.
bool fewSteps(const Difference &found);

/// The d above: far above the rounding of f64, far below where a computation bends.
inline constexpr double kPerturbation = 0x1p-30;

/// x (1 + d s).
void perturb(std::vector<double> &values, std::mt19937_64 &random);
/// T of results without and with perturbed inputs.
std::vector<double> termsOf(const std::vector<double> &plain, const std::vector<double> &perturbed);

} // namespace moec::rt::test

#endif // MOEC_TEST_GPU_LOCKSTEP_COMPARE_H
