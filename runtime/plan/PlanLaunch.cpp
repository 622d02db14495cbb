// Launch records of GPU kernels: how many threads, how much shared memory, which tensor maps.
#include "runtime/base/CheckedMath.h"
#include "runtime/plan/PlanFormat.h"
#include "runtime/plan/PlanManifest.h"

#include <algorithm>
#include <optional>

namespace moec::rt {

static std::optional<MapElement> mapElement(const std::string &name) {
  if (name == "bf16")
    return MapElement::BF16;
  if (name == "f16")
    return MapElement::F16;
  if (name == "f32")
    return MapElement::F32;
  if (name == "f8e4m3" || name == "f8e4m3fn")
    return MapElement::F8E4M3;
  return std::nullopt;
}

/// What the tensor copy engine takes; cuTensorMapEncodeTiled would refuse the rest without saying why.
static void checkMap(Fields &fields, const PlanTensorMap &map) {
  constexpr uint64_t kMaxDim = uint64_t{1} << 32, kMaxStride = uint64_t{1} << 40, kMaxBox = 256;
  auto fail = [&](std::string_view key, const auto &...parts) {
    fields.errors().fail(fields.pointerTo(key), parts...);
  };
  size_t rank = map.dims.size();
  if (rank < 1 || rank > 5)
    return fail("dims", "a tensor map has 1 to 5 dimensions, here are ", rank);
  if (map.strides.size() != rank - 1)
    return fail("strides", "there are ", map.strides.size(), " for ", rank, " dimensions; the innermost has none");
  if (map.box.size() != rank)
    return fail("box", "has ", map.box.size(), " dimensions, the tensor has ", rank);
  uint64_t extent = map.dims[0] * mapElementBytes(map.element);
  for (size_t i = 0; i < rank; ++i) {
    if (map.dims[i] < 1 || map.dims[i] > kMaxDim)
      return fail("dims", "must be in [1, ", kMaxDim, "], one is ", map.dims[i]);
    if (map.box[i] < 1 || map.box[i] > kMaxBox)
      return fail("box", "must be in [1, ", kMaxBox, "], one is ", map.box[i]);
    if (i == 0)
      continue;
    uint64_t stride = map.strides[i - 1];
    if (stride % 16 != 0 || stride >= kMaxStride)
      return fail("strides", "must be multiples of 16 below ", kMaxStride, ", one is ", stride);
    std::optional<uint64_t> reach = checkedMul(map.dims[i] - 1, stride);
    reach = reach ? checkedAdd(extent, *reach) : std::nullopt;
    if (!reach)
      return fail("dims", "size overflows");
    extent = *reach;
  }
  if (map.swizzle != 0 && map.swizzle != 32 && map.swizzle != 64 && map.swizzle != 128)
    return fail("swizzle", "must be 0, 32, 64 or 128, is ", map.swizzle);
  uint64_t inner = map.box[0] * mapElementBytes(map.element);
  if (inner % 16 != 0)
    return fail("box", "rows of ", inner, " bytes; they must be multiples of 16");
  if (map.swizzle != 0 && inner > map.swizzle)
    return fail("box", "rows of ", inner, " bytes do not fit the swizzle of ", map.swizzle);
}

static PlanTensorMap readMap(Fields &fields, const PlanKernel &kernel) {
  PlanTensorMap map;
  map.param = static_cast<uint32_t>(fields.size("param", 1 << 16));
  map.offset = fields.size("offset", int64_t{1} << 60);
  std::string name = fields.string("dtype");
  map.dims = fields.sizes("dims");
  map.strides = fields.sizes("strides");
  map.box = fields.sizes("box");
  map.swizzle = static_cast<uint32_t>(fields.size("swizzle", 1 << 16));
  if (fields.failed())
    return map;
  std::optional<MapElement> element = mapElement(name);
  if (!element)
    fields.errors().fail(fields.pointerTo("dtype"), "tensor maps are of bf16, f16, f32 or f8e4m3, not \"", name, "\"");
  map.element = element.value_or(MapElement::BF16);
  if (map.param >= kernel.params)
    fields.errors().fail(fields.pointerTo("param"), "is ", map.param, ", the kernel has ", kernel.params, " params");
  checkMap(fields, map);
  return map;
}

void parseLaunch(Fields &kernelFields, const Plan &plan, PlanKernel &kernel) {
  FieldErrors &errors = kernelFields.errors();
  Fields fields(kernelFields.object("launch"), kernelFields.pointerTo("launch"), errors);
  PlanLaunch &launch = kernel.launch;
  launch.module = fields.string("module");
  launch.threads = static_cast<uint32_t>(fields.integer("threads", 32, 1024));
  launch.sharedBytes = fields.size("shared", 1 << 24);
  const auto &maps = fields.array("maps").items();
  for (size_t i = 0; i < maps.size() && !fields.failed(); ++i) {
    Fields mapFields(maps[i], fields.pointerTo("maps") + "/" + std::to_string(i), errors);
    launch.maps.push_back(readMap(mapFields, kernel));
    mapFields.finish();
  }
  fields.finish();
  if (fields.failed())
    return;
  if (!launch.module.ends_with(kCubinSuffix) && !launch.module.ends_with(kPtxSuffix))
    errors.fail(fields.pointerTo("module"), "must end in ", kCubinSuffix, " or ", kPtxSuffix, ", is \"", launch.module,
                "\"");
  if (!plan.findBlob(launch.module))
    errors.fail(fields.pointerTo("module"), "there is no blob \"", launch.module, "\"");
  if (launch.threads % 32 != 0)
    errors.fail(fields.pointerTo("threads"), "must be whole warps of 32, is ", launch.threads);
  if (launch.sharedBytes > plan.target.sharedBytes)
    errors.fail(fields.pointerTo("shared"), "is ", launch.sharedBytes, ", a block of the target has ",
                plan.target.sharedBytes);
  // The driver takes 4 KiB of parameters; recent ones more, but plans do not need to know.
  constexpr uint64_t kMaxParameterBytes = 4096;
  if (8 * (kernel.params + 1) + 64 + 128 * launch.maps.size() > kMaxParameterBytes)
    errors.fail(kernelFields.pointerTo("params"), kernel.params, " operands and ", launch.maps.size(),
                " tensor maps are more than the ", kMaxParameterBytes, " bytes of parameters of a launch");
}

} // namespace moec::rt
