#include "compiler/Driver/IdleKeys.h"

#include "compiler/Driver/CompileSession.h"
#include "compiler/Model/ModelBuilder.h"
#include "compiler/Spec/Spec.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>

using namespace mlir;

namespace moec {

/// The model as text without locations; empty if the model cannot be built.
static std::string modelText(exp::ExperimentOp experiment) {
  OwningOpRef<ModuleOp> model = ModuleOp::create(experiment->getParentOp()->getLoc());
  std::string text;
  if (failed(buildModel(experiment, *model)))
    return text;
  llvm::raw_string_ostream os(text);
  model->print(os, OpPrintingFlags().assumeVerified().enableDebugInfo(false));
  return text;
}

/// The other sections say how long, with which data and in which form the model is trained. buildModel reads at most
/// parts of them; tryRun handles them.
static bool isOfModel(Operation *section) {
  return isa<exp::ExperimentOp, exp::ModelOp, exp::AttentionOp, exp::FfnOp, exp::MoeOp, exp::RouterOp,
             exp::MultiTokenOp, exp::LossOp, exp::OptimizerOp, exp::GroupOp, exp::WatchOp>(section);
}

/// A weight or a learning rate of 0 switches off the other keys of its section, as the reference says.
static bool isSwitchedOff(Operation *section) {
  if (auto loss = dyn_cast<exp::LossOp>(section))
    return loss.getWeight().isZero();
  auto group = dyn_cast<exp::GroupOp>(section);
  return group && group.getLr().isZero();
}

/// Other values of a field, its default (null: none is given) first, to test whether any gives another model. A value
/// that means the same as the default, such as top_k experts for null, does no harm.
static SmallVector<Attribute> alternatives(const exp::Field &field, Attribute value, Attribute fallback,
                                           bool isSwitch) {
  SmallVector<Attribute> all{fallback};
  if (isSwitch) // a key that may be null: only whether it is given matters
    return all;
  Builder b(value.getContext());
  if (field.type == exp::FieldType::Choice)
    for (const std::string &choice : field.choices)
      all.push_back(b.getStringAttr(choice));
  if (auto number = dyn_cast<IntegerAttr>(value); number && field.type != exp::FieldType::Boolean)
    for (int64_t other : {number.getInt() + 1, number.getInt() * 2, number.getInt() / 2})
      all.push_back(b.getI64IntegerAttr(other));
  if (auto number = dyn_cast<FloatAttr>(value))
    for (double factor : {2.0, 0.5})
      all.push_back(b.getF64FloatAttr(number.getValueAsDouble() * factor));
  llvm::erase_if(all, [&](Attribute other) {
    return other == value || (other != fallback && exp::checkValue(field, other, value.getContext()));
  });
  return all;
}

class IdleKeys::Search {
public:
  Search(IdleKeys &keys, ModuleOp module)
      : keys(keys), module(module.clone()), experiment(spec::findExperiment(*this->module)),
        asGiven(modelText(experiment)) {}

  void run() {
    if (asGiven.empty())
      return;
    SmallVector<Operation *> sections;
    for (Operation &section : experiment.getBody().front())
      sections.push_back(&section);
    for (Operation *section : sections) {
      if (isa<exp::GroupOp, exp::ChangeOp>(section) && tryEntry(section))
        continue;
      if (isOfModel(section) && !isSwitchedOff(section))
        trySection(section);
    }
    tryRun();
  }

private:
  using Change = llvm::function_ref<void(Operation *section)>;
  enum class Result { Same, Other, Refused };

  static std::string placeText(Location place) {
    std::string text;
    llvm::raw_string_ostream(text) << place;
    return text;
  }

  /// The model after `change` of the section.
  Result compare(Operation *section, Change change) {
    ScopedDiagnosticHandler silence(module->getContext(), [](Diagnostic &) { return success(); });
    OwningOpRef<ModuleOp> other(module->clone());
    exp::ExperimentOp changed = spec::findExperiment(*other);
    auto index = std::distance(experiment.getBody().front().begin(), section->getIterator());
    change(&*std::next(changed.getBody().front().begin(), index));
    std::string text = succeeded(verify(*other)) ? modelText(changed) : "";
    return text.empty() ? Result::Refused : text == asGiven ? Result::Same : Result::Other;
  }

  void warn(Operation *section, llvm::StringRef attribute, const std::string &what, const std::string &fallback,
            const char *same = "model") {
    exp::report(section, attribute, exp::Rule::NoEffect, DiagnosticSeverity::Warning)
        << what << " has no effect in this spec: the " << same << " is the same without it; remove it"
        << (fallback.empty() ? std::string() : ", or set it to its default, " + fallback);
  }

  /// An entry of a map, as a whole.
  bool tryEntry(Operation *section) {
    bool isGroup = isa<exp::GroupOp>(section);
    std::string place = placeText(section->getLoc());
    if (!exp::isGiven(section, isGroup ? "match" : "at_step") || keys.effective.contains(place))
      return false;
    if (compare(section, [](Operation *other) { other->erase(); }) != Result::Same) {
      keys.effective.insert(place);
      return false;
    }
    warn(section, "",
         (isGroup ? "group \"" : "change \"") + section->getAttrOfType<StringAttr>("name").getValue().str() + "\"", "");
    section->erase();
    return true;
  }

  void trySection(Operation *section) {
    const exp::Section *known = exp::findSectionOfOp(section->getName().getStringRef().str());
    if (section->hasAttr("method"))
      tryMethod(section, "method", "");
    for (const exp::Field &field : known->fields) {
      Attribute value = field.attribute.empty() ? Attribute() : section->getAttr(field.attribute);
      if (isa_and_nonnull<exp::MethodAttr>(value))
        tryMethod(section, field.attribute, field.attribute + ".");
      else if (value)
        tryField(section, field, field.attribute, value, spec::defaultValue(field, experiment),
                 /*mayBeAbsent=*/false, [&](Operation *other, Attribute now) { other->setAttr(field.attribute, now); });
    }
  }

  void tryMethod(Operation *section, const std::string &attribute, const std::string &prefix) {
    auto method = section->getAttrOfType<exp::MethodAttr>(attribute);
    const exp::Method *known =
        exp::getMethods(module->getContext()).find(method.getCategory().str(), method.getKind().str());
    auto outer = isa<exp::GroupOp>(section) ? experiment.section<exp::OptimizerOp>().getMethod() : exp::MethodAttr();
    for (const exp::Field &field : known->fields()) {
      // A group takes the keys that it does not give from /optimizer, if both have the same kind. A method that derives
      // a default does so if the field is absent.
      Attribute fallback = outer && outer.getKind() == method.getKind() ? outer.getFields().get(field.key)
                                                                        : spec::defaultValue(field, experiment);
      tryField(section, field, prefix + field.key, method.getFields().get(field.key), fallback, field.isDerived(),
               [&](Operation *other, Attribute now) {
                 NamedAttrList fields(other->getAttrOfType<exp::MethodAttr>(attribute).getFields());
                 if (now)
                   fields.set(field.key, now);
                 else
                   fields.erase(field.key);
                 other->setAttr(attribute,
                                exp::MethodAttr::get(module->getContext(), method.getCategory(), method.getKind(),
                                                     fields.getDictionary(module->getContext())));
               });
    }
  }

  /// An idle key is removed at once. So if two keys make each other idle, one stays.
  void tryField(Operation *section, const exp::Field &field, const std::string &name, Attribute value,
                Attribute fallback, bool mayBeAbsent, llvm::function_ref<void(Operation *, Attribute)> set) {
    if ((!fallback && !mayBeAbsent) || value == fallback || !exp::isGiven(section, name))
      return;
    std::string place = placeText(exp::fieldLoc(section, name));
    if (keys.effective.contains(place))
      return;
    const exp::Section *known = exp::findSectionOfOp(section->getName().getStringRef().str());
    bool isObject = !known->nullSwitch.empty() && field.key == known->nullSwitch, isIdle = true;
    bool isNullable = field.attribute == name && field.fallback == "null";
    for (Attribute other : alternatives(field, value, fallback, isObject || isNullable)) {
      Result result = compare(section, [&](Operation *changed) { set(changed, other); });
      isIdle = result == Result::Same || (result == Result::Refused && other != fallback);
      if (!isIdle)
        break;
    }
    if (!isIdle) {
      keys.effective.insert(place);
      return;
    }
    if (isObject)
      warn(section, name, known->nullableKey, "null");
    else
      warn(section, name, field.key, fallback ? spec::valueText(field, fallback) : "");
    set(section, fallback);
  }

  /// Keys whose effect the model does not show. Keys of the run that are not handled here always have an effect if they
  /// differ from their defaults: seed, seq_len, sequences and duration change which data are read; micro_sequences,
  /// precision and memory change memory, and usually bits; evaluate.every acts at least at the last step; keep_last
  /// acts on the checkpoints that stops and resumes add.
  void tryRun() {
    trySources();
    int64_t last = experiment.section<exp::DurationOp>().getSteps();
    auto checkpoint = experiment.section<exp::CheckpointOp>();
    if (exp::isGiven(checkpoint, "every_steps") && static_cast<int64_t>(checkpoint.getEverySteps()) >= last)
      warn(checkpoint, "every_steps", "every, with the next checkpoint at the last step,", "null", "run");
    auto metrics = experiment.section<exp::MetricsOp>();
    const exp::Field *every = exp::findField(*exp::findSection("/metrics"), "every_steps");
    auto usual = dyn_cast_or_null<IntegerAttr>(spec::defaultValue(*every, experiment));
    // The first and the last step are in the log in any case.
    auto actsWithin = [&](int64_t steps) { return std::max<int64_t>(steps, 2) < last; };
    if (exp::isGiven(metrics, "every_steps") && usual && metrics.getEveryStepsAttr() != usual &&
        !actsWithin(metrics.getEverySteps()) && !actsWithin(usual.getInt()))
      warn(metrics, "every_steps", "every, with no step of it between the first and the last,", every->fallback, "run");
  }

  void trySources() {
    auto datasets = llvm::to_vector(experiment.sections<exp::DatasetOp>());
    auto isOnly = [&](exp::DatasetOp dataset) { // of its split that is read
      return llvm::none_of(datasets, [&](exp::DatasetOp other) {
        return other != dataset && other.getSplit() == dataset.getSplit() && !other.getWeight().isZero();
      });
    };
    for (exp::DatasetOp dataset : datasets)
      if (isOnly(dataset) && exp::isGiven(dataset, "weight") && !dataset.getWeight().isExactlyValue(1))
        warn(dataset, "weight", "the weight of the only source", "1", "run");
    auto evaluate = experiment.section<exp::EvaluateOp>();
    const exp::Field *batches = exp::findField(*exp::findSection("/evaluate"), "batches");
    if (exp::isGiven(evaluate, "batches") && evaluate.getBatchesAttr() != spec::defaultValue(*batches, experiment) &&
        llvm::none_of(datasets, [](exp::DatasetOp dataset) { return dataset.getSplit() == exp::Split::validation; }))
      warn(evaluate, "batches", "batches, without data.validation,", batches->fallback, "run");
  }

  IdleKeys &keys;
  OwningOpRef<ModuleOp> module; // a copy, without the keys that were found idle
  exp::ExperimentOp experiment;
  std::string asGiven;
};

void IdleKeys::report(ModuleOp module) { Search(*this, module).run(); }

std::function<LogicalResult(ModuleOp)> makeExaminer() {
  auto keys = std::make_shared<IdleKeys>();
  return [keys](ModuleOp module) {
    if (failed(examineModel(module)))
      return failure();
    keys->report(module);
    return success();
  };
}

} // namespace moec
