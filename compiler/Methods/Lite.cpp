#include "compiler/Methods/Lite.h"

#include "compiler/Methods/ScheduleSupport.h"

#include <cmath>

using namespace mlir;

namespace moec {

namespace {

enum class ChiSchedule { Constant, Floor, Ramp };
constexpr exp::Choice<ChiSchedule> kChiSchedule = {
    "chi_schedule", {{ChiSchedule::Constant, "constant"}, {ChiSchedule::Floor, "floor"}, {ChiSchedule::Ramp, "ramp"}}};

} // namespace

std::vector<exp::Field> getChiFields(const std::string &prefix, const char *chi) {
  using exp::FieldType;
  return {{.key = prefix + "chi",
           .type = FieldType::Number,
           .fallback = chi,
           .minimum = 1,
           .maximum = 1e6,
           .doc = "factor on steps along flat directions"},
          kChiSchedule.field(ChiSchedule::Constant,
                             "constant: always chi; floor: flat steps fall to the schedule's floor, as sharp steps do; "
                             "ramp: like floor, but 1 in the warm-up, and rising after it",
                             prefix),
          exp::stepsField(prefix + "ramp", exp::StepsKind::Length,
                          "=half of the steps after the warm-up; with wsd and constant: 2 * warm-up / run of them",
                          "steps after the warm-up in which chi and beta2 rise"),
          {.key = prefix + "sharp_fraction",
           .type = FieldType::Number,
           .fallback = "0.1",
           .minimum = 0,
           .maximum = 1,
           .doc = "share of directions that are kept as they are"}};
}

std::vector<exp::Field> getLiteFields(const char *ofBeta1) {
  using exp::FieldType;
  std::vector<exp::Field> fields = {{.key = "lite.beta1",
                                     .type = FieldType::Number,
                                     .fallback = "0",
                                     .minimum = -100,
                                     .maximum = 100,
                                     .doc = ofBeta1},
                                    {.key = "lite.beta2",
                                     .type = FieldType::Number,
                                     .fallback = "0",
                                     .minimum = -100,
                                     .maximum = 100,
                                     .doc = "the same along flat directions, at the end of the ramp; starts at beta1"}};
  for (exp::Field &field : getChiFields("lite.", "1"))
    fields.push_back(std::move(field));
  return fields;
}

/// The length of the ramp in steps. Its default is that of the source: half of the steps after the warm-up. If the rate
/// stays constant after the warm-up, it is the fraction (2 * warm-up / run) of these steps.
static double getRamp(exp::MethodAttr attr, const std::string &prefix, const OptimizerMethod::Update &update) {
  if (attr.has(prefix + "ramp"))
    return static_cast<double>(attr.getInt(prefix + "ramp"));
  auto warmup = static_cast<double>(update.schedule.warmup), steps = static_cast<double>(update.totalSteps);
  double rest = std::max(steps - warmup, 0.0);
  return rest * (update.schedule.stays ? std::min(2 * warmup / steps, 1.0) : 0.5);
}

/// The share of the `length` steps after the warm-up that are done.
static Value buildRise(TensorBuilder &b, const OptimizerMethod::Update &update, double length) {
  return b.map({update.step}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    auto from = static_cast<double>(update.schedule.warmup);
    Value done = s.sub(x[0], s.constant(1.0));
    if (length > 0)
      return buildProgress(s, done, from, from + length);
    return s.select(s.less(done, s.constant(from)), s.constant(0.0), s.constant(1.0));
  });
}

Value buildRamp(TensorBuilder &b, exp::MethodAttr attr, const std::string &prefix,
                const OptimizerMethod::Update &update) {
  return buildRise(b, update, std::floor(getRamp(attr, prefix, update))); // whole steps, as in the source
}

constexpr double kNone = 1e-5; // a smaller share counts as 0, as in LITE's code

bool hasFlat(exp::MethodAttr attr, const std::string &prefix) {
  return attr.getFloat(prefix + "sharp_fraction") <= 1 - kNone;
}

Value buildChi(TensorBuilder &b, exp::MethodAttr attr, const std::string &prefix,
               const OptimizerMethod::Update &update) {
  double chi = attr.getFloat(prefix + "chi"), floor = update.schedule.floor;
  ChiSchedule schedule = kChiSchedule.in(attr, prefix);
  if (schedule == ChiSchedule::Constant || chi == 1)
    return b.constant(chi);
  Value ramp = buildRise(b, update, getRamp(attr, prefix, update));
  return b.map({update.factor, update.step, ramp}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    // factor = floor + (1 - floor) c; the flat rate chi * lr falls by the same c to the same floor.
    Value falling = s.constant(chi);
    if (floor < 1) {
      Value c = s.div(s.sub(x[0], s.constant(floor)), s.constant(1 - floor));
      falling = s.div(s.add(s.constant(floor), s.mul(s.constant(chi - floor), c)), x[0]);
    }
    bool ramps = schedule == ChiSchedule::Ramp;
    if (ramps)
      falling = s.min(falling, s.add(s.constant(1.0), s.mul(s.constant(chi - 1), x[2])));
    Value warms = s.less(s.sub(x[1], s.constant(1.0)), s.constant(update.schedule.warmup));
    return s.select(warms, s.constant(ramps ? 1.0 : chi), falling);
  });
}

std::vector<exp::Conflict> findRampConflicts(exp::MethodAttr attr, const std::string &prefix,
                                             exp::ExperimentOp experiment) {
  bool mixes = attr.getFloat(prefix + "beta1") != attr.getFloat(prefix + "beta2");
  bool rises = attr.getFloat(prefix + "chi") != 1 && kChiSchedule.in(attr, prefix) == ChiSchedule::Ramp;
  if (!attr.has(prefix + "ramp") || (!mixes && !rises))
    return {};
  exp::MethodAttr schedule = experiment.section<exp::OptimizerOp>().getSchedule();
  auto duration = experiment.section<exp::DurationOp>();
  int64_t warmup = schedule.getInt("warmup"), length = attr.getInt(prefix + "ramp");
  auto steps = static_cast<int64_t>(duration.getSteps());
  if (warmup + length < steps)
    return {};
  return {{.field = prefix + "ramp",
           .text = "the ramp of " + std::to_string(length) + " steps begins after the warm-up of " +
                   std::to_string(warmup) + ", so the run ends before the full value is reached; expected fewer than " +
                   std::to_string(std::max<int64_t>(steps - warmup, 1)) + " steps, or no ramp (half of what is left)",
           .other = duration,
           .otherField = "steps",
           .otherText = "the run is " + std::to_string(steps) + " steps",
           .isWarning = true}};
}

exp::Field getSmoothField(const std::string &prefix) {
  return {.key = prefix + "smooth",
          .type = exp::FieldType::Number,
          .fallback = "0.1",
          .minimum = 0,
          .maximum = 1,
          .doc = "share of elements between sharp and flat"};
}

Value buildSharpMask(TensorBuilder &b, exp::MethodAttr attr, const std::string &prefix, const ParameterTraits &traits,
                     OptimizerStates &states, Value v, Value moves) {
  MatrixBatch batch(b, traits.matrices, /*align=*/1);
  double elements = static_cast<double>(TensorBuilder::rows(v) * TensorBuilder::cols(v)) / traits.matrices;
  double sharp = attr.getFloat(prefix + "sharp_fraction");
  double smooth = std::min(attr.getFloat(prefix + "smooth"), 1 - sharp);
  if (sharp < kNone || sharp > 1 - kNone)
    return b.constant(sharp < kNone ? 0.0 : 1.0);
  moe::StateOp highState = states.declare("high", b.type(traits.matrices / traits.copies, 1), 1.0);
  moe::StateOp lowState = states.declare("low", b.type(traits.matrices / traits.copies, 1), 0.5);
  Value high = b.readRows(highState), low = b.readRows(lowState);
  Value mean = b.scale(batch.sums(v), 1 / elements);

  Value mask = b.map({v, mean, high, low}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
    Value from = s.mul(x[3], x[1]), to = s.mul(x[2], x[1]);
    Value span = s.max(s.sub(to, from), s.constant(1e-30));
    Value between = s.max(s.constant(0.0), s.min(s.constant(1.0), s.div(s.sub(x[0], from), span)));
    return s.select(s.less(x[0], to), between, s.constant(1.0));
  });
  // Returns the bound's next value, which stays under `most`, if given.
  auto adapt = [&](moe::StateOp state, Value bound, double share, Value most) {
    Value above = b.map({v, mean, bound}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.select(s.less(x[0], s.mul(x[2], x[1])), s.constant(0.0), s.constant(1.0));
    });
    SmallVector<Value> inputs{bound, batch.sums(above)};
    if (most)
      inputs.push_back(most);
    if (moves)
      inputs.push_back(moves);
    Value next = b.map(inputs, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value tooMany = s.less(s.constant(share * elements), x[1]);
      Value moved = s.mul(x[0], s.select(tooMany, s.constant(1.05), s.constant(0.95)));
      if (most)
        moved = s.min(moved, s.mul(s.constant(0.95), x[2]));
      return moves ? s.select(s.less(s.constant(0.5), x.back()), moved, x[0]) : moved;
    });
    b.writeRows(state, next);
    return next;
  };
  adapt(lowState, low, sharp + smooth, adapt(highState, high, sharp, {}));
  return mask;
}

FlatProjector::FlatProjector(TensorBuilder &b, exp::MethodAttr attr, const OptimizerMethod::Update &update,
                             OptimizerStates &states, const NewtonSchulz &ns, Value momentum, Value orthogonal)
    : b(b), batch(b, update.traits.matrices, update.rowAlign), traits(update.traits) {
  int64_t rank = std::min(traits.rows, traits.cols);
  auto wanted = std::min<int64_t>(static_cast<int64_t>(attr.getFloat("lite.sharp_fraction") * rank) + 1, rank - 1);
  moe::StateOp state = states.declare("rho", b.type(traits.matrices / traits.copies, 1), 1 / std::sqrt(rank));
  Value rho = b.readRows(state);

  // Singular values above the threshold are those where s / threshold - 1 is positive: Newton-Schulz makes them 1, and
  // the others -1.
  Value threshold = b.mul(rho, batch.norms(momentum));
  Value shifted = b.map({momentum, threshold, orthogonal}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    return s.sub(s.div(x[0], s.add(x[1], s.constant(1e-9 * ns.share))), x[2]);
  });
  sharp = b.map({orthogonal, batch.newtonSchulz(shifted, ns.steps, ns.eps)},
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
