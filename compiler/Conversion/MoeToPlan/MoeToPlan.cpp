// Gives every tensor value a buffer and turns dispatches into launches. Values that a loop carries or stacks are
// written in place if that is safe, and copied otherwise.
#include "compiler/Conversion/MoeToPlan/InPlace.h"
#include "compiler/Conversion/MoeToPlan/KernelTable.h"
#include "compiler/Conversion/MoeToPlan/Passes.h"
#include "compiler/Conversion/MoeToPlan/ValueNames.h"
#include "compiler/Target/All/Targets.h"
#include "dialects/Dist/IR/Dist.h"
#include "dialects/Moe/Analysis/Values.h"
#include "dialects/Tile/IR/Tile.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace moec {
#define GEN_PASS_DEF_MOETOPLAN
#include "compiler/Conversion/MoeToPlan/Passes.h.inc"

namespace {

using moe::isZero;
using moe::underReshapes;

int64_t bytesOf(Value value) { return plan::tensorBytes(cast<RankedTensorType>(value.getType())); }

/// A dispatch that only writes zeros is a fill.
bool isFill(moe::DispatchOp dispatch) {
  bool writes = false;
  for (Operation &op : *dispatch.getBlock()) {
    if (auto write = dyn_cast<moe::WriteOp>(op)) {
      writes = true;
      if (!isZero(write.getValue()))
        return false;
    } else if (!isa<arith::ConstantOp, moe::YieldOp>(op)) {
      return false;
    }
  }
  return writes && dispatch.getNumResults() == 0;
}

/// The value of an enum of `plan` with the name of a value of `moe`; both enums have the same names.
template <typename To, typename From> To sameWord(From from) {
  std::optional<To> to = plan::symbolizeEnum<To>(moe::stringifyEnum(from));
  assert(to && "the enums of plan have the words of those of moe");
  return *to;
}

class FunctionLowering {
public:
  FunctionLowering(KernelTable &kernels, SymbolTable &symbols) : kernels(kernels), symbols(symbols) {}

  LogicalResult lower(func::FuncOp source, plan::FuncOp target) {
    OpBuilder b = OpBuilder::atBlockEnd(&target.getBody().front());
    return lowerBlock(source.getBody().front(), b);
  }

private:
  LogicalResult lowerBlock(Block &block, OpBuilder &b);
  LogicalResult lowerDispatch(moe::DispatchOp dispatch, OpBuilder &b);
  LogicalResult lowerRepeat(moe::RepeatOp repeat, OpBuilder &b);
  LogicalResult lowerExchange(Operation *op, OpBuilder &b);
  void assignYields(moe::RepeatOp repeat, ArrayRef<Value> carries, ArrayRef<Value> slices, OpBuilder &b,
                    SmallVectorImpl<std::pair<Value, Value>> &copiesAtEnd);
  Value alloc(RankedTensorType type, Location loc, const Twine &name, OpBuilder &b);
  Value alloc(Value value, Location loc, const Twine &name, OpBuilder &b) {
    return alloc(cast<RankedTensorType>(value.getType()), loc, name, b);
  }
  Value bufferOf(Value value, OpBuilder &b);
  Value anywhere(Location loc, Value index, OpBuilder &b);
  Value stateBuffer(Location loc, FlatSymbolRefAttr symbol, Value index, OpBuilder &b, RankedTensorType type = {});

  KernelTable &kernels;
  SymbolTable &symbols;
  llvm::DenseMap<Value, Value> buffers;     // moe value -> plan buffer (or index -> index)
  llvm::StringMap<int> taken;               // names of buffers
  llvm::DenseMap<Value, Value> destination; // dispatch result -> buffer that it must be written to
};

/// Names are numbered from the second on: "attention.matmul", "attention.matmul.2".
Value FunctionLowering::alloc(RankedTensorType type, Location loc, const Twine &what, OpBuilder &b) {
  std::string name = what.str();
  if (int number = ++taken[name]; number > 1)
    name += "." + std::to_string(number);
  return plan::AllocOp::create(b, loc, plan::BufferType::get(b.getContext(), plan::tensorBytes(type)),
                               b.getStringAttr(name), TypeAttr::get(type), IntegerAttr(), IntegerAttr(), IntegerAttr());
}

/// All of a state, or with an index the copy or run of elements that it selects: they lie one after another, `type` is
/// what one holds (null: a copy).
Value FunctionLowering::stateBuffer(Location loc, FlatSymbolRefAttr symbol, Value index, OpBuilder &b,
                                    RankedTensorType type) {
  auto state = symbols.lookup<plan::StateOp>(symbol.getValue());
  Value address = plan::AddressOp::create(b, loc, plan::BufferType::get(b.getContext(), state.getBytes()), symbol);
  if (!index)
    return address;
  int64_t bytes = type ? plan::tensorBytes(type) : state.getCopyBytes();
  return plan::SliceOp::create(b, loc, plan::BufferType::get(b.getContext(), bytes), address, buffers.lookup(index), 0,
                               bytes);
}

/// An empty slice that lies `index` bytes after the start of the arena's first state. A kernel gets an index this way
/// (see DispatchParam).
Value FunctionLowering::anywhere(Location loc, Value index, OpBuilder &b) {
  plan::StateOp first = *kernels.getModule().getOps<plan::StateOp>().begin();
  Value address = stateBuffer(loc, FlatSymbolRefAttr::get(first), Value(), b);
  return plan::SliceOp::create(b, loc, plan::BufferType::get(b.getContext(), 0), address,
                               index ? buffers.lookup(index) : Value(), 0, index ? 1 : 0);
}

Value FunctionLowering::bufferOf(Value value, OpBuilder &b) {
  Value base = underReshapes(value);
  if (auto read = base.getDefiningOp<moe::ReadOp>())
    return stateBuffer(read.getLoc(), read.getStateAttr(), read.getIndex(), b, cast<RankedTensorType>(read.getType()));
  return buffers.lookup(base);
}

LogicalResult FunctionLowering::lowerDispatch(moe::DispatchOp dispatch, OpBuilder &b) {
  auto outerIndex = [&](BlockArgument argument) {
    return argument ? dispatch.getInputs()[argument.getArgNumber()] : Value();
  };
  if (isFill(dispatch)) {
    for (auto write : dispatch.getBlock()->getOps<moe::WriteOp>()) {
      Value index = outerIndex(dyn_cast_if_present<BlockArgument>(write.getIndex()));
      plan::FillOp::create(b, write.getLoc(), stateBuffer(write.getLoc(), write.getStateAttr(), index, b));
    }
    return success();
  }
  FailureOr<KernelTable::Kernels> launched = kernels.get(dispatch);
  if (failed(launched))
    return failure();
  SmallVector<Value> operands;
  SmallVector<int64_t> writes;
  llvm::SmallDenseSet<int> reused; // operands whose memory a result has
  for (const moe::DispatchParam &param : moe::collectDispatchParams(dispatch)) {
    if (param.isWritten)
      writes.push_back(operands.size());
    switch (param.kind) {
    case moe::DispatchParam::Kind::Input: {
      Value buffer = bufferOf(dispatch.getInputs()[param.index], b);
      if (!buffer)
        return dispatch.emitOpError("internal: input ") << param.index << " has no buffer";
      operands.push_back(buffer);
      break;
    }
    case moe::DispatchParam::Kind::State:
      operands.push_back(stateBuffer(dispatch.getLoc(), param.state, outerIndex(param.copy), b, param.type));
      break;
    case moe::DispatchParam::Kind::Base:
      operands.push_back(anywhere(dispatch.getLoc(), Value(), b));
      break;
    case moe::DispatchParam::Kind::Index:
      operands.push_back(anywhere(dispatch.getLoc(), outerIndex(param.copy), b));
      break;
    case moe::DispatchParam::Kind::Result: {
      Value result = dispatch.getResult(param.index);
      Value &buffer = buffers[result];
      int overwritten = findOverwritten(dispatch, param.index, destination);
      if (Value place = destination.lookup(result)) {
        buffer = place;
      } else if (overwritten >= 0 && reused.insert(overwritten).second) {
        buffer = bufferOf(dispatch.getInputs()[overwritten], b);
      } else {
        buffer = alloc(result, result.getLoc(), describeValue(result, symbols), b);
      }
      operands.push_back(buffer);
      break;
    }
    }
  }
  for (plan::KernelOp kernel : *launched)
    plan::LaunchOp::create(b, dispatch.getLoc(), FlatSymbolRefAttr::get(kernel), operands,
                           b.getDenseI64ArrayAttr(writes));
  return success();
}

/// Chooses where the values that the body yields are made: in their final place if nothing else needs that place,
/// otherwise in another buffer, with a copy.
void FunctionLowering::assignYields(moe::RepeatOp repeat, ArrayRef<Value> carries, ArrayRef<Value> slices, OpBuilder &b,
                                    SmallVectorImpl<std::pair<Value, Value>> &copiesAtEnd) {
  Block *body = repeat.getBlock();
  auto maker = [&](Value value) -> moe::DispatchOp {
    auto dispatch = value.getDefiningOp<moe::DispatchOp>();
    return dispatch && dispatch->getBlock() == body && !destination.contains(value) ? dispatch : moe::DispatchOp();
  };
  for (auto [number, yielded] : llvm::enumerate(repeat.getYield().getValues().take_front(carries.size()))) {
    Value base = underReshapes(yielded);
    BlockArgument carry = repeat.getCarryArguments()[number];
    if (base == carry)
      continue;
    moe::DispatchOp dispatch = maker(base);
    bool safe = static_cast<bool>(dispatch);
    SmallVector<Value> views{carry};
    while (safe && !views.empty())
      for (OpOperand &use : views.pop_back_val().getUses()) {
        Operation *user = use.getOwner();
        if (auto reshape = dyn_cast<moe::ReshapeOp>(user)) {
          views.push_back(reshape.getResult());
        } else if (user == dispatch) {
          safe &= use.get() == carry && canOverwrite(dispatch, cast<OpResult>(base).getResultNumber(),
                                                     dispatch.getBlock()->getArgument(use.getOperandNumber()));
        } else if (isa<moe::YieldOp>(user)) {
          // Stacked copies of the carried value are made at the start of the body. If the value is carried in another
          // place, it is needed at the end.
          safe &= use.getOperandNumber() >= carries.size();
        } else {
          Operation *ancestor = body->findAncestorOpInBlock(*user);
          safe &= ancestor->isBeforeInBlock(dispatch);
        }
      }
    if (safe)
      destination[base] = carries[number];
    else
      copiesAtEnd.push_back({yielded, carries[number]});
  }
  for (auto [number, yielded] : llvm::enumerate(repeat.getYield().getValues().drop_front(carries.size()))) {
    Value base = underReshapes(yielded);
    if (maker(base)) {
      destination[base] = slices[number];
      continue;
    }
    if (isa<BlockArgument>(base)) // before anything overwrites it
      plan::CopyOp::create(b, repeat.getLoc(), slices[number], bufferOf(base, b));
    else
      copiesAtEnd.push_back({yielded, slices[number]});
  }
}

LogicalResult FunctionLowering::lowerRepeat(moe::RepeatOp repeat, OpBuilder &b) {
  Location loc = repeat.getLoc();
  SmallVector<Value> carries;
  for (auto [init, argument, final] : llvm::zip(repeat.getInits(), repeat.getCarryArguments(), repeat.getFinals())) {
    Value base = underReshapes(init);
    Value carry;
    // It must be made in the same block: a value that a loop captures is needed again in the next iteration.
    auto maker = base.getDefiningOp<moe::DispatchOp>();
    if (maker && maker->getBlock() == repeat->getBlock() && base.hasOneUse() && init.hasOneUse() &&
        !destination.contains(base)) {
      carry = buffers.lookup(base);
    } else {
      carry = alloc(init, init.getLoc(), "carried." + describeValue(init, symbols), b);
      if (isZero(base))
        plan::FillOp::create(b, loc, carry);
      else if (Value buffer = bufferOf(init, b))
        plan::CopyOp::create(b, loc, carry, buffer);
      else
        return repeat.emitOpError("internal: a carried value starts as a constant other than zero");
    }
    carries.push_back(carry);
    buffers[argument] = carry;
    buffers[final] = carry;
  }
  SmallVector<Value> stacks;
  for (auto [out, yielded] : llvm::zip(repeat.getOuts(), repeat.getYield().getValues().drop_front(carries.size()))) {
    stacks.push_back(alloc(out, yielded.getLoc(), "kept." + describeValue(yielded, symbols), b));
    buffers[out] = stacks.back();
  }
  SmallVector<Value> inputs;
  for (Value stacked : repeat.getStacked()) {
    inputs.push_back(bufferOf(stacked, b));
    if (!inputs.back())
      return repeat.emitOpError("internal: a stacked operand has no buffer");
  }

  auto loop = plan::RepeatOp::create(b, loc, repeat.getCount(), repeat.getReverse());
  Block *body = new Block;
  loop.getBody().push_back(body);
  Value index = body->addArgument(b.getIndexType(), loc);
  buffers[repeat.getIndexArgument()] = index;
  OpBuilder inner = OpBuilder::atBlockEnd(body);
  auto slice = [&](Value buffer, int64_t bytes) -> Value {
    return plan::SliceOp::create(inner, loc, plan::BufferType::get(b.getContext(), bytes), buffer, index, 0, bytes);
  };
  for (auto [argument, buffer] : llvm::zip(repeat.getSliceArguments(), inputs))
    buffers[argument] = slice(buffer, bytesOf(argument));
  SmallVector<Value> slices;
  for (auto [stack, yielded] : llvm::zip(stacks, repeat.getYield().getValues().drop_front(carries.size())))
    slices.push_back(slice(stack, bytesOf(yielded)));
  SmallVector<std::pair<Value, Value>> copies;
  assignYields(repeat, carries, slices, inner, copies);
  if (failed(lowerBlock(*repeat.getBlock(), inner)))
    return failure();
  // A copy into one carried buffer must not destroy the source of another copy, so sources that are carried go through
  // a temporary.
  SmallVector<std::pair<Value, Value>> moves;
  SmallVector<Value> zeroed;
  for (auto [value, place] : copies) {
    Value source = bufferOf(value, inner);
    if (isZero(underReshapes(value))) {
      zeroed.push_back(place);
      continue;
    }
    if (!source)
      return repeat.emitOpError("internal: a yielded value has no buffer");
    if (copies.size() > 1 && llvm::is_contained(carries, source)) {
      Value temporary = alloc(value, value.getLoc(), "carried." + describeValue(value, symbols), inner);
      plan::CopyOp::create(inner, loc, temporary, source);
      source = temporary;
    }
    moves.push_back({place, source});
  }
  for (auto [place, source] : moves)
    plan::CopyOp::create(inner, loc, place, source);
  for (Value place : zeroed)
    plan::FillOp::create(inner, loc, place);
  return success();
}

/// An op that stays apart: a start and its wait, one after the other. Results of several ranks lie side by side in one
/// buffer, as they arrive.
LogicalResult FunctionLowering::lowerExchange(Operation *op, OpBuilder &b) {
  Location loc = op->getLoc();
  if (auto coordinate = dyn_cast<dist::CoordinateOp>(op)) {
    buffers[coordinate] = plan::CoordinateOp::create(b, loc, b.getIndexType(), coordinate.getAxes());
    return success();
  }
  Value moved = isa<dist::GatherIntoOp>(op) ? cast<dist::GatherIntoOp>(op).getValue() : op->getOperand(0);
  Value source = bufferOf(moved, b);
  if (!source)
    return op->emitOpError("internal: its operand has no buffer");
  Value destination;
  if (auto into = dyn_cast<dist::GatherIntoOp>(op)) {
    destination = stateBuffer(loc, into.getStateAttr(), Value(), b);
  } else {
    auto type = cast<RankedTensorType>(op->getResult(0).getType());
    int64_t count = op->getNumResults(), bytes = plan::tensorBytes(type);
    SmallVector<int64_t> shape(type.getShape());
    shape.front() *= count;
    destination = alloc(RankedTensorType::get(shape, type.getElementType()), loc,
                        "received." + describeValue(op->getResult(0), symbols), b);
    for (auto [number, result] : llvm::enumerate(op->getResults()))
      buffers[result] = count == 1 ? destination
                                   : plan::SliceOp::create(b, loc, plan::BufferType::get(b.getContext(), bytes),
                                                           destination, Value(), bytes * number, 0);
  }
  SmallVector<Value> counts;
  IntegerAttr rowBytes;
  if (auto rows = dyn_cast<dist::ExchangeRowsOp>(op)) {
    auto type = cast<RankedTensorType>(rows.getRows().getType());
    rowBytes = b.getI64IntegerAttr(plan::tensorBytes(type) / type.getDimSize(0));
    counts = {bufferOf(rows.getSends(), b), bufferOf(rows.getReceives(), b)};
    if (!counts[0] || !counts[1])
      return op->emitOpError("internal: its counts have no buffer");
  }
  auto exchange = plan::ExchangeAttr::get(b.getContext(), isa<dist::ExchangeRowsOp>(op) ? plan::Exchange::rows
                                                          : isa<dist::AllToAllOp>(op)   ? plan::Exchange::all_to_all
                                                                                        : plan::Exchange::all_gather);
  auto axes = op->getAttrOfType<ArrayAttr>("axes");
  Value request = plan::StartOp::create(b, loc, plan::RequestType::get(b.getContext()), exchange, axes, destination,
                                        source, counts, rowBytes);
  plan::WaitOp::create(b, loc, request);
  return success();
}

LogicalResult FunctionLowering::lowerBlock(Block &block, OpBuilder &b) {
  for (Operation &op : block.without_terminator()) {
    if (isa<arith::ConstantOp, moe::ReadOp, moe::ReshapeOp>(op))
      continue; // looked through where they are used
    LogicalResult done = success();
    if (auto dispatch = dyn_cast<moe::DispatchOp>(op))
      done = lowerDispatch(dispatch, b);
    else if (auto repeat = dyn_cast<moe::RepeatOp>(op))
      done = lowerRepeat(repeat, b);
    else if (isa<dist::CoordinateOp, dist::AllToAllOp, dist::AllGatherOp, dist::GatherIntoOp, dist::ExchangeRowsOp>(op))
      done = lowerExchange(&op, b);
    else
      return op.emitOpError("internal: not inside a dispatch; run moe-form-dispatches first");
    if (failed(done))
      return failure();
  }
  return success();
}

struct MoeToPlanPass : impl::MoeToPlanBase<MoeToPlanPass> {
  using Base::Base;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    std::unique_ptr<Target> machine = createTarget(target);
    if (!machine) {
      module.emitError() << unknownTarget(target);
      return signalPassFailure();
    }
    // The plan is built in a module of its own, because functions and states keep their names.
    OwningOpRef<ModuleOp> made = ModuleOp::create(module.getLoc());
    OpBuilder b = OpBuilder::atBlockEnd(made->getBody());
    SmallVector<Operation *> replaced;
    if (dist::MeshOp mesh = dist::findMesh(module)) {
      plan::MeshOp::create(b, mesh.getLoc(), mesh.getSymName(), mesh.getAxes(), mesh.getSizes(), mesh.getBatchesAttr());
      replaced.push_back(mesh);
    }
    for (auto state : module.getOps<moe::StateOp>()) {
      auto placed =
          plan::StateOp::create(b, state.getLoc(), state.getSymName(), sameWord<plan::StateKind>(state.getKind()),
                                state.getTensorType(), state.getCopies());
      placed.setLayersAttr(state.getLayersAttr());
      placed.setLogicalNameAttr(state.getLogicalNameAttr());
      placed.setLogNameAttr(state.getLogNameAttr());
      if (std::optional<moe::StateRole> role = state.getRole())
        placed.setRole(sameWord<plan::StateRole>(*role));
      placed.setSaved(state.getSaved());
      placed.setDividedAttr(state.getDividedAttr());
      placed.setAxesAttr(state.getAxesAttr());
      placed.setEach(state.getEach());
      replaced.push_back(state);
    }
    ModuleOp kernels = ModuleOp::create(b, module.getLoc(), kernelModuleName);
    SymbolTable symbols(*made);
    KernelTable table(*made, kernels, *machine);
    for (auto function : module.getOps<func::FuncOp>()) {
      auto lowered = plan::FuncOp::create(b, function.getLoc(), function.getSymName());
      lowered.getBody().emplaceBlock();
      FunctionLowering lowering(table, symbols);
      if (failed(lowering.lower(function, lowered)))
        return signalPassFailure();
      replaced.push_back(function);
    }
    for (Operation *op : replaced)
      op->erase();
    kernels->moveBefore(made->getBody(), made->getBody()->end());
    Block *body = module.getBody();
    body->getOperations().splice(body->end(), made->getBody()->getOperations());
  }
};

} // namespace
} // namespace moec
