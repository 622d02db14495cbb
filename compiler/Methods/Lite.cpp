#include "compiler/Methods/Lite.h"

#include "compiler/Methods/ScheduleSupport.h"

#include <cmath>

using namespace mlir;

namespace moec {

std::vector<exp::Field> getChiFields(const std::string &prefix, const char *chi) {
  using exp::FieldType;
  return {
      {prefix + "chi", FieldType::Number, chi, 1, 1e6, {}, "", "factor on steps along flat directions"},
      {prefix + "chi_schedule",
       FieldType::Choice,
       "\"constant\"",
       0,
       0,
       {"constant", "floor", "ramp"},
       "",
       "constant: chi always; floor: flat steps fall to the schedule's floor, as sharp ones do; ramp: that, and 1 in "
       "the warm-up, rising from there"},
      exp::stepsField(prefix + "ramp", exp::StepsKind::Length, "{\"fraction\": 0.5}",
                      "length of what rises after the warm-up"),
      {prefix + "sharp_fraction",
       FieldType::Number,
       "0.1",
       0,
       1,
       {},
       "",
       "share of directions that are kept as they are"}};
}

std::vector<exp::Field> getLiteFields(const char *ofBeta1) {
  using exp::FieldType;
  std::vector<exp::Field> fields = {{"lite.beta1", FieldType::Number, "0", -100, 100, {}, "", ofBeta1},
                                    {"lite.beta2",
                                     FieldType::Number,
                                     "0",
                                     -100,
                                     100,
                                     {},
                                     "",
                                     "the same along flat directions, at the end of the ramp; starts at beta1"}};
  for (exp::Field &field : getChiFields("lite.", "1"))
    fields.push_back(std::move(field));
  return fields;
}

Value buildRamp(TensorBuilder &b, exp::MethodAttr attr, const std::string &prefix,
                const OptimizerMethod::Update &update) {
  return b.map({update.step}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    int64_t from = update.schedule.warmup, length = attr.getInt(prefix + "ramp");
    Value done = s.sub(x[0], s.constant(1.0));
    if (length > 0)
      return buildProgress(s, done, from, from + length);
    return s.select(s.less(done, s.constant(from)), s.constant(0.0), s.constant(1.0));
  });
}

Value buildChi(TensorBuilder &b, exp::MethodAttr attr, const std::string &prefix,
               const OptimizerMethod::Update &update) {
  double chi = attr.getFloat(prefix + "chi"), floor = update.schedule.floor;
  StringRef schedule = attr.getString(prefix + "chi_schedule");
  if (schedule == "constant")
    return b.constant(chi);
  Value ramp = buildRamp(b, attr, prefix, update);
  return b.map({update.factor, update.step, ramp}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    // factor = floor + (1 - floor) c; the flat rate chi * lr falls by the same c to the same floor.
    Value falling = s.constant(chi);
    if (floor < 1) {
      Value c = s.div(s.sub(x[0], s.constant(floor)), s.constant(1 - floor));
      falling = s.div(s.add(s.constant(floor), s.mul(s.constant(chi - floor), c)), x[0]);
    }
    bool ramps = schedule == "ramp";
    if (ramps)
      falling = s.min(falling, s.add(s.constant(1.0), s.mul(s.constant(chi - 1), x[2])));
    Value warms = s.less(s.sub(x[1], s.constant(1.0)), s.constant(update.schedule.warmup));
    return s.select(warms, s.constant(ramps ? 1.0 : chi), falling);
  });
}

exp::Field getSmoothField(const std::string &prefix) {
  return {prefix + "smooth", exp::FieldType::Number, "0.1", 0, 1, {}, "", "share of elements between sharp and flat"};
}

Value buildSharpMask(TensorBuilder &b, exp::MethodAttr attr, const std::string &prefix, int64_t count,
                     OptimizerStates &states, Value v, Value moves) {
  MatrixBatch copies(b, count, /*align=*/1);
  double elements = static_cast<double>(TensorBuilder::rows(v) * TensorBuilder::cols(v)) / count;
  double sharp = attr.getFloat(prefix + "sharp_fraction"), smooth = attr.getFloat(prefix + "smooth");
  moe::StateOp highState = states.declare("high", b.type(1, 1), 2.0);
  moe::StateOp lowState = states.declare("low", b.type(1, 1), 1.0);
  Value high = b.readRows(highState), low = b.readRows(lowState);
  Value mean = b.scale(copies.sums(v), 1 / elements);

  Value mask = b.map({v, mean, high, low}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
    Value from = s.mul(x[3], x[1]), to = s.mul(x[2], x[1]);
    Value span = s.max(s.sub(to, from), s.constant(1e-30));
    Value between = s.max(s.constant(0.0), s.min(s.constant(1.0), s.div(s.sub(x[0], from), span)));
    return s.select(s.less(x[0], to), between, s.constant(1.0));
  });
  auto adapt = [&](moe::StateOp state, Value bound, double share) {
    Value above = b.map({v, mean, bound}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.select(s.less(x[0], s.mul(x[2], x[1])), s.constant(0.0), s.constant(1.0));
    });
    SmallVector<Value> inputs{bound, copies.sums(above)};
    if (moves)
      inputs.push_back(moves);
    Value next = b.map(inputs, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value tooMany = s.less(s.constant(share * elements), x[1]);
      Value moved = s.mul(x[0], s.select(tooMany, s.constant(1.05), s.constant(0.95)));
      return moves ? s.select(s.less(s.constant(0.5), x[2]), moved, x[0]) : moved;
    });
    b.writeRows(state, next);
  };
  adapt(highState, high, sharp);
  adapt(lowState, low, sharp + smooth);
  return mask;
}

FlatProjector::FlatProjector(TensorBuilder &b, exp::MethodAttr attr, const OptimizerMethod::Update &update,
                             OptimizerStates &states, ArrayRef<MatrixBatch::Quintic> steps, Value momentum,
                             Value orthogonal)
    : b(b), batch(b, update.traits.matrices, update.rowAlign), traits(update.traits) {
  int64_t rank = std::min(traits.rows, traits.cols);
  auto wanted = std::min<int64_t>(static_cast<int64_t>(attr.getFloat("lite.sharp_fraction") * rank) + 1, rank - 1);
  moe::StateOp state = states.declare("rho", b.type(traits.matrices / traits.copies, 1), 1 / std::sqrt(rank));
  Value rho = b.readRows(state);

  // Singular values above the threshold are those where s / threshold - 1 is positive: Newton-Schulz makes them 1, and
  // the others -1.
  Value threshold = b.mul(rho, batch.norms(momentum));
  Value shifted = b.map({momentum, threshold, orthogonal}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
    return s.sub(s.div(x[0], s.max(x[1], s.constant(1e-30))), x[2]);
  });
  sharp = b.map({orthogonal, batch.newtonSchulz(shifted, steps)},
                [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.mul(s.constant(0.5), s.add(x[0], x[1])); });
  Value next = b.map({rho, batch.norms(sharp)}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    Value tooMany = s.less(s.constant(std::sqrt(static_cast<double>(wanted))), x[1]);
    Value factor = s.select(tooMany, s.constant(1.05), s.constant(0.95));
    return s.min(s.constant(1.0), s.mul(x[0], factor));
  });
  b.writeRows(state, next);
}

Value FlatProjector::apply(Value x) {
  Value inside = traits.rows <= traits.cols ? batch.multiply(batch.multiply(sharp, sharp, /*tb=*/true), x)
                                            : batch.multiply(sharp, batch.outer(sharp, x));
  return b.sub(x, inside);
}

} // namespace moec
