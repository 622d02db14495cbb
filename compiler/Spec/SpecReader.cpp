// JSON -> exp, driven by the field table. Reading does not stop at the first error: a section with errors is omitted,
// and the rest is read.
#include "compiler/Spec/SpecReader.h"
#include "compiler/Spec/FieldReader.h"

#include "llvm/ADT/StringExtras.h"

#include <map>

using namespace mlir;
using namespace moec;
using namespace moec::spec;
using exp::Field;
using exp::FieldType;
using exp::Rule;

namespace {
/// One object of the spec that becomes one op.
struct Instance {
  const exp::Section *section;
  std::string pointer, name;  // name: of a map's entry
  const Json *json = nullptr; // null: not given, all defaults
  Place place;
  bool failed = false;
  std::map<std::string, const Json *> given; // by key in the table
  SmallVector<const Member *> others;        // keys that must be the method's
  SmallVector<NamedAttribute> attributes, places;
};

class Reader {
public:
  Reader(MLIRContext *context, const Json &root, const SpecFiles &files, std::vector<Issue> &issues)
      : context(context), root(root), files(files), issues(issues), fields(context, issues) {}

  OwningOpRef<ModuleOp> run();

private:
  void gather();
  void addInstance(const exp::Section &section, std::string pointer, std::string name, const Json *json, Place place);
  void scan(Instance &instance, const Json &object, const std::string &prefix, const std::string &pointer);
  void scanKey(Instance &instance, const Member &member, const std::string &key, const std::string &pointer);
  void unknownKey(Instance &instance, const Member &member, const std::string &prefix, const std::string &pointer);
  void checkMissing(Instance &instance);
  void readField(Instance &instance, const Field &field);
  void readInlineMethod(Instance &instance);
  void set(Instance &instance, const Field &field, Attribute value);
  Attribute derive(Instance &instance, const Field &field);
  void learnLengths();
  Operation *build(OpBuilder &builder, Instance &instance, Region *body);
  Location at(Place place) const {
    return FileLineColLoc::get(context, files.path(place.file), place.line, place.column);
  }
  Location at(const std::string &pointer, Place place) const {
    return NameLoc::get(StringAttr::get(context, pointer), at(place));
  }

  MLIRContext *context;
  const Json &root;
  const SpecFiles &files;
  std::vector<Issue> &issues;
  FieldReader fields;
  std::vector<std::unique_ptr<Instance>> instances;
  std::map<std::string, Attribute> values; // by dotted path: "model.hidden_size"
};
} // namespace

//===--- Which objects are there ---===//

static const Json *resolve(const Json &root, llvm::StringRef pointer, const Json **ancestor = nullptr) {
  const Json *at = &root;
  while (!pointer.empty()) {
    if (ancestor)
      *ancestor = at;
    auto [key, rest] = pointer.drop_front().split('/');
    const Json *next = at->isObject() ? at->find(key) : nullptr;
    if (!next || next->isNull())
      return nullptr;
    at = next;
    pointer = pointer.drop_front(1 + key.size());
  }
  return at;
}

void Reader::addInstance(const exp::Section &section, std::string pointer, std::string name, const Json *json,
                         Place place) {
  auto instance = std::make_unique<Instance>();
  instance->section = &section;
  instance->pointer = std::move(pointer);
  instance->name = std::move(name);
  instance->json = json;
  instance->place = place;
  instances.push_back(std::move(instance));
}

void Reader::gather() {
  for (const exp::Section &section : exp::sections()) {
    std::string pointer = section.isMap() ? section.pointer.substr(0, section.pointer.size() - 2) : section.pointer;
    const Json *ancestor = &root;
    const Json *json = resolve(root, pointer, &ancestor);
    if (section.isMap()) {
      if (json && !json->isObject())
        fields.error(Rule::WrongType, json->place, pointer,
                     std::string("expected an object of named objects, found ") + json->kindName());
      else if (json)
        for (const Member &member : json->members)
          if (!member.value.isNull())
            addInstance(section, below(pointer, member.key), member.key, &member.value, member.place);
      continue;
    }
    if (!json && section.optional && (section.presentWith.empty() || !resolve(root, section.presentWith)))
      continue;
    addInstance(section, pointer, "", json, json ? json->place : ancestor->place);
  }
  for (auto &instance : instances) {
    const std::vector<Field> &table = instance->section->fields;
    bool whole = !table.empty() && table.front().key.empty(); // the section is one value
    if (whole && instance->json)
      instance->given[""] = instance->json;
    else if (instance->json && !instance->json->isObject()) {
      fields.error(Rule::WrongType, instance->json->place, instance->pointer,
                   std::string("expected an object, found ") + instance->json->kindName());
      instance->failed = true;
    } else if (instance->json)
      scan(*instance, *instance->json, "", instance->pointer);
    if (!instance->failed)
      checkMissing(*instance);
  }
}

//===--- Which keys are there ---===//

void Reader::scan(Instance &instance, const Json &object, const std::string &prefix, const std::string &pointer) {
  for (const Member &member : object.members)
    scanKey(instance, member, prefix + member.key, pointer);
}

void Reader::scanKey(Instance &instance, const Member &member, const std::string &key, const std::string &pointer) {
  const exp::Section &section = *instance.section;
  std::string where = below(pointer, member.key);
  // Only in the table does a dot stand for a nested object.
  bool dotted = member.key.find('.') != std::string::npos;
  bool nested = false;
  if (!section.category.empty() && key == "kind") {
    if (!member.value.removes)
      instance.given[key] = &member.value;
    return;
  }
  for (const Field &field : dotted ? std::vector<Field>() : section.fields) {
    if (field.key == key) {
      // A null that removed a value of the base gives the default, unless null has a meaning of its own.
      bool meansOff = field.nullable || field.type == FieldType::Steps || llvm::is_contained(field.choices, "none");
      if (!member.value.removes || meansOff)
        instance.given[key] = &member.value;
      return;
    }
    nested |= llvm::StringRef(field.key).starts_with(key + ".");
  }
  if (nested) {
    if (member.value.isObject())
      return scan(instance, member.value, key + ".", where);
    if (member.value.isNull() && (member.value.removes || key == section.nullableKey))
      return;
    // A kind alone is allowed, as everywhere.
    if (member.value.isString() && exp::findSection(section.pointer) &&
        llvm::any_of(section.fields, [&](const Field &field) { return field.key == key + ".kind"; })) {
      instance.given[key + ".kind"] = &member.value;
      return;
    }
    fields.error(Rule::WrongType, member.value.place, where,
                 std::string("expected an object, found ") + member.value.kindName());
    instance.failed = true;
    return;
  }
  if (section.pointer.empty() && (key == "$schema" || key == "extends"))
    return;
  std::string templated = section.isMap() ? "" : where;
  for (const exp::Section &other : exp::sections())
    if (!templated.empty() &&
        (other.pointer == templated || llvm::StringRef(other.pointer).starts_with(templated + "/")))
      return; // has an instance of its own
  for (const exp::Unsupported &unsupported : exp::unsupportedKeys()) {
    if (unsupported.pointer != templated)
      continue;
    if (!member.value.isNull() && printCompact(member.value) != unsupported.neutral)
      fields.error(Rule::Unsupported, member.place, where,
                   "not supported by this version; remove it or set it to " +
                       (unsupported.neutral.empty() ? "null" : unsupported.neutral));
    return;
  }
  if (!section.category.empty() && key == member.key)
    instance.others.push_back(&member);
  else if (!member.value.removes)
    unknownKey(instance, member, key.substr(0, key.size() - member.key.size()), where);
}

void Reader::unknownKey(Instance &instance, const Member &member, const std::string &prefix,
                        const std::string &pointer) {
  std::vector<std::string> near;
  std::string elsewhere;
  auto candidate = [&](llvm::StringRef key) { near.push_back(key.split('.').first.str()); };
  for (const Field &field : instance.section->fields)
    if (llvm::StringRef(field.key).starts_with(prefix) && !field.key.empty())
      candidate(llvm::StringRef(field.key).drop_front(prefix.size()));
  if (instance.pointer.empty())
    candidate("sweep"); // expanded before the reader
  for (const exp::Section &section : exp::sections()) {
    auto [parent, name] =
        llvm::StringRef(section.isMap() ? llvm::StringRef(section.pointer).drop_back(2) : section.pointer).rsplit('/');
    if (prefix.empty() && parent == instance.pointer && !name.empty())
      candidate(name);
    if (name == member.key && elsewhere.empty())
      elsewhere = (parent + "/" + name).str();
    for (const Field &field : section.fields)
      if (elsewhere.empty() && llvm::StringRef(field.key).rsplit('.').second == member.key)
        elsewhere = section.pointer + "/" + llvm::join(llvm::split(field.key, '.'), "/");
      else if (elsewhere.empty() && field.key == member.key)
        elsewhere = section.pointer + "/" + field.key;
  }
  std::string hint = exp::suggest(member.key, near);
  if (hint.empty() && !elsewhere.empty())
    hint = "; " + quote(member.key) + " belongs at " + elsewhere;
  fields.error(Rule::UnknownKey, member.place, pointer, "unknown key " + quote(member.key) + hint);
}

void Reader::checkMissing(Instance &instance) {
  const exp::Section &section = *instance.section;
  bool switchedOn = llvm::any_of(instance.given, [&](auto &entry) {
    return !section.nullableKey.empty() && llvm::StringRef(entry.first).starts_with(section.nullableKey + ".");
  });
  std::vector<std::string> missing;
  for (const Field &field : section.fields) {
    bool required = field.fallback.empty() || (switchedOn && field.key == section.nullSwitch);
    if (required && !instance.given.count(field.key))
      missing.push_back(field.key);
  }
  if (!section.category.empty() && !section.isMap() && section.defaultKind.empty() && !instance.given.count("kind"))
    missing.insert(missing.begin(), "kind");
  if (missing.empty())
    return;
  instance.failed = true;
  if (instance.json) {
    for (const std::string &key : missing) {
      std::string outer = key.find('.') == std::string::npos ? "" : key.substr(0, key.find('.'));
      const Json *inner = outer.empty() ? nullptr : instance.json->find(outer);
      bool inside = inner && inner->isObject();
      const Json &object = inside ? *inner : *instance.json;
      // If a null removed the value of a base, the key is missing because of it.
      const Json *removed = object.find(inside ? key.substr(outer.size() + 1) : key);
      Place place = removed && removed->removes ? removed->place : object.place;
      fields.error(Rule::MissingKey, place,
                   inside                     ? below(instance.pointer, outer)
                   : instance.pointer.empty() ? "/"
                                              : instance.pointer,
                   "required key " + quote(inside ? key.substr(outer.size() + 1) : key) + " is missing");
    }
    return;
  }
  auto [parent, name] = llvm::StringRef(instance.pointer).rsplit('/');
  if (!parent.empty() && !resolve(root, parent))
    return; // the parent's absence has been reported
  std::string needs;
  for (const std::string &key : missing)
    needs += (needs.empty() ? "" : ", ") + quote(key.empty() ? "steps" : key);
  fields.error(Rule::MissingKey, instance.place, parent.empty() ? "/" : parent.str(),
               "required section " + quote(name) + " is missing; it needs " + needs);
}

//===--- Values ---===//

static std::string fieldPointer(const Instance &instance, llvm::StringRef key) {
  std::string pointer = instance.pointer;
  for (llvm::StringRef part : llvm::split(key, '.'))
    if (!part.empty())
      pointer = below(pointer, part);
  return pointer;
}

void Reader::set(Instance &instance, const Field &field, Attribute value) {
  if (!value) {
    instance.failed = true;
    return;
  }
  if (!field.attribute.empty())
    instance.attributes.emplace_back(StringAttr::get(context, field.attribute), value);
  if (!instance.section->isMap()) {
    std::string path = instance.section->pointer + "/" + field.key;
    std::replace(path.begin(), path.end(), '/', '.');
    values[path.substr(1)] = value;
  }
}

/// "=a.b" or "=a.b / c.d".
Attribute Reader::derive(Instance &instance, const Field &field) {
  auto [left, right] = llvm::StringRef(field.fallback).drop_front().split(" / ");
  auto value = values.find(left.str());
  if (value == values.end())
    return {}; // its own error has been reported
  if (right.empty())
    return value->second;
  auto divisor = values.find(right.str());
  if (divisor == values.end())
    return {};
  int64_t a = cast<IntegerAttr>(value->second).getInt(), b = cast<IntegerAttr>(divisor->second).getInt();
  if (a % b != 0) {
    std::vector<Note> notes;
    for (auto [path, number] : {std::pair(left, a), std::pair(right, b)}) {
      std::string pointer = "/" + llvm::join(llvm::split(path, '.'), "/");
      if (const Json *given = resolve(root, pointer))
        notes.push_back({given->place, pointer, path.rsplit('.').second.str() + " is " + std::to_string(number)});
    }
    fields.error(Rule::Derived, instance.place, fieldPointer(instance, field.key),
                 field.key + " is not given, and its default " + field.fallback.substr(1) + " = " + std::to_string(a) +
                     " / " + std::to_string(b) + " is not whole",
                 notes);
    return {};
  }
  return IntegerAttr::get(IntegerType::get(context, 64), a / b);
}

/// A method that may be left out: null, "none" or {"kind": "none"}.
static bool isOff(const Json &value) {
  const Json *kind = value.isObject() && value.members.size() == 1 ? value.find("kind") : &value;
  return value.isNull() || (kind && kind->isString() && kind->string == "none");
}

void Reader::readField(Instance &instance, const Field &field) {
  auto given = instance.given.find(field.key);
  std::string pointer = fieldPointer(instance, field.key);
  std::string attribute = field.attribute;
  auto note = [&](const std::string &key, const std::string &where, Place place) {
    instance.places.emplace_back(StringAttr::get(context, key), LocationAttr(at(where, place)));
  };
  if (field.type == FieldType::Method) {
    Json fallback = given == instance.given.end() ? parseConstant(field.fallback) : Json();
    const Json &value = given == instance.given.end() ? fallback : *given->second;
    if (field.nullable && isOff(value))
      return; // no method
    if (given != instance.given.end())
      note(attribute, pointer, value.place);
    set(instance, field,
        fields.readMethodValue(field, value, pointer,
                               [&](const std::string &key, const std::string &where, Place place) {
                                 note(attribute + "." + key, where, place);
                               }));
    return;
  }
  if (given != instance.given.end()) {
    set(instance, field, fields.read(field, *given->second, pointer));
    if (!attribute.empty())
      note(attribute, pointer, placeOfValue(field, *given->second));
  } else if (!field.fallback.empty()) {
    set(instance, field, field.fallback[0] == '=' ? derive(instance, field) : fields.readDefault(field));
  }
}

void Reader::readInlineMethod(Instance &instance) {
  const exp::Section &section = *instance.section;
  auto given = instance.given.find("kind");
  exp::MethodAttr inherited;
  std::string kind = section.isMap() ? instance.name : section.defaultKind;
  Place place = instance.place;
  std::string kindPointer = instance.pointer;
  // A group takes the kind of the default optimizer, and then also the keys that it does not give. The kind of a loss
  // defaults to its name.
  if (section.category == "optimizer" && section.isMap()) {
    auto outer = values.find("optimizer.kind");
    if (outer == values.end()) {
      instance.failed = true;
      return;
    }
    inherited = cast<exp::MethodAttr>(outer->second);
    kind = inherited.getKind().str();
  }
  auto note = [&](const std::string &key, const std::string &where, Place place) {
    instance.places.emplace_back(StringAttr::get(context, key), LocationAttr(at(where, place)));
  };
  if (given != instance.given.end()) {
    kindPointer = below(instance.pointer, "kind");
    if (!given->second->isString()) {
      fields.error(Rule::WrongType, given->second->place, kindPointer,
                   std::string("expected a kind of ") + section.category + ", found " + given->second->kindName());
      instance.failed = true;
      return;
    }
    kind = given->second->string;
    place = given->second->place;
    note("method", kindPointer, place);
  }
  MethodText written{.category = section.category,
                     .kind = kind,
                     .kindPlace = place,
                     .kindPointer = kindPointer,
                     .pointer = instance.pointer,
                     .members = instance.others,
                     .inherited = inherited};
  for (const Field &field : section.fields)
    written.otherKeys.push_back(field.key);
  exp::MethodAttr method = fields.readMethod(written, note);
  Field field{.key = "kind",
              .type = FieldType::Method,
              .fallback = "",
              .choices = {},
              .unit = "",
              .doc = "",
              .attribute = "method"};
  set(instance, field, method);
}

/// Sets the tokens of a step and the steps of the run, after the fields that define them have been read.
void Reader::learnLengths() {
  auto integer = [&](const char *path) -> std::optional<double> {
    auto it = values.find(path);
    return it == values.end() ? std::nullopt
                              : std::optional(static_cast<double>(cast<IntegerAttr>(it->second).getInt()));
  };
  if (auto sequences = integer("batch.sequences"))
    if (auto length = integer("data.seq_len"))
      fields.tokensPerStep = *sequences * *length;
  for (auto &instance : instances)
    if (instance->section->op == "exp.duration" && !instance->failed)
      readField(*instance, instance->section->fields.front());
  if (auto steps = integer("duration."))
    fields.totalSteps = static_cast<int64_t>(*steps);
}

//===--- Operations ---===//

Operation *Reader::build(OpBuilder &builder, Instance &instance, Region *body) {
  if (instance.section->isMap()) {
    instance.attributes.emplace_back(StringAttr::get(context, "name"), builder.getStringAttr(instance.name));
    if (instance.section->op == "exp.dataset") {
      llvm::StringRef split = llvm::StringRef(instance.section->pointer).drop_back(2).rsplit('/').second;
      instance.attributes.emplace_back(StringAttr::get(context, "split"), builder.getStringAttr(split));
    }
  }
  Location loc = exp::sectionLoc(instance.pointer.empty() ? "/" : instance.pointer, at(instance.place),
                                 DictionaryAttr::get(context, instance.places));
  OperationState state(loc, instance.section->op);
  state.addAttributes(instance.attributes);
  if (body)
    state.addRegion()->takeBody(*body);
  return builder.create(state);
}

OwningOpRef<ModuleOp> Reader::run() {
  gather();
  // The order: plain values, values derived from them, lengths of training, and methods, whose fields may be such
  // lengths.
  auto stage = [](const Field &field) {
    if (field.type == FieldType::Method)
      return 3;
    return field.type == FieldType::Steps ? 2 : field.fallback.starts_with("=") ? 1 : 0;
  };
  for (int now = 0; now < 4; ++now) {
    if (now == 2)
      learnLengths();
    for (auto &instance : instances) {
      for (const Field &field : instance->section->fields) {
        bool present = instance->given.count(field.key) || !field.fallback.empty();
        if (stage(field) == now && present && !(now == 2 && field.key.empty()))
          readField(*instance, field);
      }
      if (now == 3 && !instance->section->category.empty() &&
          (instance->section->isMap() || instance->given.count("kind") || !instance->section->defaultKind.empty()) &&
          (!instance->json || instance->json->isObject()))
        readInlineMethod(*instance);
    }
  }

  OpBuilder builder(context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(at({0, 1, 1}));
  Region body;
  Block &block = body.emplaceBlock();
  builder.setInsertionPointToEnd(&block);
  bool complete = issues.empty();
  Instance &top = *instances.front();
  for (auto &instance : llvm::drop_begin(instances)) {
    complete &= !instance->failed;
    if (!instance->failed)
      build(builder, *instance, nullptr);
  }
  if (top.failed) {
    // The sections are checked even if the experiment has no name.
    top.attributes.clear();
    top.attributes.emplace_back(StringAttr::get(context, "sym_name"), builder.getStringAttr("unnamed"));
    for (const char *name : {"version", "seed"})
      top.attributes.emplace_back(StringAttr::get(context, name), builder.getI64IntegerAttr(1));
  }
  builder.setInsertionPointToEnd(module->getBody());
  auto experiment = cast<exp::ExperimentOp>(build(builder, top, &body));
  bool ok = succeeded(exp::checkAll(experiment, complete && !top.failed));
  return ok && complete && !top.failed ? std::move(module) : OwningOpRef<ModuleOp>();
}

OwningOpRef<ModuleOp> moec::spec::readMerged(MLIRContext *context, const Json &root, const SpecFiles &files,
                                             std::vector<Issue> &issues) {
  return Reader(context, root, files, issues).run();
}
