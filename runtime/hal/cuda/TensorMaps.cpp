#include "runtime/hal/cuda/TensorMaps.h"

namespace moec::rt::cu {

static int dataType(MapElement element) {
  switch (element) {
  case MapElement::BF16:
    return kMapBF16;
  case MapElement::F16:
    return kMapF16;
  case MapElement::F32:
    return kMapF32;
  case MapElement::F8E4M3: // copied as bytes, since the engine has no 8-bit floats
    return kMapU8;
  }
  return kMapU8;
}

static int swizzleOf(uint32_t bytes) {
  switch (bytes) {
  case 32:
    return kMapSwizzle32;
  case 64:
    return kMapSwizzle64;
  case 128:
    return kMapSwizzle128;
  default:
    return kMapSwizzleNone;
  }
}

Result<TensorMap *> TensorMaps::get(uint32_t kernel, uint32_t index, Pointer address) {
  auto [place, isNew] = maps.try_emplace(Key{kernel, index, address});
  if (!isNew)
    return &place->second;
  const PlanTensorMap &map = plan.kernels[kernel].launch.maps[index];
  std::vector<uint32_t> box(map.box.begin(), map.box.end()), elementStrides(map.box.size(), 1);
  std::vector<uint64_t> strides = map.strides;
  strides.resize(map.dims.size()); // never a null pointer, not even with one dimension
  Code code = driver.tensorMapEncodeTiled(&place->second, dataType(map.element), static_cast<uint32_t>(map.dims.size()),
                                          reinterpret_cast<void *>(address + map.offset), map.dims.data(),
                                          strides.data(), box.data(), elementStrides.data(), kMapNoInterleave,
                                          swizzleOf(map.swizzle), kMapL2Promotion128, kMapFillZeros);
  if (code == kSuccess)
    return &place->second;
  maps.erase(place);
  return driver.check(code, "cuTensorMapEncodeTiled", plan.path,
                      "map " + std::to_string(index) + " of kernel \"" + plan.kernels[kernel].name + "\"");
}

} // namespace moec::rt::cu
