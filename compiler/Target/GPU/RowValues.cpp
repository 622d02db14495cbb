// The row template's values as functions of the column.
#include "compiler/Target/GPU/RowEmitter.h"

#include "compiler/Target/Kernel/RandomNormal.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include <numeric>

using namespace mlir;

namespace moec::gpu {

using kernel::DispatchBody;
using kernel::splatOf;
using kernel::tensorColumns;
using kernel::tensorRows;

namespace {
Type elementType(Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); }
Type vectorOf(Type element, int64_t lanes) { return lanes == 1 ? element : Type(VectorType::get(lanes, element)); }

Value isNegative(SimtBuilder &k, Value number) {
  Value zero = k.constant(number.getType(), 0);
  return k.b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::slt, number, zero);
}
} // namespace

RowEmitter::Hoist::Hoist(RowEmitter &emitter) : guard(emitter.k.b) {
  if (emitter.outermostLoop)
    emitter.k.b.setInsertionPoint(emitter.outermostLoop);
}

//===--- Memory ---===//

Value RowEmitter::rowOf(int64_t rows) {
  if (rows == schedule.rows)
    return row;
  if (rows == 1)
    return k.i64(0);
  Value &number = rowNumbers[rows];
  if (!number) {
    Hoist hoist(*this);
    number = k.div(row, k.i64(schedule.rows / rows));
  }
  return number;
}

Value RowEmitter::rowBase(Value value, unsigned param) {
  Value &base = bases[value];
  if (!base) {
    Hoist hoist(*this);
    Value number = rowOf(schedule.rowsOf(value));
    base = k.at(k.param(param), k.mul(number, k.i64(schedule.columnsOf(value))), body.storageOf(param));
  }
  return base;
}

// Buffers start at multiples of 64 bytes, the copies and slots of stacked ones at multiples of their size.
int64_t RowEmitter::alignment(unsigned param, int64_t multiple, int64_t lanes, int64_t rowColumns) const {
  int64_t bytes = body.storageOf(param).getIntOrFloatBitWidth() / 8;
  int64_t known = std::gcd<int64_t>(16, body.params[param].type.getNumElements() * bytes);
  known = std::gcd(known, rowColumns * bytes);
  return std::max(bytes, std::gcd(known, std::gcd(multiple, lanes) * bytes));
}

Value RowEmitter::convert(Value value, Type element) {
  Type from = SimtBuilder::elementOf(value.getType());
  if (from == element)
    return value;
  Type type = vectorOf(element, SimtBuilder::lanesOf(value.getType()));
  if (from.getIntOrFloatBitWidth() < element.getIntOrFloatBitWidth())
    return arith::ExtFOp::create(k.b, type, value);
  return arith::TruncFOp::create(k.b, type, value);
}

Value RowEmitter::loadColumns(unsigned param, Value base, Value column, const Sites &sites, int64_t rowColumns,
                              Type to) {
  Type storage = body.storageOf(param);
  auto load =
      LLVM::LoadOp::create(k.b, vectorOf(SimtBuilder::memoryType(storage), sites.lanes), k.at(base, column, storage),
                           alignment(param, sites.multiple, sites.lanes, rowColumns));
  // Nothing else writes an operand during the launch, so loads may move over the kernel's own stores. LLVM would also
  // move them past a sum over the row, next to their use: late, and one after the other.
  load.setInvariant(!body.params[param].isWritten && !hasSteps);
  return convert(k.fromMemory(load, storage), to);
}

Value RowEmitter::laneOf(Value value, int64_t lane) {
  return isa<VectorType>(value.getType()) ? vector::ExtractOp::create(k.b, value, lane).getResult() : value;
}

RowEmitter::Sites RowEmitter::scattered(const Sites &sites, llvm::function_ref<Value(size_t, int64_t)> column) {
  Sites single;
  for (size_t site = 0; site < sites.columns.size(); ++site)
    for (int64_t lane = 0; lane < sites.lanes; ++lane)
      single.columns.push_back(column(site, lane));
  single.exists.assign(single.columns.size(), Value());
  return single;
}

RowEmitter::Values RowEmitter::gathered(ArrayRef<Value> elements, const Sites &sites) {
  if (sites.lanes == 1)
    return Values(elements);
  Values packed;
  auto type = VectorType::get(sites.lanes, elements.front().getType());
  for (size_t site = 0; site < sites.columns.size(); ++site)
    packed.push_back(vector::FromElementsOp::create(k.b, type, elements.slice(site * sites.lanes, sites.lanes)));
  return packed;
}

//===--- One element ---===//

Value RowEmitter::scalar(Value value) {
  Value source = DispatchBody::stripViews(value);
  if (auto found = replicated.find(source); found != replicated.end())
    return found->second.front();
  // The key is not the parameter: two views of one parameter with different rows differ.
  if (auto found = scalars.find(value); found != scalars.end())
    return found->second;
  Hoist hoist(*this);
  Value result;
  if (TypedAttr splat = splatOf(source))
    result = arith::ConstantOp::create(k.b, splat);
  else if (auto map = source.getDefiningOp<moe::MapOp>())
    result = uniform(map, map.getYield().getValues()[cast<OpResult>(source).getResultNumber()]);
  else {
    Sites only;
    only.columns = {k.i64(0)};
    only.exists = {Value()};
    if (auto param = body.paramOf(source))
      result = atParam(value, *param, only).front();
    else
      result = compute(source.getDefiningOp(), cast<OpResult>(source).getResultNumber(), only).front();
  }
  return scalars[value] = result;
}

Value RowEmitter::element(Value value, int64_t column) {
  if (isUniform(value))
    return scalar(value);
  if (auto found = replicated.find(DispatchBody::stripViews(value)); found != replicated.end())
    return found->second[column];
  Hoist hoist(*this);
  Sites only;
  only.multiple = column ? column & -column : 16;
  only.columns = {k.i64(column)};
  only.exists = {Value()};
  return evaluate(value, only).front();
}

Value RowEmitter::elementAt(Value value, Value column) {
  Sites only;
  only.columns = {column};
  only.exists = {Value()};
  return evaluate(value, only).front();
}

Value RowEmitter::uniform(moe::MapOp map, Value inner) {
  auto key = std::make_pair(map.getOperation(), inner);
  if (auto found = uniforms.find(key); found != uniforms.end())
    return found->second;
  Value result;
  unsigned numInputs = map.getInputs().size();
  if (auto argument = dyn_cast<BlockArgument>(inner)) {
    unsigned number = argument.getArgNumber();
    if (number < numInputs)
      result = isUniform(map.getInputs()[number]) ? scalar(map.getInputs()[number]) : Value();
    else if (number == numInputs)
      result = row;
    else if (schedule.columnsOf(map.getResult(0)) == 1)
      result = k.i64(0);
    return uniforms[key] = result;
  }
  Operation *op = inner.getDefiningOp();
  IRMapping values;
  for (Value operand : op->getOperands()) {
    Value here = uniform(map, operand);
    if (!here)
      return uniforms[key] = Value();
    values.map(operand, here);
  }
  Hoist hoist(*this);
  Operation *scalarOp = k.b.clone(*op, values);
  for (auto [from, to] : llvm::zip_equal(op->getResults(), scalarOp->getResults()))
    uniforms[{map.getOperation(), from}] = to;
  return uniforms[key];
}

//===--- Many columns ---===//

RowEmitter::Values RowEmitter::evaluate(Value value, Sites &sites) {
  Value source = DispatchBody::stripViews(value);
  auto param = body.paramOf(source);
  Value key = param ? value : source;
  if (auto found = sites.known.find(key); found != sites.known.end())
    return found->second;
  std::optional<Hoist> hoist;
  if (sites.isWholeRow)
    hoist.emplace(*this);
  Values result;
  if (TypedAttr splat = splatOf(source)) {
    Attribute all = sites.lanes == 1
                        ? Attribute(splat)
                        : DenseElementsAttr::get(VectorType::get(sites.lanes, splat.getType()), Attribute(splat));
    result.assign(sites.columns.size(), arith::ConstantOp::create(k.b, cast<TypedAttr>(all)));
  } else if (schedule.columnsOf(value) == 1) {
    result.assign(sites.columns.size(), k.splat(scalar(value), sites.lanes));
  } else if (param) {
    result = atParam(value, *param, sites);
  } else if (auto found = replicated.find(source); found != replicated.end()) {
    result = atReplicated(value, found->second, sites);
  } else if (auto found = sharedRows.find(source); found != sharedRows.end()) {
    for (Value column : sites.columns)
      result.push_back(k.load(elementType(source), found->second, column, sites.lanes));
  } else {
    result = compute(source.getDefiningOp(), cast<OpResult>(source).getResultNumber(), sites);
  }
  return sites.known[key] = result;
}

RowEmitter::Values RowEmitter::compute(Operation *op, unsigned result, Sites &sites) {
  if (auto map = dyn_cast<moe::MapOp>(op))
    return atMap(map, result, sites);
  if (isa<moe::GatherRowsOp, moe::EmbedOp, moe::SpreadRowsOp>(op))
    return atTableRow(op, sites);
  if (auto combine = dyn_cast<moe::CombineRowsOp>(op))
    return atCombine(combine, sites);
  if (auto slice = dyn_cast<moe::SliceColumnsOp>(op))
    return atSlice(slice, sites);
  if (auto take = dyn_cast<moe::TakeOp>(op))
    return atTake(take, sites);
  if (auto put = dyn_cast<moe::PutOp>(op))
    return atPut(put, sites);
  if (auto rope = dyn_cast<moe::RopeOp>(op))
    return atRope(rope, sites);
  return atRandom(cast<moe::RandomNormalOp>(op), sites);
}

RowEmitter::Values RowEmitter::atParam(Value value, unsigned param, Sites &sites) {
  Value base = rowBase(value, param);
  Values result;
  for (Value column : sites.columns)
    result.push_back(loadColumns(param, base, column, sites, schedule.columnsOf(value), elementType(value)));
  return result;
}

// Every thread holds all elements and selects those of its columns. Lane l only has columns l, l + multiple, ...
RowEmitter::Values RowEmitter::atReplicated(Value value, ArrayRef<Value> elements, Sites &sites) {
  int64_t step = sites.multiple % sites.lanes == 0 ? sites.lanes : 1;
  Values picked;
  for (Value column : sites.columns)
    for (int64_t lane = 0; lane < sites.lanes; ++lane) {
      size_t first = step == 1 ? 0 : lane;
      Value here = elements[std::min(first, elements.size() - 1)];
      for (size_t i = first + step; i < elements.size(); i += step)
        here = k.select(k.equal(column, k.i64(static_cast<int64_t>(i) - lane)), elements[i], here);
      picked.push_back(here);
    }
  return gathered(picked, sites);
}

RowEmitter::Values RowEmitter::atMap(moe::MapOp map, unsigned result, Sites &sites) {
  Block *block = map.getBlock();
  unsigned numInputs = map.getInputs().size();
  // The operands of all sites come first, so that their loads overlap.
  SmallVector<Values> operands(numInputs);
  for (auto [i, input] : llvm::enumerate(map.getInputs()))
    if (!isUniform(input))
      operands[i] = evaluate(input, sites);

  SmallVector<Values> results(map.getNumResults());
  for (auto [site, column] : llvm::enumerate(sites.columns)) {
    DenseMap<Value, Value> here;
    for (unsigned i = 0; i < numInputs; ++i)
      if (!isUniform(map.getInputs()[i]))
        here[block->getArgument(i)] = operands[i][site];
    if (map.getPosition() && schedule.columnsOf(map.getResult(0)) > 1) {
      Value columns = k.splat(column, sites.lanes);
      here[block->getArgument(numInputs + 1)] = sites.lanes == 1 ? columns : k.add(columns, k.iota(sites.lanes));
    }
    auto valueOf = [&](Value inner) -> Value {
      if (auto found = here.find(inner); found != here.end())
        return found->second;
      Value same = uniform(map, inner);
      if (!same)
        return {};
      return here[inner] = k.splat(same, sites.lanes);
    };
    for (Operation &op : block->without_terminator()) {
      if (uniform(map, op.getResult(0)))
        continue;
      IRMapping values;
      for (Value operand : op.getOperands())
        values.map(operand, valueOf(operand));
      Operation *wide = k.b.clone(op, values);
      for (auto [from, to] : llvm::zip_equal(op.getResults(), wide->getResults())) {
        to.setType(vectorOf(from.getType(), sites.lanes));
        here[from] = to;
      }
    }
    for (auto [i, value] : llvm::enumerate(map.getYield().getValues()))
      results[i].push_back(valueOf(value));
  }
  for (auto [i, value] : llvm::enumerate(map.getResults()))
    sites.known[value] = results[i];
  return results[result];
}

//===--- Rows of tables ---===//

RowEmitter::TableRow RowEmitter::tableRow(Value number, Value table, Value weight) {
  unsigned param = *body.paramOf(table);
  Value wide = k.toI64(number);
  Value base = k.at(k.param(param), k.mul(k.max(wide, k.i64(0)), k.i64(tensorColumns(table))), body.storageOf(param));
  return {isNegative(k, number), base, weight};
}

RowEmitter::Values RowEmitter::atTableRow(Operation *op, Sites &sites) {
  Value table = op->getOperand(0); // of all three
  if (!tableRows.count(op)) {
    Hoist hoist(*this);
    Value number = scalar(op->getOperand(1)), weight;
    if (auto spread = dyn_cast<moe::SpreadRowsOp>(op)) {
      Value slot = number;
      Value token = k.b.createOrFold<arith::DivSIOp>(slot, k.i32(spread.getTopK()));
      number = k.select(isNegative(k, slot), k.i32(-1), token);
      // Weights are [N, K], so slot n*K + k is simply their element.
      if (Value weights = spread.getWeights()) {
        if (splatOf(weights)) {
          weight = scalar(weights);
        } else {
          unsigned param = *body.paramOf(weights);
          Value place = k.max(k.toI64(slot), k.i64(0));
          weight = loadColumns(param, k.param(param), place, Sites(), 1, elementType(weights));
        }
      }
    }
    tableRows[op] = {tableRow(number, table, weight)};
  }
  const TableRow from = tableRows[op].front();
  Values result;
  for (Value column : sites.columns)
    result.push_back(
        loadColumns(*body.paramOf(table), from.base, column, sites, tensorColumns(table), elementType(table)));
  for (Value &value : result) {
    if (from.weight)
      value = k.fmul(value, k.splat(from.weight, sites.lanes));
    value = k.select(from.isMissing, k.constant(value.getType(), 0), value);
  }
  return result;
}

RowEmitter::Values RowEmitter::atCombine(moe::CombineRowsOp op, Sites &sites) {
  Value table = op.getRows();
  unsigned param = *body.paramOf(table);
  int64_t slots = tensorColumns(op.getSlotRow()), width = tensorColumns(table);
  Type type = elementType(table);
  auto add = [&](const TableRow &from, Value sum, Value loaded) {
    Value next = from.weight ? k.fma(loaded, k.splat(from.weight, sites.lanes), sum) : k.fadd(sum, loaded);
    return k.select(from.isMissing, sum, next);
  };
  Values sums(sites.columns.size(), k.constant(vectorOf(type, sites.lanes), 0));
  if (slots > kMostReplicated) {
    // Most slots may be missing (experts that choose tokens). The row numbers of several slots are loaded at once, then
    // only the rows that exist.
    constexpr int64_t kTogether = 8;
    return loopOver(k.i64(0), k.i64(slots), kTogether, sums, [&](Value first, ValueRange carried) {
      SmallVector<TableRow> rows;
      for (int64_t i = 0; i < kTogether; ++i) {
        Value slot = k.add(first, k.i64(i)), place = slots % kTogether ? k.min(slot, k.i64(slots - 1)) : slot;
        Value weight = op.getWeights() ? elementAt(op.getWeights(), place) : Value();
        rows.push_back(tableRow(elementAt(op.getSlotRow(), place), table, weight));
        if (slots % kTogether)
          rows.back().isMissing = k.b.createOrFold<arith::OrIOp>(rows.back().isMissing, k.less(k.i64(slots - 1), slot));
      }
      Values next(carried);
      for (const TableRow &from : rows) {
        auto added = [&] {
          Values more;
          for (auto [sum, column] : llvm::zip_equal(next, sites.columns))
            more.push_back(add(from, sum, loadColumns(param, from.base, column, sites, width, type)));
          return more;
        };
        next = k.choose(ValueRange(next).getTypes(), from.isMissing, [&] { return next; }, added);
      }
      return next;
    });
  }
  if (!tableRows.count(op)) {
    Hoist hoist(*this);
    SmallVector<TableRow> rows;
    Values numbers, weights;
    for (int64_t slot = 0; slot < slots; ++slot) {
      numbers.push_back(element(op.getSlotRow(), slot));
      weights.push_back(op.getWeights() ? element(op.getWeights(), slot) : Value());
    }
    for (auto [number, weight] : llvm::zip_equal(numbers, weights))
      rows.push_back(tableRow(number, table, weight));
    tableRows[op] = rows;
  }
  const SmallVector<TableRow> rows = tableRows[op];
  // All loads, then the sums in the order of the slots.
  SmallVector<Values> loaded;
  for (const TableRow &from : rows) {
    loaded.emplace_back();
    for (Value column : sites.columns)
      loaded.back().push_back(loadColumns(param, from.base, column, sites, width, type));
  }
  for (auto [from, values] : llvm::zip_equal(rows, loaded))
    for (auto [sum, value] : llvm::zip_equal(sums, values))
      sum = add(from, sum, value);
  return sums;
}

//===--- Other columns ---===//

RowEmitter::Values RowEmitter::atSlice(moe::SliceColumnsOp op, Sites &sites) {
  Sites moved;
  moved.lanes = sites.lanes;
  moved.multiple = std::gcd(sites.multiple, static_cast<int64_t>(op.getFirst()));
  moved.exists = sites.exists;
  for (Value column : sites.columns)
    moved.columns.push_back(k.add(column, k.i64(op.getFirst())));
  return evaluate(op.getInput(), moved);
}

RowEmitter::Values RowEmitter::atTake(moe::TakeOp op, Sites &sites) {
  Values ids = evaluate(op.getIds(), sites);
  Sites there =
      scattered(sites, [&](size_t site, int64_t lane) { return k.max(k.toI64(laneOf(ids[site], lane)), k.i64(0)); });
  Values taken = evaluate(op.getInput(), there);
  for (auto [i, value] : llvm::enumerate(taken)) {
    Value id = laneOf(ids[i / sites.lanes], i % sites.lanes);
    value = k.select(isNegative(k, id), k.constant(value.getType(), 0), value);
  }
  return gathered(taken, sites);
}

// There is no row of zeros in memory: each column checks which slots name it.
RowEmitter::Values RowEmitter::atPut(moe::PutOp op, Sites &sites) {
  Type type = vectorOf(elementType(op.getResult()), sites.lanes);
  int64_t slots = schedule.columnsOf(op.getIds());
  auto add = [&](Value sum, Value id, Value value, Value column) {
    Value distance = k.sub(id, k.toI32(column));
    Value hit;
    if (sites.lanes == 1)
      hit = k.equal(distance, k.i32(0));
    else {
      auto lanes = VectorType::get(sites.lanes, k.b.getI32Type());
      SmallVector<int32_t> steps(llvm::to_vector(llvm::seq<int32_t>(0, static_cast<int32_t>(sites.lanes))));
      Value step = arith::ConstantOp::create(k.b, DenseElementsAttr::get(lanes, ArrayRef<int32_t>(steps)));
      hit = k.equal(k.splat(distance, sites.lanes), step);
    }
    return k.select(hit, k.fadd(sum, k.splat(value, sites.lanes)), sum);
  };
  Values sums(sites.columns.size(), k.constant(type, 0));
  auto addSlot = [&](Value id, Value value, ValueRange so) {
    Values next;
    for (auto [sum, column] : llvm::zip_equal(so, sites.columns))
      next.push_back(add(sum, id, value, column));
    return next;
  };
  if (slots > kMostReplicated)
    return loopOver(k.i64(0), k.i64(slots), 1, sums, [&](Value slot, ValueRange so) {
      return addSlot(elementAt(op.getIds(), slot), elementAt(op.getValues(), slot), so);
    });
  for (int64_t slot = 0; slot < slots; ++slot)
    sums = addSlot(element(op.getIds(), slot), element(op.getValues(), slot), sums);
  return sums;
}

std::pair<RowEmitter::Values, RowEmitter::Values> RowEmitter::anglesOf(moe::RopeOp op, Sites &sites) {
  int64_t half = tensorColumns(op.getCos()), positions = tensorRows(op.getCos());
  Sites angles;
  angles.lanes = sites.lanes;
  angles.multiple = std::gcd(sites.multiple, half);
  for (Value column : sites.columns)
    angles.columns.push_back(k.rem(column, k.i64(half)));
  auto table = [&](Value values) {
    unsigned param = *body.paramOf(values);
    Value &base = bases[values];
    if (!base) {
      Hoist hoist(*this);
      base = k.at(k.param(param), k.mul(k.rem(k.div(row, k.i64(op.getHeads())), k.i64(positions)), k.i64(half)),
                  body.storageOf(param));
    }
    Values loaded;
    for (Value angle : angles.columns)
      loaded.push_back(loadColumns(param, base, angle, angles, half, elementType(values)));
    return loaded;
  };
  return {table(op.getCos()), table(op.getSin())};
}

RowEmitter::Values RowEmitter::atRope(moe::RopeOp op, Sites &sites) {
  int64_t half = tensorColumns(op.getCos());
  if (half % sites.lanes || sites.multiple % sites.lanes) {
    Sites single = scattered(sites, [&](size_t site, int64_t lane) { return k.add(sites.columns[site], k.i64(lane)); });
    return gathered(atRope(op, single), sites);
  }
  Values own = evaluate(op.getInput(), sites), isFirst;
  Sites partners;
  partners.lanes = sites.lanes;
  partners.multiple = std::gcd(sites.multiple, half);
  partners.exists = sites.exists;
  for (Value column : sites.columns) {
    isFirst.push_back(k.less(k.rem(column, k.i64(2 * half)), k.i64(half)));
    partners.columns.push_back(k.add(column, k.select(isFirst.back(), k.i64(half), k.i64(-half))));
  }
  Values other = evaluate(op.getInput(), partners), result;
  auto [cos, sin] = anglesOf(op, sites);
  for (size_t site = 0; site < own.size(); ++site) {
    // The first half takes a cos - b sin, the second b cos + a sin; the inverse has -sin.
    Value product = k.fmul(other[site], sin[site]), turned = k.fmul(own[site], cos[site]);
    Value plus = k.fadd(turned, product), minus = k.fsub(turned, product);
    result.push_back(op.getInverse() ? k.select(isFirst[site], plus, minus) : k.select(isFirst[site], minus, plus));
  }
  return result;
}

RowEmitter::Values RowEmitter::atRandom(moe::RandomNormalOp op, Sites &sites) {
  int64_t columns = schedule.columnsOf(op.getResult());
  Value copy = kernel::randomCopy(k, body, op), first = k.mul(row, k.i64(columns));
  bool pairsStayTogether = columns % 2 == 0 && sites.lanes % 2 == 0 && sites.multiple % 2 == 0;
  Values elements;
  for (Value column : sites.columns)
    for (int64_t lane = 0; lane < sites.lanes; ++lane) {
      Value index = k.add(first, k.add(column, k.i64(lane)));
      auto [even, odd] = kernel::randomPair(k, op, copy, k.div(index, k.i64(2)));
      if (pairsStayTogether) {
        elements.append({even, odd});
        ++lane;
      } else {
        elements.push_back(k.select(k.equal(k.rem(index, k.i64(2)), k.i64(0)), even, odd));
      }
    }
  return gathered(elements, sites);
}

} // namespace moec::gpu
