#include "compiler/Driver/IdleKeys.h"

#include "compiler/Driver/CompileSession.h"
#include "compiler/Model/ModelBuilder.h"
#include "compiler/Spec/Spec.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace moec {

/// The model as text; empty when it cannot be built. Places in the spec are no part of it.
static std::string modelText(exp::ExperimentOp experiment) {
  OwningOpRef<ModuleOp> model = ModuleOp::create(experiment->getParentOp()->getLoc());
  std::string text;
  if (failed(buildModel(experiment, *model)))
    return text;
  llvm::raw_string_ostream os(text);
  model->print(os, OpPrintingFlags().assumeVerified().enableDebugInfo(false));
  return text;
}

/// The other sections say how long, from what data and in what form the model is trained: buildModel reads them at most
/// in part.
static bool isOfModel(Operation *section) {
  return isa<exp::ExperimentOp, exp::ModelOp, exp::AttentionOp, exp::FfnOp, exp::MoeOp, exp::RouterOp,
             exp::MultiTokenOp, exp::LossOp, exp::OptimizerOp, exp::GroupOp, exp::WatchOp>(section);
}

/// A weight or a learning rate of 0 switches off whatever stands beside it, as the reference says.
static bool isSwitchedOff(Operation *section) {
  if (auto loss = dyn_cast<exp::LossOp>(section))
    return loss.getWeight().isZero();
  auto group = dyn_cast<exp::GroupOp>(section);
  return group && group.getLr().isZero();
}

class IdleKeys::Search {
public:
  Search(IdleKeys &keys, ModuleOp module)
      : keys(keys), module(module), experiment(spec::findExperiment(module)), asGiven(modelText(experiment)) {}

  void run() {
    if (asGiven.empty())
      return;
    for (Operation &section : experiment.getBody().front()) {
      if (isa<exp::GroupOp, exp::ChangeOp>(section) && tryEntry(&section))
        continue;
      if (isOfModel(&section) && !isSwitchedOff(&section))
        trySection(&section);
    }
    tryData();
  }

private:
  using Change = llvm::function_ref<void(Operation *section)>;

  static std::string placeText(Location place) {
    std::string text;
    llvm::raw_string_ostream(text) << place;
    return text;
  }

  /// Whether the model is the same after `change` of the section. An experiment that is not right any more says
  /// nothing.
  bool isSame(Operation *section, Change change) {
    ScopedDiagnosticHandler silence(module.getContext(), [](Diagnostic &) { return success(); });
    OwningOpRef<ModuleOp> other(cast<ModuleOp>(module->clone()));
    exp::ExperimentOp changed = spec::findExperiment(*other);
    auto index = std::distance(experiment.getBody().front().begin(), section->getIterator());
    change(&*std::next(changed.getBody().front().begin(), index));
    return succeeded(verify(*other)) && modelText(changed) == asGiven;
  }

  void warn(Operation *section, llvm::StringRef attribute, const std::string &what, const std::string &fallback) {
    exp::report(section, attribute, exp::Rule::NoEffect, DiagnosticSeverity::Warning)
        << what << " has no effect in this spec: the model is the same without it; remove it"
        << (fallback.empty() ? std::string() : ", or set it to its default, " + fallback);
  }

  /// An entry of a map, as a whole.
  bool tryEntry(Operation *section) {
    std::string place = placeText(section->getLoc());
    if (!exp::isGiven(section, isa<exp::GroupOp>(section) ? "match" : "at_step") || keys.effective.contains(place))
      return false;
    bool isIdle = isSame(section, [](Operation *other) { other->erase(); });
    if (isIdle)
      warn(section, "",
           (isa<exp::GroupOp>(section) ? "group \"" : "change \"") +
               section->getAttrOfType<StringAttr>("name").getValue().str() + "\"",
           "");
    else
      keys.effective.insert(place);
    return isIdle;
  }

  void trySection(Operation *section) {
    const exp::Section *known = exp::findSectionOfOp(section->getName().getStringRef().str());
    if (auto method = section->getAttrOfType<exp::MethodAttr>("method"))
      tryMethod(section, "method", "", method);
    for (const exp::Field &field : known->fields) {
      Attribute value = field.attribute.empty() ? Attribute() : section->getAttr(field.attribute);
      if (auto method = dyn_cast_or_null<exp::MethodAttr>(value))
        tryMethod(section, field.attribute, field.attribute + ".", method);
      else if (value)
        tryField(section, field, field.attribute, value, spec::defaultValue(field, experiment),
                 [&](Operation *other, Attribute fallback) { other->setAttr(field.attribute, fallback); });
    }
  }

  void tryMethod(Operation *section, const std::string &attribute, const std::string &prefix, exp::MethodAttr method) {
    const exp::Method *known =
        exp::getMethods(module.getContext()).find(method.getCategory().str(), method.getKind().str());
    auto outer = isa<exp::GroupOp>(section) ? experiment.section<exp::OptimizerOp>().getMethod() : exp::MethodAttr();
    for (const exp::Field &field : known->fields()) {
      // A group takes what it does not give from /optimizer of the same kind.
      Attribute fallback = outer && outer.getKind() == method.getKind() ? outer.getFields().get(field.key)
                                                                        : spec::defaultValue(field, experiment);
      tryField(section, field, prefix + field.key, method.getFields().get(field.key), fallback,
               [&](Operation *other, Attribute value) {
                 NamedAttrList fields(method.getFields());
                 fields.set(field.key, value);
                 other->setAttr(attribute, exp::MethodAttr::get(module.getContext(), method.getCategory(),
                                                                method.getKind(),
                                                                fields.getDictionary(module.getContext())));
               });
    }
  }

  void tryField(Operation *section, const exp::Field &field, const std::string &name, Attribute value,
                Attribute fallback, llvm::function_ref<void(Operation *, Attribute)> set) {
    if (!fallback || value == fallback || !exp::isGiven(section, name))
      return;
    std::string place = placeText(exp::fieldLoc(section, name));
    if (keys.effective.contains(place))
      return;
    if (isSame(section, [&](Operation *other) { set(other, fallback); }))
      warn(section, name, field.key, spec::valueText(field, fallback));
    else
      keys.effective.insert(place);
  }

  /// What the model does not show.
  void tryData() {
    auto datasets = llvm::to_vector(experiment.sections<exp::DatasetOp>());
    auto isOnly = [&](exp::DatasetOp dataset) {
      return llvm::count_if(datasets, [&](exp::DatasetOp other) { return other.getSplit() == dataset.getSplit(); }) ==
             1;
    };
    for (exp::DatasetOp dataset : datasets)
      if (isOnly(dataset) && exp::isGiven(dataset, "weight") && !dataset.getWeight().isExactlyValue(1))
        warn(dataset, "weight", "the weight of the only source", "1");
    auto evaluate = experiment.section<exp::EvaluateOp>();
    if (exp::isGiven(evaluate, "batches") &&
        llvm::none_of(datasets, [](exp::DatasetOp dataset) { return dataset.getSplit() == "validation"; }))
      warn(evaluate, "batches", "batches, without data.validation,", "");
  }

  IdleKeys &keys;
  ModuleOp module;
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
