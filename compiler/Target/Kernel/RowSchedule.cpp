#include "compiler/Target/Kernel/RowSchedule.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::kernel {

TypedAttr splatOf(Value value) {
  auto constant = DispatchBody::stripViews(value).getDefiningOp<arith::ConstantOp>();
  if (!constant)
    return {};
  auto elements = dyn_cast<SplatElementsAttr>(constant.getValue());
  return elements ? cast<TypedAttr>(elements.getSplatValue<Attribute>()) : TypedAttr();
}

int64_t tensorColumns(Value value) { return cast<RankedTensorType>(value.getType()).getShape().back(); }
int64_t tensorRows(Value value) {
  return cast<RankedTensorType>(value.getType()).getNumElements() / std::max<int64_t>(1, tensorColumns(value));
}

namespace {
/// How the template computes an op. An op that it has no code for has none.
enum class RowWork { none, byColumns, wholeRow };

// The template's table: every op that the targets' emitters know (sourceOf, emitSerial, compute, emitLevel).
RowWork workOf(Operation *op) {
  if (auto reduce = dyn_cast<moe::RowReduceOp>(op)) // of parts of a row: for kernels that have no whole one
    return reduce.getEvery() ? RowWork::none : RowWork::byColumns;
  if (isa<moe::MapOp, moe::ColReduceOp, moe::GatherRowsOp, moe::CombineRowsOp, moe::SpreadRowsOp, moe::EmbedOp,
          moe::SliceColumnsOp>(op))
    return RowWork::byColumns;
  if (isa<moe::TopKOp, moe::TakeOp, moe::PutOp, moe::RopeOp, moe::DotRowsOp, moe::RandomNormalOp>(op))
    return RowWork::wholeRow;
  return RowWork::none;
}

bool isRowAligned(Operation *op, unsigned operand) {
  moe::Rows rows = cast<moe::FactsOpInterface>(op).getOperandRows(operand);
  return rows == moe::Rows::aligned || rows == moe::Rows::reduced;
}

/// The rows of the value through which the kernel walks.
int64_t rowsWalked(Operation *op) {
  return tensorRows(isa<moe::ColReduceOp>(op) ? op->getOperand(0) : op->getResult(0));
}

int64_t elements(Value value) { return cast<RankedTensorType>(value.getType()).getNumElements(); }

// If all ops are elementwise on one shape, the borders of rows do not matter.
bool canFlatten(ArrayRef<Operation *> ops, ArrayRef<DispatchBody::Sink> sinks) {
  RankedTensorType shape;
  for (Operation *op : ops) {
    auto map = dyn_cast<moe::MapOp>(op);
    if (!map || map.getPosition())
      return false;
    if (!shape)
      shape = map.getShapeType();
    if (map.getShapeType().getShape() != shape.getShape())
      return false;
    for (Value input : map.getInputs())
      if (!splatOf(input) && elements(input) != 1 &&
          cast<RankedTensorType>(input.getType()).getShape() != shape.getShape())
        return false;
  }
  int64_t count = shape ? shape.getNumElements() : sinks.empty() ? 0 : elements(sinks.front().value);
  return llvm::all_of(sinks, [&](const DispatchBody::Sink &sink) { return elements(sink.value) == count; });
}
} // namespace

bool isLoopOp(Operation *op) { return workOf(op) == RowWork::byColumns; }

int64_t RowSchedule::columnsOf(Value value) const { return flat ? elements(value) : tensorColumns(value); }
int64_t RowSchedule::rowsOf(Value value) const { return flat ? 1 : tensorRows(value); }

double RowSchedule::flops() const {
  double count = 0;
  for (const RowStage &stage : stages)
    for (const RowItem &item : stage.items) {
      if (!item.op)
        continue;
      if (auto map = dyn_cast<moe::MapOp>(item.op)) {
        count += double(columnsOf(map.getResult(0))) * (double(map.getBlock()->getOperations().size()) - 1);
        continue;
      }
      // The work is counted on the wider side: the row that is reduced, or the result of an op without operands.
      bool hasInput = item.op->getNumOperands() && isa<RankedTensorType>(item.op->getOperand(0).getType());
      count += double(columnsOf(hasInput ? item.op->getOperand(0) : item.op->getResult(0)));
    }
  return double(rows) * count;
}

LogicalResult RowSchedule::checkBody(DispatchBody &body, SmallVectorImpl<Operation *> &ops) {
  SmallVector<unsigned> written;
  for (Operation &op : *body.dispatch.getBlock()) {
    if (moe::isSink(&op)) {
      unsigned param = body.paramOfAccess(&op);
      if (llvm::is_contained(written, param))
        return op.emitOpError("writes a state that this dispatch wrote before, which the row template cannot order");
      written.push_back(param);
    } else if (auto read = dyn_cast<moe::ReadOp>(op)) {
      if (llvm::is_contained(written, body.paramOfAccess(read)))
        return op.emitOpError("reads a state after this dispatch wrote it, which the row template cannot order");
    }
    if (moe::computesNothing(&op))
      continue;
    if (workOf(&op) == RowWork::none)
      return op.emitOpError("is not an op of the row template");
    ops.push_back(&op);
  }
  return success();
}

FailureOr<RowSchedule> RowSchedule::create(DispatchBody &body) {
  RowSchedule schedule;
  SmallVector<Operation *> ops;
  if (failed(schedule.checkBody(body, ops)))
    return failure();
  schedule.flat = canFlatten(ops, body.sinks());
  if (!schedule.flat && (!ops.empty() || !body.sinks().empty())) {
    schedule.rows = ops.empty() ? tensorRows(body.sinks().front().value) : rowsWalked(ops.front());
    for (Operation *op : ops)
      if (rowsWalked(op) != schedule.rows)
        return op->emitOpError("has ") << rowsWalked(op) << " rows, but the dispatch has " << schedule.rows;
  }
  for (Operation *op : ops)
    if (failed(schedule.place(body, op)))
      return failure();
  if (failed(schedule.splitSinks(body)))
    return failure();

  // Values that leave without being computed: copies of inputs and states, fills with a constant.
  for (const DispatchBody::Sink &sink : schedule.sinks) {
    if (schedule.values.count(sink.value))
      continue;
    if (schedule.rowsOf(sink.value) != schedule.rows)
      return body.dispatch.emitOpError("copies a value of ")
             << schedule.rowsOf(sink.value) << " rows, but has " << schedule.rows << " rows";
    int64_t width = schedule.columnsOf(sink.value);
    schedule.append(0, width > 1, width, {nullptr, sink.value}, sink.value);
    if (auto param = body.paramOf(sink.value))
      schedule.accesses.push_back({*param, schedule.values[sink.value].stage, /*elementwise=*/true});
  }
  schedule.placeSinks();

  int64_t cost = 0;
  bool splits = schedule.rows == 1;
  int64_t width = 0;
  for (RowStage &stage : schedule.stages) {
    if (stage.isLoop) {
      cost += stage.width;
      splits = splits && (width == 0 || width == stage.width);
      width = stage.width;
    }
    for (RowItem &item : stage.items) {
      if (!item.op)
        continue;
      if (isa<moe::RandomNormalOp>(item.op))
        cost += 32 * schedule.columnsOf(item.op->getResult(0));
      else if (auto dot = dyn_cast<moe::DotRowsOp>(item.op))
        cost += schedule.columnsOf(dot.getInput()) * schedule.columnsOf(dot.getResult());
      else if (auto top = dyn_cast<moe::TopKOp>(item.op))
        cost += schedule.columnsOf(top.getScores()) * (1 + schedule.columnsOf(top.getIds()));
      else if (!stage.isLoop)
        cost += schedule.columnsOf(item.op->getResult(0));
      else if (auto combine = dyn_cast<moe::CombineRowsOp>(item.op))
        cost += stage.width * tensorColumns(combine.getSlotRow());
      splits = splits && isa<moe::MapOp>(item.op);
    }
  }
  for (auto &[value, info] : schedule.values)
    splits = splits && info.deferred.empty() && !info.needsMemory;
  schedule.splitsColumns = splits && width > 1;
  schedule.rowCost = std::max<int64_t>(1, cost);
  return schedule;
}

unsigned RowSchedule::append(unsigned earliest, bool isLoop, int64_t width, RowItem item, ValueRange results) {
  unsigned stage = earliest;
  while (stage < stages.size() && (stages[stage].isLoop != isLoop || (isLoop && stages[stage].width != width)))
    ++stage;
  if (stage == stages.size())
    stages.push_back({isLoop, width, {}});
  stages[stage].items.push_back(item);
  for (Value result : results)
    values[result].stage = stage;
  return stage;
}

LogicalResult RowSchedule::place(DispatchBody &body, Operation *op) {
  auto sum = dyn_cast<moe::ColReduceOp>(op);
  bool reduces = sum || isa<moe::RowReduceOp>(op);
  int64_t width = columnsOf(reduces ? op->getOperand(0) : op->getResult(0));
  bool isLoop = isLoopOp(op) && width > 1;
  unsigned earliest = 0;
  for (OpOperand &operand : op->getOpOperands()) {
    Value source = DispatchBody::stripViews(operand.get());
    auto found = values.find(source);
    if (source.getDefiningOp<moe::ColReduceOp>())
      return op->emitOpError("reads a sum over rows, which this dispatch computes");
    if (found == values.end())
      continue;
    if (!isRowAligned(op, operand.getOperandNumber()))
      return op->emitOpError("reads operand ")
             << operand.getOperandNumber() << " as a whole, but this dispatch computes it";
    if (columnsOf(operand.get()) != columnsOf(source) || rowsOf(operand.get()) != rowsOf(source))
      return op->emitOpError("uses another shape of a value that this dispatch computes");
    Operation *producer = source.getDefiningOp();
    const RowStage &from = stages[found->second.stage];
    bool elementwise = isa<moe::MapOp, moe::RowReduceOp, moe::ColReduceOp>(op);
    bool sameStage = from.isLoop ? isLoop && elementwise && from.width == width && columnsOf(source) == width &&
                                       !isa<moe::RowReduceOp>(producer)
                                 : !isLoop;
    earliest = std::max(earliest, found->second.stage + (sameStage ? 0 : 1));
  }
  unsigned stage = append(earliest, isLoop, width, {op, {}}, sum ? ValueRange() : ValueRange(op->getResults()));
  for (OpOperand &operand : op->getOpOperands()) {
    Value source = DispatchBody::stripViews(operand.get());
    auto found = values.find(source);
    if (found != values.end()) {
      if (columnsOf(source) > 1 && (found->second.stage != stage || !isLoop))
        found->second.needsMemory = true;
      continue;
    }
    auto param = isa<RankedTensorType>(source.getType()) ? body.paramOf(source) : std::nullopt;
    if (!param)
      continue;
    bool aligned = isRowAligned(op, operand.getOperandNumber()) && rowsOf(operand.get()) == rows;
    bool wholeRow = isa<moe::MapOp, moe::RowReduceOp, moe::ColReduceOp>(op) && columnsOf(operand.get()) == width;
    accesses.push_back({*param, stage, aligned && wholeRow});
    if (!aligned && rows > 1 && body.params[*param].isWritten)
      return op->emitOpError("reads operand ")
             << operand.getOperandNumber() << " across rows, but this dispatch also writes that state";
  }
  return sum ? addSum(sum) : success();
}

LogicalResult RowSchedule::addSum(moe::ColReduceOp op) {
  if (columnsOf(op.getInput()) == 1)
    return op.emitOpError("has one column, expected more where rows are walked");
  int64_t each = rows / tensorRows(op.getResult());
  if (!sums.empty() && each != rowsPerSum)
    return op.emitOpError("adds up ") << each << " rows each, but another sum of this dispatch " << rowsPerSum;
  rowsPerSum = each;
  sums.push_back({op, {}});
  return success();
}

LogicalResult RowSchedule::splitSinks(DispatchBody &body) {
  for (const DispatchBody::Sink &sink : body.sinks()) {
    auto sum = llvm::find_if(sums, [&](const RowSum &sum) { return sink.value == sum.op->getResult(0); });
    if (sum == sums.end()) {
      sinks.push_back(sink);
      continue;
    }
    if (sum->param || sink.accumulates)
      return sum->op->emitOpError("is stored twice or accumulated, expected one place that is written");
    sum->param = sink.param;
  }
  for (const RowSum &sum : sums)
    if (!sum.param)
      return moe::ColReduceOp(sum.op).emitOpError("is not stored");
  return success();
}

void RowSchedule::placeSinks() {
  for (const DispatchBody::Sink &sink : sinks) {
    RowValue &value = values[sink.value];
    bool isScalar = columnsOf(sink.value) == 1;
    bool inLoop = stages[value.stage].isLoop && !isScalar;
    // A scalar waits in its register; storing it early has no benefit.
    bool mustWait = isScalar;
    for (const Access &access : accesses)
      if (access.param == sink.param)
        mustWait |= access.stage > value.stage || (access.stage == value.stage && !(inLoop && access.elementwise));
    // Serial ops write straight into one sink; further ones are copied.
    if (!inLoop && !isScalar && (sink.accumulates || value.home))
      mustWait = true;
    if (mustWait) {
      value.deferred.push_back({sink.param, sink.accumulates});
      value.needsMemory |= !isScalar;
    } else {
      value.direct.push_back({sink.param, sink.accumulates});
      if (!sink.accumulates && !value.home)
        value.home = sink.param;
    }
  }
  for (auto &[value, info] : values) {
    // Serial ops write rows, not registers.
    if (columnsOf(value) > 1 && !stages[info.stage].isLoop)
      info.needsMemory = true;
    if (!info.needsMemory)
      info.home.reset();
  }
}

} // namespace moec::kernel
