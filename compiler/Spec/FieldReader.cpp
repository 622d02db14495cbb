// Types are checked here, where the JSON is still available; exp::checkValue checks ranges and choices, also for
// hand-written IR.
#include "compiler/Spec/FieldReader.h"

#include "compiler/Spec/Spec.h"
#include "compiler/Spec/SpecValues.h"

#include <cmath>

using namespace mlir;
using namespace moec;
using namespace moec::spec;
using exp::Field;
using exp::FieldType;
using exp::Rule;

constexpr double kMaxInteger = 9007199254740992.0; // 2^53: above it doubles skip integers

Attribute FieldReader::wrongType(const Json &value, const std::string &pointer, const std::string &expected) {
  std::string found = value.kindName();
  if (value.kind == Json::Kind::Number)
    found = value.string;
  else if (value.isString())
    found = "the text " + quote(value.string);
  error(Rule::WrongType, value.place, pointer, "expected " + expected + ", found " + found);
  return {};
}

Place moec::spec::placeOfValue(const Field &field, const Json &value) {
  if (field.type == FieldType::Steps && value.isObject())
    for (const Member &member : value.members)
      if (!member.value.isNull())
        return member.value.place;
  return value.place;
}

Attribute FieldReader::convertSteps(const Field &field, const Json &value, const std::string &pointer) {
  Builder b(context);
  // The length of the run cannot be a share of itself.
  bool isRun = field.attribute == "steps";
  std::string expected =
      isRun ? "{\"steps\": n} or {\"tokens\": n}" : "{\"steps\": n}, {\"tokens\": n} or {\"fraction\": x}";
  if (value.isNull() && field.minimum == 0)
    return b.getI64IntegerAttr(0);
  auto bad = [&](Place place, const std::string &where, const std::string &found) {
    error(Rule::Duration, place, where, "expected " + expected + ", found " + found);
    return Attribute();
  };
  if (!value.isObject())
    return bad(value.place, pointer, value.kind == Json::Kind::Number ? value.string : value.kindName());
  const Member *only = nullptr;
  for (const Member &member : value.members) {
    bool known = member.key == "steps" || member.key == "tokens" || (member.key == "fraction" && !isRun);
    if (!known)
      return bad(member.place, below(pointer, member.key), "key " + quote(member.key));
    if (member.value.isNull())
      continue;
    if (only)
      return bad(member.place, below(pointer, member.key), quote(only->key) + " and " + quote(member.key));
    only = &member;
  }
  if (!only)
    return bad(value.place, pointer, "an empty object");
  const Json &amount = only->value;
  std::string where = below(pointer, only->key);
  bool fraction = only->key == "fraction";
  if (amount.kind != Json::Kind::Number || (!fraction && amount.number != std::floor(amount.number)))
    return wrongType(amount, where, fraction ? "a number" : "an integer");
  double most = fraction ? 1 : only->key == "steps" ? 1e12 : 1e18;
  // From here on, 0 steps would be taken for null.
  std::string orNull = field.minimum == 0 ? ", or null" : "";
  if (amount.number > most || amount.number <= 0) {
    error(Rule::Range, amount.place, where,
          amount.string + " is out of range; expected " +
              (amount.number > most ? "at most " + numberText(most)
               : fraction           ? "more than 0" + orNull
                                    : "at least 1" + orNull));
    return {};
  }
  if (only->key == "steps")
    return b.getI64IntegerAttr(static_cast<int64_t>(amount.number));
  if (fraction && !totalSteps)
    return {};
  if (fraction) {
    int64_t steps = std::llround(amount.number * static_cast<double>(*totalSteps));
    bool isDefault = amount.place.line == 0; // in a very short run, a default takes what there is
    if (steps == 0 && !isDefault) {
      error(Rule::RoundsToNothing, amount.place, where,
            "a share of " + amount.string + " of the run, which is " + std::to_string(*totalSteps) +
                (*totalSteps == 1 ? " step" : " steps") + ", rounds to 0 steps; expected at least {\"steps\": 1}" +
                orNull);
      return {};
    }
    return b.getI64IntegerAttr(std::max<int64_t>(steps, 1));
  }
  return tokensPerStep ? b.getI64IntegerAttr(static_cast<int64_t>(std::ceil(amount.number / *tokensPerStep)))
                       : Attribute();
}

/// A 0 in the spec would be taken for null from here on.
bool FieldReader::refuseZero(const Field &field, const Json &value, const std::string &pointer,
                             const std::string &expected) {
  if (!field.nullable || value.number != 0)
    return true;
  error(Rule::Range, value.place, pointer, "0 is out of range; expected " + expected + ", or null");
  return false;
}

Attribute FieldReader::convert(const Field &field, const Json &value, const std::string &pointer) {
  Builder b(context);
  bool isNumber = value.kind == Json::Kind::Number;
  switch (field.type) {
  case FieldType::Integer:
    if (value.isNull() && field.nullable)
      return b.getI64IntegerAttr(0);
    if (!isNumber || value.number != std::floor(value.number))
      return wrongType(value, pointer, field.nullable ? "an integer or null" : "an integer");
    if (!refuseZero(field, value, pointer, "at least " + numberText(field.minimum)))
      return {};
    if (std::abs(value.number) >= kMaxInteger) {
      error(Rule::Range, value.place, pointer,
            value.string + " is out of range; expected at most " + numberText(field.maximum));
      return {};
    }
    return b.getI64IntegerAttr(static_cast<int64_t>(value.number));
  case FieldType::Number:
    if (value.isNull() && field.nullable)
      return b.getF64FloatAttr(0.0);
    if (!isNumber)
      return wrongType(value, pointer, "a number");
    if (field.openMinimum && !refuseZero(field, value, pointer, "more than " + numberText(field.minimum)))
      return {};
    return b.getF64FloatAttr(value.number);
  case FieldType::Boolean:
    return value.kind == Json::Kind::Boolean ? Attribute(b.getBoolAttr(value.boolean))
                                             : wrongType(value, pointer, "true or false");
  case FieldType::Text:
    return value.isString() ? Attribute(b.getStringAttr(value.string)) : wrongType(value, pointer, "a text");
  case FieldType::Choice: {
    if (value.isNull() && llvm::is_contained(field.choices, "none"))
      return b.getStringAttr("none");
    if (value.isString())
      return b.getStringAttr(value.string);
    std::string expected;
    for (const std::string &choice : field.choices)
      expected += (expected.empty() ? "" : &choice == &field.choices.back() ? " or " : ", ") + quote(choice);
    return wrongType(value, pointer, expected);
  }
  case FieldType::TextList: {
    if (value.kind != Json::Kind::Array)
      return wrongType(value, pointer, "a list of texts");
    SmallVector<StringRef> texts;
    for (size_t i = 0; i < value.elements.size(); ++i) {
      if (!value.elements[i].isString())
        return wrongType(value.elements[i], below(pointer, std::to_string(i)), "a text");
      texts.push_back(value.elements[i].string);
    }
    return b.getStrArrayAttr(texts);
  }
  case FieldType::NumberList: {
    if (value.isNull() && field.nullable)
      return b.getDenseF64ArrayAttr({});
    if (value.kind != Json::Kind::Array)
      return wrongType(value, pointer, "a list of numbers");
    SmallVector<double> numbers;
    for (size_t i = 0; i < value.elements.size(); ++i) {
      if (value.elements[i].kind != Json::Kind::Number)
        return wrongType(value.elements[i], below(pointer, std::to_string(i)), "a number");
      numbers.push_back(value.elements[i].number);
    }
    return b.getDenseF64ArrayAttr(numbers);
  }
  case FieldType::Steps:
    return convertSteps(field, value, pointer);
  case FieldType::Method:
    break; // readMethodValue
  }
  return {};
}

Attribute FieldReader::read(const Field &field, const Json &value, const std::string &pointer) {
  Attribute attribute = convert(field, value, pointer);
  if (!attribute || value.isNull())
    return attribute;
  if (auto problem = exp::checkValue(field, attribute, context)) {
    error(problem->rule, placeOfValue(field, value), pointer, problem->text);
    return {};
  }
  return attribute;
}

Attribute FieldReader::readDefault(const Field &field) { return convert(field, parseConstant(field.fallback), ""); }

Attribute moec::spec::defaultValue(const Field &field, exp::ExperimentOp experiment) {
  if (field.fallback.empty() || field.isDerived() || field.type == FieldType::Method)
    return {};
  std::vector<Issue> issues;
  FieldReader reader(experiment.getContext(), issues);
  reader.totalSteps = static_cast<int64_t>(experiment.section<exp::DurationOp>().getSteps());
  return reader.readDefault(field);
}

std::string moec::spec::valueText(const Field &field, Attribute value) { return printCompact(toJson(field, value)); }

//===--- Methods ---===//

namespace {
/// A key of a method: dots where the field's key has them.
struct MethodKey {
  std::string key, pointer;
  const Member *member;
};
} // namespace

/// Keys of the table with a dot are objects in the spec: "ns.steps" is {"ns": {"steps": ...}}.
static void flatten(const exp::Method &method, const Member &member, const std::string &prefix,
                    const std::string &pointer, std::vector<MethodKey> &keys, std::vector<MethodKey> &wrong) {
  bool dotted = member.key.find('.') != std::string::npos;
  std::string key = prefix + member.key, where = below(pointer, member.key);
  bool nests = !dotted && llvm::any_of(method.fields(), [&](const Field &field) {
    return llvm::StringRef(field.key).starts_with(key + ".");
  });
  if (!nests)
    return (dotted ? wrong : keys).push_back({key, where, &member});
  if (member.value.isObject())
    for (const Member &inner : member.value.members)
      flatten(method, inner, key + ".", where, keys, wrong);
  else if (!member.value.removes)
    wrong.push_back({key, where, &member});
}

exp::MethodAttr FieldReader::readMethod(const MethodText &written, Given given) {
  const std::string &category = written.category, &kind = written.kind, &pointer = written.pointer;
  exp::MethodRegistry &registry = exp::getMethods(context);
  const exp::Method *method = registry.find(category, kind);
  if (!method) {
    std::vector<std::string> kinds;
    std::string list;
    for (const exp::Method *known : registry.all(category)) {
      kinds.push_back(known->kind());
      list += (list.empty() ? "" : ", ") + quote(known->kind());
    }
    error(Rule::UnknownKind, written.kindPlace, written.kindPointer,
          "no " + category + " has kind " + quote(kind) + "; expected one of " + list + exp::suggest(kind, kinds));
    return {};
  }
  exp::MethodAttr inherited = written.inherited;
  if (inherited && inherited.getKind() != kind)
    inherited = {};

  bool ok = true;
  std::vector<std::string> known = written.otherKeys;
  std::vector<MethodKey> keys, wrong;
  for (const Member *member : written.members)
    flatten(*method, *member, "", pointer, keys, wrong);
  SmallVector<NamedAttribute> fields;
  for (const Field &field : method->fields()) {
    known.push_back(field.key);
    auto it = llvm::find_if(keys, [&](const MethodKey &key) { return key.key == field.key; });
    Attribute value;
    if (it != keys.end() && !it->member->value.removes) {
      value = read(field, it->member->value, it->pointer);
      given(field.key, it->pointer, placeOfValue(field, it->member->value));
    } else if (inherited && inherited.getFields().get(field.key)) {
      value = inherited.getFields().get(field.key);
    } else if (field.isDerived()) {
      continue;
    } else if (!field.fallback.empty()) {
      // Null without a report: a share of a run whose length is unknown because of another error.
      value = readDefault(field);
    } else {
      // If a null removed the value of a base, the key is missing because of it.
      Place place = it != keys.end() ? it->member->value.place : written.kindPlace;
      error(Rule::MissingKey, place, pointer, category + " " + quote(kind) + " needs the key " + quote(field.key));
    }
    ok &= static_cast<bool>(value);
    if (value)
      fields.emplace_back(StringAttr::get(context, field.key), value);
  }
  for (const MethodKey &key : wrong) {
    if (llvm::any_of(method->fields(), [&](const Field &field) { return field.key.starts_with(key.key + "."); })) {
      wrongType(key.member->value, key.pointer, "an object");
      ok = false;
    } else {
      keys.push_back(key);
    }
  }
  for (const MethodKey &key : keys) {
    bool isKnown = llvm::any_of(method->fields(), [&](const Field &field) { return field.key == key.key; });
    bool dotted = key.member->key.find('.') != std::string::npos;
    if (key.member->value.removes || (isKnown && !dotted))
      continue;
    std::string text = category + " " + quote(kind) + " has no key " + quote(key.key);
    std::string owner;
    for (const exp::Method *other : registry.all(category))
      for (const Field &field : other->fields())
        if (field.key == key.key && owner.empty() && !isKnown)
          owner = "; it belongs to " + quote(other->kind());
    if (isKnown)
      owner = "; write the parts as objects, one inside the other";
    error(Rule::ForeignKey, key.member->place, key.pointer,
          text + (owner.empty() ? exp::suggest(key.key, known) : owner));
    ok = false;
  }
  return ok ? exp::MethodAttr::get(context, category, kind, DictionaryAttr::get(context, fields)) : exp::MethodAttr();
}

exp::MethodAttr FieldReader::readMethodValue(const Field &field, const Json &value, const std::string &pointer,
                                             Given given) {
  if (value.isString())
    return readMethod({.category = field.category,
                       .kind = value.string,
                       .kindPlace = value.place,
                       .kindPointer = pointer,
                       .pointer = pointer,
                       .members = {}},
                      given);
  const Json *kind = value.isObject() ? value.find("kind") : nullptr;
  if (!value.isObject()) {
    wrongType(value, pointer, "a kind of " + field.category + " or an object with \"kind\"");
    return {};
  }
  // If no kind is given, the default's kind is used, so that {"order": "post"} alone is enough.
  Json fallback = kind || field.fallback.empty() ? Json() : parseConstant(field.fallback);
  if (!kind && fallback.isString())
    kind = &fallback;
  if (!kind || !kind->isString()) {
    if (kind)
      wrongType(*kind, below(pointer, "kind"), "a kind of " + field.category);
    else
      error(Rule::MissingKey, value.place, pointer, "required key \"kind\" is missing");
    return {};
  }
  MethodText written{.category = field.category,
                     .kind = kind->string,
                     .kindPlace = kind->place.line ? kind->place : value.place,
                     .kindPointer = below(pointer, "kind"),
                     .pointer = pointer,
                     .members = {}};
  for (const Member &member : value.members)
    if (member.key != "kind")
      written.members.push_back(&member);
  return readMethod(written, given);
}
