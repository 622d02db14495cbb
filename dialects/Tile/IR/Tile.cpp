#include "dialects/Tile/IR/Tile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moec::tile;

#include "dialects/Tile/IR/TileDialect.cpp.inc"
#include "dialects/Tile/IR/TileEnums.cpp.inc"
#include "dialects/Tile/IR/TileInterfaces.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Tile/IR/TileAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/Tile/IR/TileTypes.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/Tile/IR/TileOps.cpp.inc"

namespace moec::tile {

void TileDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/Tile/IR/TileOps.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/Tile/IR/TileAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/Tile/IR/TileTypes.cpp.inc"
      >();
}

LogicalResult ScheduleAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t m, int64_t n, int64_t k,
                                   int64_t stages, int64_t producer, int64_t consumer, int64_t raster, int64_t buffers,
                                   int64_t split, int64_t lanes) {
  if (m != 64 && m != 128 && m != 192)
    return emitError() << "schedule has tiles of " << m << " rows; expected 64 for each of 1 to 3 consumers";
  if (n < 8 || n > 256 || n % 8 != 0)
    return emitError() << "schedule has tiles of " << n << " columns; expected a multiple of 8 up to 256";
  if (k < 1 || stages < 2)
    return emitError() << "schedule has depth " << k << " and " << stages
                       << " stages; expected a depth of 1 and 2 stages or more";
  for (int64_t registers : {producer, consumer})
    if (registers < 24 || registers > 240 || registers % 8 != 0)
      return emitError() << "schedule gives a thread " << registers
                         << " registers; expected a multiple of 8 within 24..240"; // kernel_c4
  if (raster < 1 || buffers < 0 || split < 1)
    return emitError() << "schedule has raster " << raster << ", buffers " << buffers << ", split " << split
                       << "; expected 1, 0, 1 or more";
  if (lanes < 0 || (lanes > 0 && m != 64))
    return emitError() << "schedule has " << lanes << " lanes of tiles of " << m
                       << " rows; expected none, or tiles of 64";
  return success();
}

//===--- Kernel ---===//

WorkOpInterface KernelOp::getWork() {
  auto all = getBlock()->getOps<WorkOpInterface>();
  return all.empty() ? WorkOpInterface() : *all.begin();
}

LogicalResult KernelOp::verifyRegions() {
  // Registers with which a thread of a block starts; setmaxnreg can only hand out registers that others gave back.
  constexpr int64_t kStartRegisters = 168;
  ScheduleAttr schedule = getSchedule();
  int64_t registers = schedule.getProducer() + schedule.getConsumers() * schedule.getConsumer();
  int64_t limit = kStartRegisters * (1 + schedule.getConsumers());
  if (registers > limit) // kernel_c1
    return emitOpError("takes ") << registers << " registers for a thread of each warpgroup, but starts with " << limit;
  auto works = getBlock()->getOps<WorkOpInterface>();
  if (int64_t count = std::distance(works.begin(), works.end()); count != 1) // kernel_c2
    return emitOpError("has ") << count << " work ops; expected 1";
  if (int64_t bytes = getSharedBytes(); bytes > kMaxSharedBytes) // kernel_c3
    return emitOpError("takes ") << bytes << " bytes of shared memory; there are " << kMaxSharedBytes;
  return getWork().verifyWork();
}

namespace {
LogicalResult verifyParam(Operation *op, int64_t param) {
  auto kernel = op->getParentOfType<KernelOp>();
  if (!kernel || (param >= 0 && param < static_cast<int64_t>(kernel.getParams())))
    return success();
  InFlightDiagnostic diag = op->emitOpError("names parameter ") << param << " of " << kernel.getParams();
  diag.attachNote(kernel.getLoc()) << "kernel declared here";
  return diag;
}
} // namespace

LogicalResult MapOp::verify() {
  ArrayRef<int64_t> dims = getDims(), strides = getStrides(), box = getBox();
  if (dims.empty() || dims.size() > 5 || strides.size() + 1 != dims.size() || box.size() != dims.size()) // C1
    return emitOpError("has ") << dims.size() << " dimensions, " << strides.size() << " strides and a box of "
                               << box.size() << "; expected 1 to 5, one less, and as many";
  for (int64_t stride : strides)
    if (stride % 16 != 0) // C2
      return emitOpError("has a stride of ") << stride << " bytes, which is not a multiple of 16";
  for (int64_t side : box)
    if (side < 1 || side > 256) // C3
      return emitOpError("has a box side of ") << side << "; expected 1 to 256";
  int64_t innermost = box.front() * getElement().getIntOrFloatBitWidth() / 8;
  if (getSwizzle() != 0 && innermost != static_cast<int64_t>(getSwizzle())) // C4
    return emitOpError("has a box of ") << innermost << " bytes per row, but swizzles " << getSwizzle();
  return verifyParam(*this, getParam()); // C5
}

LogicalResult OperandOp::verify() { return verifyParam(*this, getParam()); }

} // namespace moec::tile
