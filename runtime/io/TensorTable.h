// The tensors that a checkpoint of a plan holds: every copy of every state with checkpoint: true, by its logical name.
#ifndef MOEC_RUNTIME_IO_TENSORTABLE_H
#define MOEC_RUNTIME_IO_TENSORTABLE_H

#include "runtime/base/Status.h"
#include "runtime/plan/Plan.h"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace moec::rt {

struct SavedTensor {
  std::string name;
  DType dtype = DType::F32;
  std::vector<uint64_t> shape;
  uint64_t offset = 0, bytes = 0; // in the arena; of a state in runs: where this rank's run begins
  StateKind kind = StateKind::Parameter;
  const PlanState *state = nullptr;
  uint64_t begin = 0; // of the tensor among all bytes of its state

  /// Whether this rank has only a run of the state.
  bool isInRuns() const { return state->runs > 1; }
};

/// Of `plan`, which the tensors refer to. Widest elements first, so that every tensor is aligned in its file; in the
/// order of the arena among equals.
std::vector<SavedTensor> checkpointTensors(const Plan &plan);

/// The number of elements that are NaN or infinite; 0 for types that are not floats.
uint64_t countNotFinite(DType type, std::span<const std::byte> elements);
/// MOEC-C018 unless `count` is 0.
Status checkAllFinite(const std::string &tensor, uint64_t count, uint64_t elements);

} // namespace moec::rt

#endif // MOEC_RUNTIME_IO_TENSORTABLE_H
