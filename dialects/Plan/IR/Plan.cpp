#include "dialects/Plan/IR/Plan.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moec::plan;

#include "dialects/Plan/IR/PlanDialect.cpp.inc"
#include "dialects/Plan/IR/PlanEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Plan/IR/PlanAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/Plan/IR/PlanTypes.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/Plan/IR/PlanOps.cpp.inc"

namespace moec::plan {

void PlanDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/Plan/IR/PlanOps.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/Plan/IR/PlanAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/Plan/IR/PlanTypes.cpp.inc"
      >();
}

int64_t tensorBytes(RankedTensorType type) { return type.getNumElements() * ((type.getElementTypeBitWidth() + 7) / 8); }

LogicalResult BufferType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t bytes) {
  if (bytes < 0)
    return emitError() << "buffer of " << bytes << " bytes; expected 0 or more";
  return success();
}

int64_t StateOp::getCopyBytes() { return tensorBytes(getTensorType()); }

void StateOp::build(OpBuilder &, OperationState &state, StringRef name, StateKind kind, RankedTensorType type,
                    int64_t count) {
  Builder b(state.getContext());
  Properties &properties = state.getOrAddProperties<Properties>();
  properties.sym_name = b.getStringAttr(name);
  properties.kind = StateKindAttr::get(b.getContext(), kind);
  properties.type = TypeAttr::get(type);
  properties.count = b.getI64IntegerAttr(count);
}

static StateKind kindOf(StateRole role) {
  switch (role) {
  case StateRole::step_counter:
    return StateKind::counter;
  case StateRole::batch_tokens:
  case StateRole::batch_sources:
  case StateRole::generate_tokens:
  case StateRole::generate_position:
    return StateKind::batch;
  case StateRole::generate_logits:
  case StateRole::token_losses:
    return StateKind::output;
  case StateRole::loss:
  case StateRole::total_loss:
  case StateRole::grad_norm:
  case StateRole::expert_tokens:
    return StateKind::metric;
  }
  llvm_unreachable("all roles are above");
}

static bool maySave(StateKind kind) {
  return kind == StateKind::parameter || kind == StateKind::optimizer || kind == StateKind::balance ||
         kind == StateKind::counter;
}

LogicalResult StateOp::verify() {
  auto type = dyn_cast<RankedTensorType>(getType());
  if (!type || !type.hasStaticShape())
    return emitOpError("type is ") << getType() << "; expected a tensor with static shape";
  if (getCount() < 1) // C1
    return emitOpError("has ") << getCount() << " copies; expected 1 or more";
  if (getOffset() && *getOffset() % alignment != 0) // C2
    return emitOpError("stands at byte ") << *getOffset() << ", which is not a multiple of " << alignment;
  if (getLayers() && getLayers()->size() != 2)
    return emitOpError("layers has ") << getLayers()->size() << " numbers; expected first and step";
  if (getDivided() && !getEach() &&
      (*getDivided() < 1 || type.getNumElements() * getCount() % *getDivided() != 0)) // C6
    return emitOpError("is divided by ") << *getDivided() << "; expected a number that divides its elements";
  if (getSaved() && !maySave(getKind())) // C3
    return emitOpError("is saved, and of kind ")
           << stringifyEnum(getKind()) << "; expected parameter, optimizer, balance or counter";
  if (getLogName().has_value() != (getKind() == StateKind::metric)) // C4
    return emitOpError("is of kind ") << stringifyEnum(getKind())
                                      << (getLogName() ? "; only a metric is logged"
                                                       : "; expected what the log calls it");
  if (getRole() && getKind() != kindOf(*getRole())) // C5
    return emitOpError("is of kind ") << stringifyEnum(getKind()) << "; the role " << stringifyEnum(*getRole())
                                      << " asks for " << stringifyEnum(kindOf(*getRole()));
  return success();
}

//===--- Ranks ----------------------------------------------------------------------------------------------------===//

int64_t MeshOp::indexOf(StringAttr axis) {
  auto found = llvm::find(getAxes(), axis);
  return found == getAxes().end() ? -1 : found - getAxes().begin();
}

int64_t MeshOp::sizeAlong(ArrayAttr axes) {
  int64_t size = 1;
  for (auto [number, axis] : llvm::enumerate(axes.getAsRange<StringAttr>())) {
    int64_t index = indexOf(axis);
    bool isNew = !llvm::is_contained(axes.getValue().take_front(number), axis);
    size *= index < 0 || !isNew ? 0 : getSizes()[index];
  }
  return size;
}

LogicalResult MeshOp::verify() {
  if (getAxes().empty() || getAxes().size() != getSizes().size() ||
      llvm::any_of(getSizes(), [](int64_t size) { return size < 1; })) // C1
    return emitOpError("has axes ") << getAxes() << " and " << getSizes().size()
                                    << " sizes; expected a size of 1 or more for each axis";
  for (auto [number, axis] : llvm::enumerate(getAxes().getAsRange<StringAttr>()))
    if (indexOf(axis) != static_cast<int64_t>(number)) // C3
      return emitOpError("has two axes called ") << axis;
  if (getBatches() && indexOf(getBatchesAttr()) < 0) // C2
    return emitOpError("deals out batches along ") << getBatchesAttr() << "; expected one of " << getAxes();
  return success();
}

/// Ranks along `axes`, or a diagnostic.
static FailureOr<int64_t> groupSize(Operation *op, ArrayAttr axes, SymbolTableCollection &tables) {
  auto mesh = tables.lookupNearestSymbolFrom<MeshOp>(op, StringAttr::get(op->getContext(), MeshOp::symbol));
  int64_t size = mesh ? mesh.sizeAlong(axes) : 0;
  if (size > 0 && !axes.empty())
    return size;
  InFlightDiagnostic diag = op->emitOpError("names ") << axes << "; expected axes of the plan.mesh, each once";
  if (mesh)
    diag.attachNote(mesh.getLoc()) << "which has " << mesh.getAxes();
  return failure();
}

LogicalResult CoordinateOp::verifySymbolUses(SymbolTableCollection &tables) {
  return groupSize(*this, getAxes(), tables); // C1
}

LogicalResult StartOp::verify() {
  auto wait = getRequest().hasOneUse() ? dyn_cast<WaitOp>(*getRequest().user_begin()) : WaitOp();
  if (!wait || wait->getBlock() != (*this)->getBlock()) // C3
    return emitOpError("is waited for ") << llvm::range_size(getRequest().getUsers())
                                         << " times in its block; expected one plan.wait there";
  return success();
}

LogicalResult StartOp::verifySymbolUses(SymbolTableCollection &tables) {
  FailureOr<int64_t> ranks = groupSize(*this, getAxes(), tables); // C1
  if (failed(ranks))
    return failure();
  int64_t dst = getDst().getType().getBytes(), src = getSrc().getType().getBytes();
  if (getExchange() == Exchange::rows) {
    bool areCounts = getCounts().size() == 2 && llvm::all_of(getCounts(), [&](Value counts) {
                       return cast<BufferType>(counts.getType()).getBytes() % (4 * *ranks) == 0;
                     });
    int64_t row = getRowBytes().value_or(0);
    if (!areCounts || row < 1 || dst % row != 0 || src % row != 0) // C2
      return emitOpError("moves rows of ") << row << " bytes among " << *ranks << " ranks with " << getCounts().size()
                                           << " counts; expected whole rows, and two counts with as many for each rank";
    return success();
  }
  bool isGather = getExchange() == Exchange::all_gather;
  if (isGather ? dst != src * *ranks : (dst != src || src % *ranks != 0)) // C2
    return emitOpError("moves ") << src << " bytes into " << dst << " among " << *ranks << " ranks; expected "
                                 << (isGather ? "the source's bytes once for each rank"
                                              : "as many, and the same for each rank");
  return success();
}

LogicalResult KernelOp::verify() {
  if (getGrid() < 1 || getParams() < 0 || getScratch() < 0) // C1
    return emitOpError("has grid ") << getGrid() << ", params " << getParams() << ", scratch " << getScratch()
                                    << "; expected a grid of 1 or more and no negative number";
  return success();
}

LogicalResult AddressOp::verifySymbolUses(SymbolTableCollection &tables) {
  auto state = tables.lookupNearestSymbolFrom<StateOp>(*this, getStateAttr());
  if (!state)
    return emitOpError("names @") << getState() << ", which is not a plan.state";
  if (getType().getBytes() != state.getBytes()) {
    InFlightDiagnostic diag = emitOpError("has ")
                              << getType().getBytes() << " bytes but @" << getState() << " has " << state.getBytes();
    diag.attachNote(state.getLoc()) << "state declared here";
    return diag;
  }
  return success();
}

LogicalResult AllocOp::verify() {
  auto type = dyn_cast<RankedTensorType>(getType());
  if (!type || !type.hasStaticShape())
    return emitOpError("type is ") << getType() << "; expected a tensor with static shape";
  int64_t bytes = tensorBytes(type);
  if (getResult().getType().getBytes() != bytes) // C1
    return emitOpError("has ") << getResult().getType().getBytes() << " bytes but its tensor takes " << bytes;
  return success();
}

LogicalResult SliceOp::verify() {
  int64_t source = getSource().getType().getBytes(), size = getResult().getType().getBytes();
  if (static_cast<int64_t>(getOffset()) + size > source) // C1
    return emitOpError("takes bytes ") << getOffset() << ".." << getOffset() + size << " of a buffer of " << source;
  if (getStride() != 0 && !getIndex())
    return emitOpError("has a stride of ") << getStride() << " but no index";
  return success();
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &tables) {
  auto kernel = tables.lookupNearestSymbolFrom<KernelOp>(*this, getKernelAttr());
  if (!kernel)
    return emitOpError("names @") << getKernel() << ", which is not a plan.kernel";
  if (getOperands().size() != kernel.getParams()) { // C1
    InFlightDiagnostic diag = emitOpError("has ") << getOperands().size() << " operands but @" << getKernel()
                                                  << " takes " << kernel.getParams();
    diag.attachNote(kernel.getLoc()) << "kernel declared here";
    return diag;
  }
  for (int64_t position : getWrites()) // C2
    if (position < 0 || position >= static_cast<int64_t>(kernel.getParams()))
      return emitOpError("writes operand ") << position << " of " << kernel.getParams();
  return success();
}

LogicalResult CopyOp::verify() {
  if (getDst().getType() != getSrc().getType()) // C1
    return emitOpError("copies ") << getSrc().getType().getBytes() << " bytes to a buffer of "
                                  << getDst().getType().getBytes();
  return success();
}

LogicalResult RepeatOp::verify() {
  if (getCount() < 1) // C1
    return emitOpError("repeats ") << getCount() << " times; expected 1 or more";
  Block &block = getBody().front();
  if (block.getNumArguments() > 1 || (block.getNumArguments() == 1 && !block.getArgument(0).getType().isIndex()))
    return emitOpError("body takes ") << block.getNumArguments() << " arguments; expected at most one index";
  return success();
}

LogicalResult CallOp::verifySymbolUses(SymbolTableCollection &tables) {
  if (!tables.lookupNearestSymbolFrom<FuncOp>(*this, getCalleeAttr()))
    return emitOpError("names @") << getCallee() << ", which is not a plan.func";
  return success();
}

} // namespace moec::plan
