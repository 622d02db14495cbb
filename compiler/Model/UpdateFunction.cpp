// update: gradient norm, clipping, learning rate, one update for each parameter, the step counter.
#include "compiler/Methods/AdamSupport.h"
#include "compiler/Methods/FindMethod.h"
#include "compiler/Model/ModelContext.h"
#include "compiler/Model/Patterns.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace moec {

namespace {

/// The rule of one parameter: the group that names it, or the default.
struct UpdateRule {
  exp::MethodAttr method;
  double lr;
  Operation *section;
};

} // namespace

static exp::GroupOp findGroup(ModelContext &ctx, StringRef name) {
  for (auto group : ctx.experiment.sections<exp::GroupOp>())
    for (auto pattern : group.getMatch().getAsRange<StringAttr>())
      if (matchesPattern(pattern.getValue(), name))
        return group;
  return {};
}

// All copies of a state are updated at once, so they have to agree on their group.
static FailureOr<exp::GroupOp> findGroup(ModelContext &ctx, const ParameterInfo &info) {
  auto nameOf = [&](int64_t i) { return info.getNameOfCopy(i); };
  auto describe = [](exp::GroupOp group) { return group ? "group \"" + group.getName().str() + "\"" : "no group"; };
  exp::GroupOp first = findGroup(ctx, nameOf(0));
  for (int64_t i = 1; i < info.getCopies(); ++i) {
    exp::GroupOp other = findGroup(ctx, nameOf(i));
    if (other == first)
      continue;
    Operation *section = other ? other : first;
    return exp::report(section, "match", exp::Rule::PatternSplits)
           << "parameters \"" << nameOf(0) << "\" and \"" << nameOf(i)
           << "\" are updated together, but the first is in " << describe(first) << " and the second in "
           << describe(other) << "; expected patterns that treat layers of one kind alike, such as \"layers.*."
           << info.name << "\"";
  }
  return first;
}

// Names of all parameters, of each layer.
static std::vector<std::string> logicalNames(ModelContext &ctx) {
  std::vector<std::string> names;
  for (const Parameter &parameter : ctx.parameters) {
    const ParameterInfo &info = parameter.info;
    for (int64_t i = 0; i < info.getCopies(); ++i)
      names.push_back(info.getNameOfCopy(i));
  }
  return names;
}

static void reportUnmatched(ModelContext &ctx, exp::GroupOp group, StringRef pattern) {
  std::vector<std::string> names;
  for (const Parameter &parameter : ctx.parameters) {
    std::string name = parameter.info.stack ? "layers.*." + parameter.info.name : parameter.info.name;
    if (!llvm::is_contained(names, name)) // segments of layers have the same names
      names.push_back(std::move(name));
  }
  std::string hint = exp::suggest(pattern, names);
  exp::report(group, "match", exp::Rule::PatternUnmatched)
      << "pattern \"" << pattern << "\" of group \"" << group.getName() << "\" matches no parameter"
      << (hint.empty() ? "; expected one that matches " + llvm::join(names, ", ") : hint);
}

// A pattern that selects nothing is a slip of the pen in most cases, and would otherwise go unseen: one that matches
// nothing, and one before which others took all that it matches.
static LogicalResult checkPatterns(ModelContext &ctx) {
  struct Taker {
    exp::GroupOp group;
    StringRef pattern;
  };
  std::vector<std::string> names = logicalNames(ctx);
  std::vector<std::optional<Taker>> takers(names.size());
  LogicalResult result = success();
  for (auto group : ctx.experiment.sections<exp::GroupOp>())
    for (auto pattern : group.getMatch().getAsRange<StringAttr>()) {
      std::optional<Taker> before;
      bool matches = false, takes = false;
      for (auto [name, taker] : llvm::zip(names, takers)) {
        if (!matchesPattern(pattern.getValue(), name))
          continue;
        matches = true;
        takes |= !taker;
        before = before ? before : taker;
        if (!taker)
          taker = Taker{group, pattern.getValue()};
      }
      if (takes)
        continue;
      result = failure();
      if (!matches) {
        reportUnmatched(ctx, group, pattern.getValue());
        continue;
      }
      exp::report(group, "match", exp::Rule::GroupEmpty)
              .append("pattern \"", pattern.getValue(), "\" of group \"", group.getName(),
                      "\" takes no parameter: all that it matches are taken before; put it first, or remove it")
              .attachNote(exp::placeOf(before->group, "match"))
          << "pattern \"" << before->pattern << "\" of group \"" << before->group.getName() << "\" is before it";
    }
  return result;
}

namespace {

/// The norm over all gradients. Each parameter's part is built beside its update when clipping is off, so that one
/// kernel reads the gradient for both.
class GradientNorm {
public:
  explicit GradientNorm(ModelContext &ctx) : ctx(ctx) {}

  void add(const Parameter &parameter) {
    Value g = readElements(ctx.t, parameter.gradient); // as AdamW does
    Value squares = ctx.t.sumAll(ctx.t.mul(g, g));
    sum = sum ? ctx.t.add(sum, squares) : squares;
  }
  /// Writes the metric.
  Value finish() {
    Value norm = ctx.t.map({sum}, [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.sqrt(x[0]); });
    ctx.write(ctx.states.declareMetric("grad_norm", ctx.optimizer, moe::StateRole::grad_norm), norm);
    return norm;
  }

private:
  ModelContext &ctx;
  Value sum;
};

} // namespace

// What PyTorch's clip_grad_norm_ does: min(1, clip / (norm + 1e-6)). A norm that is not a number stays one, and shows.
static Value buildClipFactor(ModelContext &ctx, Value norm) {
  double clip = ctx.optimizer.getClipNorm().convertToDouble();
  LocationScope scope(ctx, exp::fieldLoc(ctx.optimizer, "clip_norm"));
  return ctx.t.map({norm}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    return s.min(s.constant(1.0), s.div(s.constant(clip), s.add(x[0], s.constant(1e-6))));
  });
}

static FailureOr<UpdateRule> findRule(ModelContext &ctx, const ParameterInfo &info) {
  FailureOr<exp::GroupOp> group = findGroup(ctx, info);
  if (failed(group))
    return failure();
  if (*group)
    return UpdateRule{group->getMethod(), group->getLr().convertToDouble(), *group};
  return UpdateRule{ctx.optimizer.getMethod(), ctx.optimizer.getLr().convertToDouble(), ctx.optimizer};
}

namespace {

class ParameterStates : public OptimizerStates {
public:
  ParameterStates(ModelContext &ctx, const Parameter &parameter) : ctx(ctx), parameter(parameter) {}

  moe::StateOp declare(StringRef name, RankedTensorType type, double initial) override {
    const ParameterInfo &info = parameter.info;
    moe::StateOp state = ctx.states.declare(("optimizer." + name + "." + info.logicalName).str(),
                                            moe::StateKind::optimizer, type ? type : parameter.state.getTensorType(),
                                            {.stack = info.stack ? &*info.stack : nullptr});
    // Norms, thresholds and bases are small, or are squared: rounding them to bf16 saves little and costs much.
    if (type)
      state->setAttr("moe.full_precision", ctx.b.getUnitAttr());
    if (initial != 0)
      ctx.states.initialValues[state.getSymName()] = initial;
    return state;
  }

private:
  ModelContext &ctx;
  Parameter parameter;
};

} // namespace

namespace {

/// What the updates of all parameters share.
struct StepValues {
  Value clip, factor, step; // [1, 1]
  ScheduleMethod::Traits schedule;
  int64_t totalSteps;
};

} // namespace

static LogicalResult buildParameterUpdate(ModelContext &ctx, Parameter &parameter, const StepValues &now) {
  FailureOr<UpdateRule> rule = findRule(ctx, parameter.info);
  if (failed(rule))
    return failure();
  const auto *method = findMethod<OptimizerMethod>(rule->section, rule->method);
  if (!method)
    return failure();
  LocationScope scope(ctx, rule->section->getLoc());
  ParameterTraits traits = ctx.getTraits(parameter.info);
  if (std::string why = method->refuses(traits); !why.empty())
    return exp::report(rule->section, isa<exp::GroupOp>(rule->section) ? "match" : "method",
                       exp::Rule::OptimizerRefuses)
           << method->kind() << " cannot update \"" << traits.name << "\": " << why;
  ParameterStates states(ctx, parameter);
  double lr = rule->lr;
  if (ctx.methods.scaling)
    lr *= ctx.methods.scaling->getRate(*ctx.optimizer.getScaling(), ctx.methods.run, traits,
                                       method->widthExponent(rule->method));
  OptimizerMethod::Update update{.traits = traits,
                                 .parameter = parameter.state,
                                 .gradient = parameter.gradient,
                                 .gradientScale = now.clip,
                                 .lr = ctx.t.scale(now.factor, lr),
                                 .step = now.step,
                                 .factor = now.factor,
                                 .schedule = now.schedule,
                                 .rowAlign = ctx.options.rowAlign,
                                 .totalSteps = now.totalSteps};
  method->buildUpdate(ctx.t, rule->method, update, states);
  return success();
}

static void buildStepIncrement(ModelContext &ctx, moe::StateOp counter) {
  Value one = arith::ConstantOp::create(ctx.b, SplatElementsAttr::get(ctx.countType(1, 1), ctx.b.getI64IntegerAttr(1)));
  ctx.accumulate(counter, one);
}

LogicalResult buildUpdateFunction(ModelContext &ctx) {
  LocationScope scope(ctx, ctx.optimizer.getLoc());
  exp::MethodAttr scheduleAttr = ctx.optimizer.getSchedule();
  const auto *schedule = findMethod<ScheduleMethod>(ctx.optimizer, scheduleAttr);
  if (!schedule || failed(checkPatterns(ctx)))
    return failure();
  moe::StateOp counter = ctx.declareStepCounter();
  ctx.beginFunction(moe::kUpdateFunction);

  GradientNorm norm(ctx);
  bool clips = ctx.optimizer.getClipNorm().convertToDouble() != 0;
  Value clip;
  if (clips) {
    for (const Parameter &parameter : ctx.parameters)
      norm.add(parameter);
    clip = buildClipFactor(ctx, norm.finish());
  } else {
    clip = ctx.t.fill(1.0, 1, 1);
  }

  Value done = ctx.t.toElement(ctx.t.read(counter));
  int64_t totalSteps = ctx.experiment.section<exp::DurationOp>().getSteps();
  Value factor;
  {
    LocationScope atSchedule(ctx, exp::fieldLoc(ctx.optimizer, "schedule"));
    factor = schedule->buildFactor(ctx.t, scheduleAttr, done, totalSteps);
  }
  ctx.write(ctx.states.declareMetric("lr", ctx.optimizer),
            ctx.t.scale(factor, ctx.optimizer.getLr().convertToDouble()));

  Value step =
      ctx.t.map({done}, [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.add(x[0], s.constant(1.0)); });
  for (Parameter &parameter : ctx.parameters) {
    if (!clips)
      norm.add(parameter);
    if (failed(buildParameterUpdate(ctx, parameter, {clip, factor, step, schedule->traits(scheduleAttr), totalSteps})))
      return failure();
  }
  if (!clips)
    norm.finish();
  buildRouterUpdates(ctx, step);
  buildStepIncrement(ctx, counter);
  ctx.endFunction();
  return success();
}

} // namespace moec
