#include "dialects/Dist/IR/Dist.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

#include "dialects/Dist/IR/DistDialect.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Dist/IR/DistAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/Dist/IR/DistOps.cpp.inc"

namespace moec::dist {

void DistDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/Dist/IR/DistAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/Dist/IR/DistOps.cpp.inc"
      >();
}

LogicalResult PartialAttr::verify(function_ref<InFlightDiagnostic()> emitError, ArrayRef<StringAttr> axes) {
  // partial_c1
  if (axes.empty())
    return emitError() << "names no axis, expected at least one";
  for (auto [number, axis] : llvm::enumerate(axes))
    if (llvm::is_contained(axes.take_front(number), axis))
      return emitError() << "names axis " << axis << " twice";
  return success();
}

PartialAttr partialOf(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor ? dyn_cast_if_present<PartialAttr>(tensor.getEncoding()) : PartialAttr();
}

RankedTensorType wholeType(RankedTensorType type) {
  return RankedTensorType::get(type.getShape(), type.getElementType());
}

//===--- Mesh -----------------------------------------------------------------------------------------------------===//

LogicalResult MeshOp::verify() {
  // (C1)
  if (getAxes().empty() || getAxes().size() != getSizes().size())
    return emitOpError("has ") << getAxes().size() << " axes and " << getSizes().size()
                               << " sizes, expected as many, and at least one";
  llvm::StringSet<> seen;
  for (auto [axis, size] : llvm::zip(getAxes().getAsRange<StringAttr>(), getSizes())) {
    // (C2)
    if (size < 1)
      return emitOpError("has axis ") << axis << " of size " << size << ", expected at least 1";
    // (C3)
    if (!seen.insert(axis.getValue()).second)
      return emitOpError("has two axes called ") << axis;
  }
  // (C4)
  if (getBatches() && !llvm::is_contained(getAxes(), getBatchesAttr()))
    return emitOpError("deals out batches along ") << getBatchesAttr() << ", expected one of " << getAxes();
  return success();
}

int64_t MeshOp::sizeAlong(ArrayAttr axes) {
  int64_t size = 1;
  for (auto [number, axis] : llvm::enumerate(axes)) {
    auto found = llvm::find(getAxes(), axis);
    bool isNew = !llvm::is_contained(axes.getValue().take_front(number), axis);
    size *= found == getAxes().end() || !isNew ? 0 : getSizes()[found - getAxes().begin()];
  }
  return size;
}

int64_t MeshOp::size() { return sizeAlong(getAxes()); }

MeshOp findMesh(Operation *op) {
  auto module = isa<ModuleOp>(op) ? cast<ModuleOp>(op) : op->getParentOfType<ModuleOp>();
  return module ? module.lookupSymbol<MeshOp>(MeshOp::symbol) : MeshOp();
}

//===--- Collectives ----------------------------------------------------------------------------------------------===//

/// The number of ranks in the group of `op`, or a diagnostic.
static FailureOr<int64_t> groupSize(Operation *op, ArrayAttr axes, SymbolTableCollection &symbols) {
  auto mesh = symbols.lookupNearestSymbolFrom<MeshOp>(op, StringAttr::get(op->getContext(), MeshOp::symbol));
  if (!mesh)
    return op->emitOpError("needs a dist.mesh @") << MeshOp::symbol << " in the module";
  int64_t size = mesh.sizeAlong(axes);
  if (size > 0 && !axes.empty())
    return size;
  InFlightDiagnostic diag = op->emitOpError("runs along ") << axes << ", expected axes of the mesh, each once";
  diag.attachNote(mesh.getLoc()) << "which has " << mesh.getAxes();
  return failure();
}

static RankedTensorType tensorOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// That `values` have together as many elements as `ranks` tensors like `whole`, of its element type.
static LogicalResult verifyElements(Operation *op, RankedTensorType one, int64_t times, RankedTensorType all,
                                    StringRef what) {
  if (one.getNumElements() * times == all.getNumElements() && one.getElementType() == all.getElementType())
    return success();
  return op->emitOpError("has ") << what << " of type " << all << ", expected " << one.getNumElements() * times
                                 << " elements of " << one.getElementType() << ": " << times << " times " << one;
}

LogicalResult CoordinateOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return groupSize(*this, getAxes(), symbols);
}

/// (C1) of sums.
static LogicalResult verifyPartial(Operation *op, Value input, ArrayAttr axes) {
  PartialAttr partial = partialOf(input.getType());
  if (partial && llvm::equal(partial.getAxes(), axes.getAsRange<StringAttr>()))
    return success();
  return op->emitOpError("sums along ") << axes << " a value of type " << input.getType()
                                        << ", expected one that is partial along these axes";
}

LogicalResult SumOp::verify() {
  // (C1)
  if (failed(verifyPartial(*this, getInput(), getAxes())))
    return failure();
  // (C2)
  if (getResult().getType() != wholeType(tensorOf(getInput())))
    return emitOpError("returns ") << getResult().getType() << ", expected " << wholeType(tensorOf(getInput()));
  return success();
}

LogicalResult SumOp::verifySymbolUses(SymbolTableCollection &symbols) { return groupSize(*this, getAxes(), symbols); }

LogicalResult SumPartOp::verify() { return verifyPartial(*this, getInput(), getAxes()); }

LogicalResult SumPartOp::verifySymbolUses(SymbolTableCollection &symbols) {
  FailureOr<int64_t> ranks = groupSize(*this, getAxes(), symbols);
  // (C2)
  return failed(ranks) ? failure()
                       : verifyElements(*this, tensorOf(getResult()), *ranks, tensorOf(getInput()), "an operand");
}

LogicalResult AllSumOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return groupSize(*this, getAxes(), symbols);
}

LogicalResult AllSumOp::buildBackward(OpBuilder &, ValueRange resultGrads, ArrayRef<bool>,
                                      SmallVectorImpl<Value> &operandGrads) {
  operandGrads[0] = resultGrads[0];
  return success();
}

LogicalResult ShareOp::verifySymbolUses(SymbolTableCollection &symbols) { return groupSize(*this, getAxes(), symbols); }

LogicalResult ShareOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                     SmallVectorImpl<Value> &operandGrads) {
  operandGrads[0] = AllSumOp::create(builder, getLoc(), resultGrads[0].getType(), resultGrads[0], getAxes());
  return success();
}

LogicalResult SameOp::verifySymbolUses(SymbolTableCollection &symbols) { return groupSize(*this, getAxes(), symbols); }

LogicalResult SameOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                    SmallVectorImpl<Value> &operandGrads) {
  RankedTensorType type = tensorOf(getInput());
  int64_t columns = type.getShape().back();
  auto rows = RankedTensorType::get({type.getNumElements() / columns, columns}, type.getElementType());
  Value grad = resultGrads[0];
  if (rows != type)
    grad = moe::ReshapeOp::create(builder, getLoc(), rows, grad);
  double share = 1.0 / static_cast<double>(findMesh(*this).sizeAlong(getAxes()));
  auto scaled = moe::MapOp::create(
      builder, getLoc(), TypeRange{rows}, ValueRange{grad}, [&](OpBuilder &inside, Location loc, ValueRange x) {
        Value factor = arith::ConstantOp::create(inside, loc, inside.getFloatAttr(type.getElementType(), share));
        return SmallVector<Value>{arith::MulFOp::create(inside, loc, x[0], factor)};
      });
  operandGrads[0] = scaled.getResult(0);
  if (rows != type)
    operandGrads[0] = moe::ReshapeOp::create(builder, getLoc(), type, operandGrads[0]);
  return success();
}

LogicalResult ExchangeRowsOp::verifySymbolUses(SymbolTableCollection &symbols) {
  FailureOr<int64_t> ranks = groupSize(*this, getAxes(), symbols);
  if (failed(ranks))
    return failure();
  // (C1)
  RankedTensorType from = tensorOf(getRows()), to = tensorOf(getResult());
  if (from.getRank() != 2 || to.getRank() != 2 || from.getDimSize(1) != to.getDimSize(1) ||
      from.getElementType() != to.getElementType())
    return emitOpError("moves rows of ") << from << " into " << to << ", expected rows of one width and type";
  // (C2)
  for (Value counts : {getSends(), getReceives()})
    if (!tensorOf(counts).getElementType().isInteger(32) || tensorOf(counts).getNumElements() % *ranks != 0)
      return emitOpError("has counts of type ")
             << counts.getType() << ", expected i32, as many for each of " << *ranks << " ranks";
  return success();
}

LogicalResult ExchangeRowsOp::buildBackward(OpBuilder &builder, ValueRange resultGrads, ArrayRef<bool>,
                                            SmallVectorImpl<Value> &operandGrads) {
  operandGrads[0] = ExchangeRowsOp::create(builder, getLoc(), getRows().getType(), resultGrads[0], getReceives(),
                                           getSends(), getAxes());
  return success();
}

LogicalResult AllToAllOp::verifySymbolUses(SymbolTableCollection &symbols) {
  FailureOr<int64_t> ranks = groupSize(*this, getAxes(), symbols);
  if (failed(ranks))
    return failure();
  // (C1)
  if (getNumResults() == 1)
    return verifyElements(*this, tensorOf(getInput()), 1, tensorOf(getResult(0)), "a result");
  if (static_cast<int64_t>(getNumResults()) != *ranks || !llvm::all_equal(getResultTypes()))
    return emitOpError("has ") << getNumResults() << " results, expected one for each of " << *ranks
                               << " ranks, all of one type";
  // (C2)
  return verifyElements(*this, tensorOf(getResult(0)), *ranks, tensorOf(getInput()), "an operand");
}

LogicalResult AllGatherOp::verifySymbolUses(SymbolTableCollection &symbols) {
  FailureOr<int64_t> ranks = groupSize(*this, getAxes(), symbols);
  if (failed(ranks))
    return failure();
  // (C1)
  if (static_cast<int64_t>(getNumResults()) == *ranks &&
      llvm::all_of(getResultTypes(), [&](Type type) { return type == getInput().getType(); }))
    return success();
  // (C2)
  if (getNumResults() != 1)
    return emitOpError("has ") << getNumResults() << " results, expected one, or one like the operand for each of "
                               << *ranks << " ranks";
  return verifyElements(*this, tensorOf(getInput()), *ranks, tensorOf(getResult(0)), "a result");
}

LogicalResult GatherIntoOp::verifySymbolUses(SymbolTableCollection &symbols) {
  FailureOr<int64_t> ranks = groupSize(*this, getAxes(), symbols);
  if (failed(ranks))
    return failure();
  auto state = symbols.lookupNearestSymbolFrom<moe::StateOp>(*this, getStateAttr());
  if (!state)
    return emitOpError("refers to ") << getStateAttr() << ", which is not a state";
  // (C1)
  RankedTensorType type = state.getTensorType();
  SmallVector<int64_t> shape{state.getCopies()};
  llvm::append_range(shape, type.getShape());
  return verifyElements(*this, tensorOf(getValue()), *ranks, RankedTensorType::get(shape, type.getElementType()),
                        "a state");
}

} // namespace moec::dist
