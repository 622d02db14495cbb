// init: parameters, constant tables, and zeros for what the optimizer and the losses keep; begin_step.
#include "compiler/Model/ModelContext.h"

#include "llvm/Support/xxhash.h"

#include <cmath>
#include <set>

using namespace mlir;

namespace moec {

namespace {

/// Hands out one random stream for each parameter: a hash of its symbol, so that adding a parameter changes no other's
/// values, short of a collision of hashes.
class Streams {
public:
  int64_t get(StringRef symbol) {
    uint32_t stream = static_cast<uint32_t>(llvm::xxh3_64bits(symbol)) >> 1;
    while (!used.insert(stream).second)
      ++stream;
    return stream;
  }

private:
  std::set<uint32_t> used;
};

} // namespace

static Value buildInitialValue(ModelContext &ctx, const ParameterInfo &info, Value index, int64_t stream) {
  auto type = RankedTensorType::get(info.shape, ctx.t.element);
  int64_t cols = info.shape.back(), rows = type.getNumElements() / cols;
  std::optional<double> stddev = ctx.getTraits(info).initialStd;
  if (!stddev)
    return ctx.t.fill(1.0, rows, cols);
  Builder &b = ctx.b;
  Value value =
      moe::RandomNormalOp::create(ctx.b, ctx.t.type(rows, cols), index, b.getI64IntegerAttr(ctx.experiment.getSeed()),
                                  b.getI64IntegerAttr(stream), b.getF64FloatAttr(0.0), b.getF64FloatAttr(*stddev));
  return value.getType() == type ? value : moe::ReshapeOp::create(ctx.b, type, value).getResult();
}

// Parameters of one segment share a repeat; `segment` null is those outside layers.
static void buildParameters(ModelContext &ctx, const Segment *segment, Streams &streams) {
  OpBuilder::InsertionGuard guard(ctx.b);
  Value index;
  if (segment) {
    auto repeat = moe::RepeatOp::create(ctx.b, ValueRange(), ValueRange(), TypeRange(), segment->count);
    ctx.b.setInsertionPointToStart(repeat.getBlock());
    index = repeat.getIndexArgument();
  }
  auto belongs = [&](const ParameterInfo &info) {
    if (!segment || !info.stack)
      return !segment && !info.stack;
    unsigned number = info.stack->number;
    return segment->stacks.front().number <= number && number <= segment->stacks.back().number;
  };
  for (Parameter &parameter : ctx.parameters) {
    if (!belongs(parameter.info))
      continue;
    LocationScope scope(ctx, parameter.info.loc);
    Value value = buildInitialValue(ctx, parameter.info, index, streams.get(parameter.info.symbol));
    ctx.write(parameter.state, value, index);
  }
  if (segment)
    moe::YieldOp::create(ctx.b, ValueRange());
}

// cos and sin of position * theta^(-2i / head_dim), in f64 whatever the element type: at high positions the angle needs
// the digits.
static void buildRopeTables(ModelContext &ctx) {
  LocationScope scope(ctx, exp::fieldLoc(ctx.attention, "rope_theta"));
  int64_t half = ctx.attention.getHeadDim() / 2;
  double slope = -std::log(ctx.attention.getRopeTheta().convertToDouble()) / half;
  SmallVector<Value> tables =
      ctx.t.mapPosition(ctx.seqLen(), half, 2, [&](ScalarBuilder &s, TensorBuilder::Scalars place) {
        ScalarBuilder wide(s.b, s.loc, s.b.getF64Type());
        Value frequency = wide.exp(wide.mul(wide.toElement(place[1]), wide.constant(slope)));
        Value angle = wide.mul(wide.toElement(place[0]), frequency);
        Value cos = s.toElement(wide.cos(angle));
        return SmallVector<Value>{cos, s.toElement(wide.sin(angle))};
      });
  ctx.write(ctx.states.getState("constant.rope.cos"), tables[0]);
  ctx.write(ctx.states.getState("constant.rope.sin"), tables[1]);
}

// Chosen element by element: tables are small.
static void buildTable(ModelContext &ctx, const ConstantTable &table) {
  moe::StateOp state = table.state;
  RankedTensorType type = state.getTensorType();
  int64_t cols = type.getDimSize(1), rows = static_cast<int64_t>(table.numbers.size()) / cols;
  bool isInteger = type.getElementType().isInteger();
  Value values = ctx.t.mapTo(type.getElementType(), {}, rows, cols, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    Value place = s.add(s.mul(x[0], s.integer(cols)), x[1]), value;
    for (auto [index, number] : llvm::enumerate(table.numbers)) {
      Value constant = isInteger ? s.integer(static_cast<int64_t>(number)) : s.constant(number);
      value = value ? s.select(s.equal(place, s.integer(index)), constant, value) : constant;
    }
    return value;
  });
  ctx.t.writeRows(state, values);
}

void buildInitFunction(ModelContext &ctx) {
  ctx.beginFunction(moe::kInitFunction);
  Streams streams;
  buildParameters(ctx, nullptr, streams);
  for (const Segment &segment : ctx.segments)
    buildParameters(ctx, &segment, streams);
  buildRopeTables(ctx);
  for (const ConstantTable &table : ctx.states.tables)
    buildTable(ctx, table);
  for (auto state : ctx.module.getOps<moe::StateOp>()) {
    moe::StateKind kind = state.getKind();
    if (auto initial = ctx.states.initialValues.find(state.getSymName()); initial != ctx.states.initialValues.end())
      ctx.writeFill(state, initial->second);
    else if (kind == moe::StateKind::optimizer || kind == moe::StateKind::balance || kind == moe::StateKind::counter)
      ctx.writeZero(state);
  }
  ctx.endFunction();
}

void buildBeginFunctions(ModelContext &ctx) {
  ctx.beginFunction(moe::kBeginStepFunction);
  for (moe::StateOp state : ctx.states.perStep)
    ctx.writeZero(state);
  ctx.endFunction();
}

} // namespace moec
