#include "dialects/Moe/IR/Moe.h"
#include "dialects/Moe/Transforms/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace moec::moe {
#define GEN_PASS_DEF_MOEASSIGNREMAT
#include "dialects/Moe/Transforms/Passes.h.inc"

namespace {
struct AssignRematPass : impl::MoeAssignRematBase<AssignRematPass> {
  using Base::Base;
  void runOnOperation() override {}
};
} // namespace
} // namespace moec::moe
