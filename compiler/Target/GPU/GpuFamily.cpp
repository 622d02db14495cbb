#include "compiler/Target/GPU/GpuFamily.h"

// The family of each folder. The generic generators include no header of a family.
namespace moec::sm90 {
const gpu::GpuFamily &family();
} // namespace moec::sm90

namespace moec::gpu {

llvm::ArrayRef<const GpuFamily *> families() {
  static const GpuFamily *const list[] = {&sm90::family()};
  return list;
}

} // namespace moec::gpu
