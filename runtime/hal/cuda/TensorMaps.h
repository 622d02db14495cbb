// Tensor maps of launches, encoded once for each place that a launch names.
#ifndef MOEC_RUNTIME_HAL_CUDA_TENSORMAPS_H
#define MOEC_RUNTIME_HAL_CUDA_TENSORMAPS_H

#include "runtime/hal/cuda/CudaDriver.h"
#include "runtime/plan/Plan.h"

#include <unordered_map>

namespace moec::rt::cu {

class TensorMaps {
public:
  TensorMaps(const Driver &driver, const Plan &plan) : driver(driver), plan(plan) {}

  /// Map `index` of a kernel, describing memory at `address`. The pointer stays valid.
  Result<TensorMap *> get(uint32_t kernel, uint32_t index, Pointer address);

private:
  struct Key {
    uint32_t kernel, index;
    Pointer address;
    bool operator==(const Key &) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key &key) const {
      return std::hash<uint64_t>()(key.address ^ (uint64_t{key.kernel} << 40) ^ (uint64_t{key.index} << 56));
    }
  };

  const Driver &driver;
  const Plan &plan;
  std::unordered_map<Key, TensorMap, KeyHash> maps;
};

} // namespace moec::rt::cu

#endif // MOEC_RUNTIME_HAL_CUDA_TENSORMAPS_H
