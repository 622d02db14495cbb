// exp -> JSON.
#include "compiler/Spec/Spec.h"
#include "compiler/Spec/SpecValues.h"

#include <filesystem>

using namespace mlir;
using namespace moec;
using namespace moec::spec;
using exp::Field;
using exp::FieldType;

static Json stepsJson(int64_t steps) {
  if (steps == 0)
    return Json::makeNull();
  Json json = Json::makeObject();
  json.set("steps", Json::makeInteger(steps));
  return json;
}

/// Sets a value below `object`, and makes missing objects on the way.
static void setAt(Json &object, llvm::StringRef path, char separator, Json value) {
  Json *at = &object;
  while (true) {
    auto [key, rest] = path.split(separator);
    if (rest.empty()) {
      at->set(key, std::move(value));
      return;
    }
    if (!at->find(key))
      at->set(key, Json::makeObject());
    at = at->find(key);
    path = rest;
  }
}

/// Fields of a method, after whatever `out` already holds.
static void addMethod(Json &out, exp::MethodAttr method) {
  out.set("kind", Json::makeString(method.getKind()));
  const exp::Method *known =
      exp::getMethods(method.getContext()).find(method.getCategory().str(), method.getKind().str());
  if (!known)
    return;
  for (const Field &field : known->fields())
    if (Attribute value = method.getFields().get(field.key))
      setAt(out, field.key, '.', toJson(field, value));
}

Json moec::spec::toJson(const Field &field, Attribute value) {
  switch (field.type) {
  case FieldType::Integer: {
    int64_t number = cast<IntegerAttr>(value).getInt();
    return field.nullable && number == 0 ? Json::makeNull() : Json::makeInteger(number);
  }
  case FieldType::Steps:
    return stepsJson(cast<IntegerAttr>(value).getInt());
  case FieldType::Number: {
    double number = cast<FloatAttr>(value).getValueAsDouble();
    return field.nullable && number == 0 ? Json::makeNull() : Json::makeNumber(number);
  }
  case FieldType::Boolean:
    return Json::makeBoolean(cast<BoolAttr>(value).getValue());
  case FieldType::Text:
  case FieldType::Choice:
    return Json::makeString(cast<StringAttr>(value).getValue());
  case FieldType::TextList: {
    Json list = Json::makeArray();
    for (Attribute element : cast<ArrayAttr>(value))
      list.elements.push_back(Json::makeString(cast<StringAttr>(element).getValue()));
    return list;
  }
  case FieldType::NumberList: {
    Json list = Json::makeArray();
    if (field.nullable && cast<DenseF64ArrayAttr>(value).empty())
      return Json::makeNull();
    for (double element : cast<DenseF64ArrayAttr>(value).asArrayRef())
      list.elements.push_back(Json::makeNumber(element));
    return list;
  }
  case FieldType::Method: {
    Json object = Json::makeObject();
    addMethod(object, cast<exp::MethodAttr>(value));
    return object;
  }
  }
  return {};
}

static bool isZero(Attribute number) {
  auto integer = dyn_cast<IntegerAttr>(number);
  return integer ? integer.getValue().isZero() : cast<FloatAttr>(number).getValueAsDouble() == 0;
}

static Json sectionJson(const exp::Section &section, Operation *op) {
  Json object = Json::makeObject();
  if (!section.category.empty())
    addMethod(object, op->getAttrOfType<exp::MethodAttr>("method"));
  bool off = !section.nullSwitch.empty();
  for (const Field &field : section.fields) {
    bool switched = !section.nullableKey.empty() && llvm::StringRef(field.key).starts_with(section.nullableKey + ".");
    Attribute value = field.attribute.empty() ? Attribute() : op->getAttr(field.attribute);
    if (switched && field.key == section.nullSwitch)
      off = isZero(value);
    if (switched && off)
      object.set(section.nullableKey, Json::makeNull());
    else if (field.key.empty())
      return toJson(field, value);
    else
      setAt(object, field.key, '.', value ? toJson(field, value) : parseConstant(field.fallback));
  }
  return object;
}

Json moec::spec::toJson(exp::ExperimentOp experiment) {
  Json root = Json::makeObject();
  for (const exp::Section &section : exp::sections()) {
    if (section.pointer.empty()) {
      root = sectionJson(section, experiment);
      continue;
    }
    bool found = false;
    for (Operation &op : experiment.getBody().front()) {
      auto dataset = dyn_cast<exp::DatasetOp>(op);
      if (op.getName().getStringRef() != section.op ||
          (dataset && exp::findSectionOfOp(section.op, dataset.getSplitAttr().str()) != &section))
        continue;
      found = true;
      std::string pointer = section.pointer;
      if (section.isMap())
        pointer.replace(pointer.size() - 1, 1, op.getAttrOfType<StringAttr>("name").getValue().str());
      setAt(root, llvm::StringRef(pointer).drop_front(), '/', sectionJson(section, &op));
    }
    if (!found && section.optional && section.presentWith.empty())
      setAt(root, llvm::StringRef(section.pointer).drop_front(), '/', Json::makeNull());
  }
  return root;
}

//===--- To another folder ---===//

/// In sections and methods, the texts called "path" are names of files.
void moec::spec::moveExperiment(exp::ExperimentOp experiment, const std::string &from, const std::string &to) {
  namespace fs = std::filesystem;
  auto folder = [](const std::string &path) { return fs::weakly_canonical(fs::absolute(path.empty() ? "." : path)); };
  fs::path source = folder(from), target = to.empty() ? fs::path() : folder(to);
  if (source == target)
    return;
  auto moved = [&](Attribute old) -> Attribute {
    auto text = dyn_cast_or_null<StringAttr>(old);
    if (!text || fs::path(text.str()).is_absolute())
      return old;
    fs::path path = (source / text.str()).lexically_normal();
    return StringAttr::get(text.getContext(), (to.empty() ? path : path.lexically_relative(target)).string());
  };
  for (Operation &section : experiment.getBody().front()) {
    if (Attribute path = section.getAttr("path"))
      section.setAttr("path", moved(path));
    for (NamedAttribute named : llvm::to_vector(section.getAttrs())) {
      auto method = dyn_cast<exp::MethodAttr>(named.getValue());
      if (!method || !method.getFields().get("path"))
        continue;
      NamedAttrList fields(method.getFields());
      fields.set("path", moved(fields.get("path")));
      section.setAttr(named.getName(), exp::MethodAttr::get(method.getContext(), method.getCategory(), method.getKind(),
                                                            fields.getDictionary(method.getContext())));
    }
  }
}

std::string moec::spec::effectiveSpec(exp::ExperimentOp experiment) { return printCompact(toJson(experiment)); }
std::string moec::spec::prettySpec(exp::ExperimentOp experiment) { return printPretty(toJson(experiment)); }
