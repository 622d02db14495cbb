#include "runtime/io/TensorTable.h"

#include <algorithm>

namespace moec::rt {

std::vector<TensorSlot> checkpointTensors(const Plan &plan) {
  std::vector<TensorSlot> slots;
  for (const PlanState &state : plan.state)
    for (uint64_t copy = 0; state.checkpoint && copy < state.count; ++copy)
      slots.push_back({state.copyName(copy), state.dtype, state.shape, state.offset + copy * state.copyBytes,
                       state.copyBytes, state.kind});
  std::sort(slots.begin(), slots.end(), [](const TensorSlot &a, const TensorSlot &b) {
    uint64_t aBytes = dtypeInfo(a.dtype).bytes, bBytes = dtypeInfo(b.dtype).bytes;
    return aBytes != bBytes ? aBytes > bBytes : a.offset != b.offset ? a.offset < b.offset : a.name < b.name;
  });
  return slots;
}

} // namespace moec::rt
