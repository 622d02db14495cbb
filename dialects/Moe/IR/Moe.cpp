// Dialect, attributes and generated op code. Hand-written op methods are in MoeStructure.cpp, MoeCompute.cpp and
// *Backward.cpp.
#include "dialects/Moe/IR/Moe.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/Interfaces/FoldInterfaces.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

#include "dialects/Moe/IR/MoeDialect.cpp.inc"
#include "dialects/Moe/IR/MoeEnums.cpp.inc"
#include "dialects/Moe/IR/MoeInterfaces.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Moe/IR/MoeAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/Moe/IR/MoeOps.cpp.inc"

namespace moec::moe {

namespace {
struct MoeFoldInterface : DialectFoldInterface {
  using DialectFoldInterface::DialectFoldInterface;
  // Constants stay in a repeat's body: hoisted ones would become captured values, which cost memory for a whole
  // function.
  bool shouldMaterializeInto(Region *region) const override { return isa<RepeatOp>(region->getParentOp()); }
};
} // namespace

void MoeDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/Moe/IR/MoeAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/Moe/IR/MoeOps.cpp.inc"
      >();
  addInterfaces<MoeFoldInterface>();
}

Value underReshapes(Value value) {
  while (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getInput();
  return value;
}

} // namespace moec::moe
