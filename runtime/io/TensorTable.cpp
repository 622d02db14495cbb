#include "runtime/io/TensorTable.h"

#include <algorithm>
#include <cstring>

namespace moec::rt {

std::vector<SavedTensor> checkpointTensors(const Plan &plan) {
  std::vector<SavedTensor> tensors;
  for (const PlanState &state : plan.state)
    for (uint64_t copy = 0; state.checkpoint && copy < state.count; ++copy)
      tensors.push_back({state.copyName(copy), state.dtype, state.shape,
                         state.offset + (state.runs == 1 ? copy * state.copyBytes
                                         : state.each    ? copy * (state.copyBytes / state.runs)
                                                         : 0),
                         state.copyBytes, state.kind, &state, copy * state.copyBytes});
  std::sort(tensors.begin(), tensors.end(), [](const SavedTensor &a, const SavedTensor &b) {
    uint64_t aBytes = dtypeInfo(a.dtype).bytes, bBytes = dtypeInfo(b.dtype).bytes;
    return aBytes != bBytes       ? aBytes > bBytes
           : a.offset != b.offset ? a.offset < b.offset
           : a.begin != b.begin   ? a.begin < b.begin
                                  : a.name < b.name;
  });
  return tensors;
}

/// Counts the elements whose exponent bits are all ones; these are NaN or infinite. `elements` need not be aligned.
template <typename Bits> static uint64_t countMasked(std::span<const std::byte> elements, Bits mask) {
  uint64_t count = 0;
  for (size_t at = 0; at + sizeof(Bits) <= elements.size(); at += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, elements.data() + at, sizeof bits);
    count += (bits & mask) == mask;
  }
  return count;
}

uint64_t countNotFinite(DType type, std::span<const std::byte> elements) {
  switch (type) {
  case DType::F64:
    return countMasked<uint64_t>(elements, uint64_t{0x7ff} << 52);
  case DType::F32:
    return countMasked<uint32_t>(elements, 0x7f800000);
  case DType::F16:
    return countMasked<uint16_t>(elements, 0x7c00);
  case DType::BF16:
    return countMasked<uint16_t>(elements, 0x7f80);
  case DType::F8E4M3: // no infinities, and one NaN of each sign
    return countMasked<uint8_t>(elements, 0x7f);
  case DType::I64:
  case DType::I32:
  case DType::I16:
  case DType::I8:
  case DType::I1:
  case DType::Index:
    return 0;
  }
  return 0;
}

Status checkAllFinite(const std::string &tensor, uint64_t count, uint64_t elements) {
  if (count == 0)
    return Status::ok();
  return Status::error("MOEC-C018", "tensor \"" + tensor + "\"", count, " of ", elements,
                       " elements are NaN or infinite");
}

} // namespace moec::rt
