// Element types of buffers and tensors.
#ifndef MOEC_RUNTIME_PLAN_DTYPE_H
#define MOEC_RUNTIME_PLAN_DTYPE_H

#include <cstdint>
#include <optional>
#include <string_view>

namespace moec::rt {

enum class DType : uint8_t { F64, F32, F16, BF16, F8E4M3, I64, I32, I16, I8, I1, Index };

struct DTypeInfo {
  DType type;
  std::string_view name;        // in plans
  std::string_view safetensors; // in checkpoints
  uint64_t bytes;
};

inline constexpr DTypeInfo kDTypes[] = {
    {DType::F64, "f64", "F64", 8},    {DType::F32, "f32", "F32", 4},           {DType::F16, "f16", "F16", 2},
    {DType::BF16, "bf16", "BF16", 2}, {DType::F8E4M3, "f8e4m3", "F8_E4M3", 1}, {DType::I64, "i64", "I64", 8},
    {DType::I32, "i32", "I32", 4},    {DType::I16, "i16", "I16", 2},           {DType::I8, "i8", "I8", 1},
    {DType::I1, "i1", "BOOL", 1},     {DType::Index, "index", "I64", 8},
};

constexpr const DTypeInfo &dtypeInfo(DType type) { return kDTypes[static_cast<uint8_t>(type)]; }

constexpr std::optional<DType> dtypeFromName(std::string_view name) {
  for (const DTypeInfo &info : kDTypes)
    if (info.name == name)
      return info.type;
  return std::nullopt;
}

} // namespace moec::rt

#endif // MOEC_RUNTIME_PLAN_DTYPE_H
