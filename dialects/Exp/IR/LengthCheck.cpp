// Checks lengths of training against the run. Every field of type Steps is checked here, of sections and of methods
// alike, so the rules also hold for new fields.
#include "dialects/Exp/IR/Exp.h"

#include "llvm/ADT/STLFunctionalExtras.h"

#include <map>

using namespace mlir;
using namespace moec::exp;

/// Visits a length in an experiment: a field of type Steps, or a method's own interval in steps. `attribute` is its
/// name for report().
using Visit =
    llvm::function_ref<void(Operation *section, const std::string &attribute, const Field &field, int64_t steps)>;

static void visitMethod(Operation *section, const std::string &prefix, MethodAttr attr, Visit visit) {
  const Method *method = getMethods(section->getContext()).find(attr.getCategory().str(), attr.getKind().str());
  if (!method)
    return;
  for (const Field &field : method->fields())
    if (field.type == FieldType::Steps || (field.key == "every" && field.unit == "steps"))
      visit(section, prefix + field.key, field, attr.getInt(field.key));
}

static void visitLengths(ExperimentOp experiment, Visit visit) {
  for (Operation &section : experiment.getBody().front()) {
    auto dataset = dyn_cast<DatasetOp>(section);
    const Section *known =
        findSectionOfOp(section.getName().getStringRef().str(), dataset ? dataset.getSplitAttr().str() : "");
    if (!known || isa<DurationOp>(section))
      continue;
    if (auto method = section.getAttrOfType<MethodAttr>("method"))
      visitMethod(&section, "", method, visit);
    for (const Field &field : known->fields) {
      Attribute value = field.attribute.empty() ? Attribute() : section.getAttr(field.attribute);
      if (auto method = dyn_cast_or_null<MethodAttr>(value))
        visitMethod(&section, field.attribute + ".", method, visit);
      else if (auto steps = dyn_cast_or_null<IntegerAttr>(value); steps && field.type == FieldType::Steps)
        visit(&section, field.attribute, field, steps.getInt());
    }
  }
}

/// (C10). The only key of a change is top_k_per_layer.
static LogicalResult checkChanges(ExperimentOp experiment) {
  LogicalResult result = success();
  std::map<uint64_t, ChangeOp> byStep;
  for (ChangeOp change : experiment.sections<ChangeOp>()) {
    auto [first, isNew] = byStep.try_emplace(change.getAtStep(), change);
    if (isNew)
      continue;
    report(change, "at_step", Rule::SameMoment)
            .append("changes \"", first->second.getName(), "\" and \"", change.getName(),
                    "\" both set top_k_per_layer from step ", change.getAtStep(),
                    " on; remove one, or give it another step")
            .attachNote(placeOf(first->second, "at_step"))
        << "\"" << first->second.getName() << "\" is at step " << change.getAtStep() << " too";
    result = failure();
  }
  return result;
}

LogicalResult moec::exp::checkLengths(ExperimentOp experiment, bool warnings) {
  auto duration = experiment.section<DurationOp>();
  int64_t run = static_cast<int64_t>(duration.getSteps());
  LogicalResult result = checkChanges(experiment);
  auto noteRun = [&](InFlightDiagnostic diagnostic) {
    diagnostic.attachNote(placeOf(duration, "steps")) << "the run is " << run << " steps";
  };
  visitLengths(experiment, [&](Operation *section, const std::string &attribute, const Field &field, int64_t steps) {
    if (steps <= run)
      return;
    if (field.stepsKind == StepsKind::Moment) { // (C9)
      noteRun(std::move(report(section, attribute, Rule::NeverComes)
                        << "step " << steps << " never comes: the last step of the run is " << run
                        << "; choose an earlier one" << (field.minimum == 0 ? ", or null" : "")));
      result = failure();
      return;
    }
    // Parts of the schedule have a rule of their own. Validation, checkpoints and the log also come at the last step. A
    // default is not reported, because nobody asked for it.
    std::string number = std::to_string(steps);
    bool isDefault = field.fallback == "{\"steps\": " + number + "}" || field.fallback == number;
    if (!warnings || attribute.starts_with("schedule.") || isa<EvaluateOp, CheckpointOp, MetricsOp>(section) ||
        isDefault || !isGiven(section, attribute))
      return;
    bool isCadence = field.type == FieldType::Steps && field.stepsKind == StepsKind::Cadence;
    noteRun(std::move(report(section, attribute, Rule::BeyondRun, DiagnosticSeverity::Warning)
                      << (isCadence ? "no step of the run is a multiple of " : "the run ends before these ") << steps
                      << (isCadence ? "" : " steps are over") << "; give at most " << run
                      << (isCadence && field.minimum == 0 ? ", or null" : "")));
  });
  return result;
}
