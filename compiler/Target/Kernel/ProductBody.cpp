#include "compiler/Target/Kernel/ProductBody.h"

using namespace mlir;

namespace moec::kernel {

LogicalResult ProductBody::addFactor(Value value, Factor &factor) {
  auto type = cast<RankedTensorType>(value.getType());
  factor.rows = type.getDimSize(type.getRank() - 2);
  factor.columns = type.getDimSize(type.getRank() - 1);
  value = DispatchBody::stripViews(value);
  if (std::optional<moe::PickedRows> picked = moe::pickedRows(value.getDefiningOp())) {
    if (cast<RankedTensorType>(value.getType()).getDimSize(1) != factor.columns)
      return dispatch.emitOpError("multiplies a reshape of gathered rows, which has no template");
    factor.rowMap = body.paramOf(picked->numbers);
    if (!factor.rowMap)
      return dispatch.emitOpError("gathers rows by a map that is computed inside the dispatch");
    factor.slots = picked->slots;
    value = picked->input;
  }
  std::optional<unsigned> param = body.paramOf(value);
  if (!param)
    return dispatch.emitOpError("multiplies a matrix that is computed inside the dispatch");
  factor.param = *param;
  return success();
}

LogicalResult ProductBody::addProduct(Operation *op) {
  Product product;
  product.value = op->getResult(0);
  Value a = op->getOperand(0), b = op->getOperand(1), offsetsValue, countsValue;
  Grouping kind = Grouping::None;
  if (auto matmul = dyn_cast<moe::MatmulOp>(op)) {
    product.ta = matmul.getTa();
    product.tb = matmul.getTb();
  } else if (auto grouped = dyn_cast<moe::GroupedMatmulOp>(op)) {
    kind = Grouping::Rows;
    product.tb = grouped.getTb();
    offsetsValue = grouped.getOffsets();
    countsValue = grouped.getCounts();
    if (Value scale = grouped.getRowScale()) {
      product.rowScale = body.paramOf(scale);
      product.columnScale = body.paramOf(grouped.getColumnScale());
      if (!product.rowScale || !product.columnScale)
        return dispatch.emitOpError("computes the scales of a product inside the dispatch");
    }
  } else if (auto outer = dyn_cast<moe::GroupedOuterOp>(op)) {
    kind = Grouping::Depth;
    product.ta = true;
    offsetsValue = outer.getOffsets();
    countsValue = outer.getCounts();
  } else {
    return op->emitOpError("internal: is a product that the matmul template does not know");
  }
  if (failed(addFactor(a, product.a)) || failed(addFactor(b, product.b)))
    return failure();
  if (product.tb && product.b.rowMap)
    return dispatch.emitOpError("multiplies by the transpose of gathered rows, which has no template");
  product.depth = product.ta ? product.a.rows : product.a.columns;

  auto type = cast<RankedTensorType>(product.value.getType());
  unsigned groupOffsets = 0, groupCounts = 0;
  int64_t groups = 1;
  if (kind != Grouping::None) {
    std::optional<unsigned> first = body.paramOf(offsetsValue), second = body.paramOf(countsValue);
    if (!first || !second)
      return dispatch.emitOpError("computes the groups of a grouped product inside the dispatch");
    groupOffsets = *first;
    groupCounts = *second;
    groups = cast<RankedTensorType>(countsValue.getType()).getDimSize(1);
  }
  int64_t resultRows = type.getDimSize(type.getRank() - 2), resultColumns = type.getDimSize(type.getRank() - 1);
  if (products.empty()) {
    element = type.getElementType();
    grouping = kind;
    experts = groups;
    rows = resultRows;
    columns = resultColumns;
    offsets = groupOffsets;
    counts = groupCounts;
  } else if (grouping != kind || experts != groups || rows != resultRows || columns != resultColumns ||
             offsets != groupOffsets || counts != groupCounts) {
    return dispatch.emitOpError("holds products of different shapes or groups");
  }
  products.push_back(product);
  return success();
}

LogicalResult ProductBody::checkEpilogue() {
  SmallVector<Value> computed;
  for (const Product &product : products)
    computed.push_back(product.value);
  for (moe::MapOp map : maps) {
    RankedTensorType shape = map.getShapeType();
    if (shape.getDimSize(1) != columns || shape.getNumElements() != resultRows() * columns)
      return dispatch.emitOpError("has a map whose shape is not that of its products");
    for (Value input : map.getInputs())
      if (!llvm::is_contained(computed, DispatchBody::stripViews(input)) && !body.paramOf(input))
        return dispatch.emitOpError("has a map on values that a matmul kernel does not compute");
    llvm::append_range(computed, map.getResults());
  }
  for (const DispatchBody::Sink &sink : body.sinks()) {
    auto reduce = sink.value.getDefiningOp<moe::RowReduceOp>();
    Value value = reduce ? reduce.getInput() : sink.value;
    if (!llvm::is_contained(computed, value) || (reduce && (!reduce.getEvery() || sink.accumulates)))
      return dispatch.emitOpError("hands out a value that a matmul kernel does not compute");
    if (reduce)
      rowSums.push_back({value, static_cast<int64_t>(*reduce.getEvery()), sink.param});
    else
      sinks.push_back(sink);
  }
  return success();
}

LogicalResult ProductBody::analyse() {
  for (Operation &op : *dispatch.getBlock()) {
    if (moe::isProduct(&op)) {
      if (failed(addProduct(&op)))
        return failure();
    } else if (auto map = dyn_cast<moe::MapOp>(op)) {
      maps.push_back(map);
    } else if (!moe::computesNothing(&op) && !moe::pickedRows(&op) && !isa<moe::RowReduceOp>(op)) {
      return dispatch.emitOpError("has no template: '") << op.getName() << "' inside a matmul kernel";
    }
  }
  if (products.empty())
    return dispatch.emitOpError("has no matrix product inside, as a matmul kernel must");
  return checkEpilogue();
}

Value ProductBody::scaled(KernelBuilder &k, const Product &product, Value sum, Value group, Value row, Value column,
                          Value count) const {
  if (!product.rowScale)
    return sum;
  int64_t lanes = KernelBuilder::lanesOf(sum.getType());
  auto load = [&](unsigned param, Value at, int64_t width, Value part) {
    Type storage = body.storageOf(param);
    Value loaded =
        part ? k.loadPart(storage, k.param(param), at, width, part) : k.load(storage, k.param(param), at, width);
    return k.convert(loaded, element);
  };
  Value ofRow = load(*product.rowScale, row, 1, Value());
  Value ofColumns = load(*product.columnScale, k.add(k.mul(group, k.i64(columns)), column), lanes, count);
  return k.fmul(k.fmul(sum, k.splat(ofRow, lanes)), ofColumns);
}

double ProductBody::flops() const {
  double flops = 0;
  for (const Product &product : products)
    flops += 2.0 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(product.depth);
  return flops;
}

double ProductBody::bytes() const {
  double bytes = 0;
  for (const moe::DispatchParam &param : body.params)
    bytes += static_cast<double>(param.type.getNumElements()) * param.type.getElementTypeBitWidth() / 8 *
             (param.isRead + param.isWritten);
  return bytes;
}

} // namespace moec::kernel
