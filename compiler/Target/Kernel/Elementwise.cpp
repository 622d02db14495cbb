#include "compiler/Target/Kernel/Elementwise.h"

#include "compiler/Target/Kernel/RowSchedule.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::kernel {

void Elementwise::moveTo(int64_t newRows, Value newRow, Value newColumn, Piece newPiece) {
  known.clear();
  rows = newRows;
  row = newRow;
  column = newColumn;
  piece = newPiece;
}

Value Elementwise::get(Value value) { return evaluate(value, rows, row, column, piece); }

Value Elementwise::evaluate(Value value, int64_t atRows, Value atRow, Value atColumn, Piece at) {
  Value source = DispatchBody::stripViews(value);
  if (auto found = known.find(source); found != known.end())
    return k.splat(found->second, isa<VectorType>(found->second.getType()) ? 1 : at.lanes);
  if (TypedAttr splat = splatOf(source))
    return k.splat(arith::ConstantOp::create(k.b, splat), at.lanes);

  int64_t valueRows = tensorRows(value), columns = tensorColumns(value);
  Value ownRow = valueRows == atRows ? atRow : valueRows == 1 ? k.i64(0) : k.div(atRow, k.i64(atRows / valueRows));
  Value ownColumn = columns == 1 ? k.i64(0) : atColumn;
  Piece own = columns == 1 ? Piece{1, 1} : at;
  Value here;
  if (auto param = body.paramOf(source)) {
    Type element = cast<RankedTensorType>(value.getType()).getElementType();
    Value offset = k.add(k.mul(ownRow, k.i64(columns)), ownColumn);
    here = k.convert(k.load(body.storageOf(*param), k.param(*param), offset, own), element);
  } else {
    auto map = source.getDefiningOp<moe::MapOp>();
    SmallVector<Value> results = emitMap(k, map, own.lanes, ownRow, ownColumn, [&](unsigned i) {
      return evaluate(map.getInputs()[i], valueRows, ownRow, ownColumn, own);
    });
    for (auto [result, computed] : llvm::zip_equal(map.getResults(), results))
      known[result] = computed;
    here = known.lookup(source);
  }
  return columns == 1 ? k.splat(here, at.lanes) : here;
}

void Elementwise::store(ArrayRef<DispatchBody::Sink> sinks) {
  SmallVector<Value> values;
  for (const DispatchBody::Sink &sink : sinks)
    values.push_back(get(sink.value));
  for (auto [sink, value] : llvm::zip_equal(sinks, values)) {
    Type element = KernelBuilder::elementOf(value.getType()), storage = body.storageOf(sink.param);
    Value offset = k.add(k.mul(row, k.i64(tensorColumns(sink.value))), column);
    if (sink.accumulates) {
      Value old = k.convert(k.load(storage, k.param(sink.param), offset, piece), element);
      value = isa<FloatType>(element) ? k.fadd(old, value) : k.add(old, value);
    }
    k.store(k.convert(value, storage), k.param(sink.param), offset, piece);
  }
}

Value isSet(KernelBuilder &k, Elementwise &here, Value flag) {
  here.moveTo(1, k.i64(0), k.i64(0), {1, 1});
  Value value = here.get(flag), zero = k.constant(value.getType(), 0);
  if (isa<FloatType>(value.getType()))
    return arith::CmpFOp::create(k.b, arith::CmpFPredicate::UNE, value, zero);
  return arith::CmpIOp::create(k.b, arith::CmpIPredicate::ne, value, zero);
}

bool dependsOn(Value value, Operation *root) {
  Operation *producer = DispatchBody::stripViews(value).getDefiningOp();
  if (producer == root)
    return true;
  auto map = dyn_cast_if_present<moe::MapOp>(producer);
  return map && llvm::any_of(map.getInputs(), [&](Value input) { return dependsOn(input, root); });
}

Operation *findRoot(const DispatchBody &body) {
  moe::DispatchOp dispatch = body.dispatch;
  auto isRoot = [&](Operation &op) { return moe::kernelKind(&op) == dispatch.getKind(); };
  if (llvm::count_if(*dispatch.getBlock(), isRoot) == 1)
    return &*llvm::find_if(*dispatch.getBlock(), isRoot);
  dispatch.emitOpError("must hold one 'moe.") << dispatch.getKind() << "'";
  return nullptr;
}

LogicalResult checkRootBody(const DispatchBody &body, Operation *root, bool allowMaps) {
  moe::DispatchOp dispatch = body.dispatch;
  for (Operation &op : *dispatch.getBlock())
    if (!moe::computesNothing(&op) && &op != root && !(allowMaps && isa<moe::MapOp>(op)))
      return op.emitOpError("cannot be part of a '") << dispatch.getKind() << "' dispatch";
  return success();
}

LogicalResult checkRootOperands(const DispatchBody &body, Operation *root) {
  for (Value operand : root->getOperands())
    if (!body.paramOf(operand) && !splatOf(DispatchBody::stripViews(operand)))
      return root->emitOpError("has an operand that is computed in the same dispatch");
  for (const DispatchBody::Sink &sink : body.sinks())
    if (sink.value.getDefiningOp() != root)
      return root->emitOpError("shares its dispatch with another value");
  return success();
}

} // namespace moec::kernel
