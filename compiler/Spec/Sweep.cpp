#include "compiler/Spec/Sweep.h"

#include "compiler/Spec/SpecFiles.h"
#include "dialects/Exp/IR/Exp.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <map>

using namespace moec;
using namespace moec::spec;
using exp::Rule;

/// More members are more likely a mistake than intended.
static constexpr size_t kMaxMembers = 1000;
/// Folder names may have 255 bytes, and ".moec.new" is added to some.
static constexpr size_t kMaxName = 200;
static constexpr size_t kMaxLabel = 48;
/// The most keys in a path; the language nests less deeply.
static constexpr size_t kMaxDepth = 16;

static constexpr SweepKey keys[] = {
    {"field", "text", "The key that this axis changes, with a dot for each nesting: \"losses.load_balance.weight\"."},
    {"values", "list", "With `field`: the values it takes, one for each member."},
    {"variants", "map of objects",
     "In place of `field` and `values`: named changes of several keys, each laid over the spec as with `extends`."},
};

llvm::ArrayRef<SweepKey> moec::spec::sweepKeys() { return keys; }

llvm::StringRef moec::spec::sweepSummary() {
  return "An axis of a sweep: the spec stands for one experiment for each combination of all axes, its members.";
}

//===--- Names ---===//

static bool isNameChar(char c) { return llvm::isAlnum(c) || c == '_' || c == '-' || c == '.'; }

/// A value as a part of a name. Equal numbers get equal labels, whatever their notation.
static std::string labelOf(const Json &value) {
  std::string text;
  if (value.kind == Json::Kind::Number)
    text = numberText(value.number);
  else if (value.isString())
    text = value.string;
  else
    text = printCompact(value);
  llvm::erase(text, '+');
  std::string label;
  for (char c : text)
    if (isNameChar(c))
      label += c;
    else if (!label.empty() && label.back() != '-')
      label += '-';
  while (!label.empty() && label.back() == '-')
    label.pop_back();
  return label;
}

//===--- Reading the axes ---===//

class Sweep::Builder {
public:
  Builder(Sweep &sweep, std::vector<Issue> &issues) : sweep(sweep), issues(issues), before(issues.size()) {}

  bool run() {
    const Json &map = *sweep.source;
    if (!map.isObject())
      wrongType(map, "/sweep", "an object of named axes");
    for (const Member &member : map.members)
      if (!member.value.isNull())
        readAxis(member);
    llvm::sort(sweep.axes, [](const Axis &a, const Axis &b) { return a.name < b.name; });
    if (failed())
      return false;
    if (sweep.axes.empty())
      error(Rule::SweepAxis, map.place, "/sweep", "there is no axis; give one, or set sweep to null");
    checkOverlaps();
    if (!failed())
      nameMembers();
    return !failed();
  }

private:
  /// A field that an axis sets, for overlaps.
  struct Touched {
    std::string axis, pointer;
    Place place;
  };

  bool failed() const { return issues.size() > before; }
  void error(Rule rule, Place place, std::string pointer, std::string text, std::vector<Note> notes = {}) {
    issues.push_back({rule, place, std::move(pointer), std::move(text), std::move(notes)});
  }
  void wrongType(const Json &value, const std::string &pointer, const std::string &expected) {
    error(Rule::WrongType, value.place, pointer, "expected " + expected + ", found " + value.kindName());
  }

  void readAxis(const Member &member) {
    std::string pointer = below("/sweep", member.key);
    if (member.key.empty() || member.key.size() > exp::kMaxName ||
        !llvm::all_of(member.key, [](char c) { return llvm::isLower(c) || llvm::isDigit(c) || c == '_'; }))
      error(Rule::Name, member.place, pointer, quote(member.key) + " is not a name; expected only a-z, 0-9 and _");
    const Json &axis = member.value;
    if (!axis.isObject())
      return wrongType(axis, pointer, "an axis: {\"field\": ..., \"values\": [...]} or {\"variants\": {...}}");
    size_t errors = issues.size();
    for (const Member &key : axis.members) {
      std::vector<std::string> known;
      for (const SweepKey &candidate : keys)
        known.push_back(candidate.key);
      if (!llvm::is_contained(known, key.key) && !key.value.removes)
        error(Rule::UnknownKey, key.place, below(pointer, key.key),
              "unknown key " + quote(key.key) + exp::suggest(key.key, known));
    }
    auto given = [&](llvm::StringRef key) {
      const Json *value = axis.find(key);
      return value && !value->isNull() ? value : nullptr;
    };
    const Json *field = given("field"), *values = given("values"), *variants = given("variants");
    sweep.axes.push_back({member.key, {}, {}, {}});
    if (variants && (field || values))
      error(Rule::SweepAxis, variants->place, pointer,
            "an axis has either field and values, or variants; this one has both");
    else if (variants)
      readVariants(*variants, below(pointer, "variants"));
    else if (field && values)
      readValues(*field, *values, pointer);
    else if (issues.size() == errors) // otherwise a misspelt key was already reported
      error(Rule::SweepAxis, axis.place, pointer,
            field    ? "the axis has a field, but no values for it"
            : values ? "the axis has values, but names no field that takes them"
                     : "the axis is empty; it needs field and values, or variants");
  }

  /// Some keys belong to the sweep itself; axes may not change them.
  bool mayChange(llvm::StringRef key, Place place, const std::string &pointer) {
    if (!llvm::is_contained({"name", "extends", "sweep", "moec", "$schema"}, key))
      return true;
    error(Rule::SweepAxis, place, pointer,
          "a sweep cannot change " + quote(key) + (key == "name" ? "; members are named by their axes" : ""));
    return false;
  }

  void readValues(const Json &field, const Json &values, const std::string &pointer) {
    Axis &axis = sweep.axes.back();
    if (!field.isString())
      return wrongType(field, below(pointer, "field"), "the key that the axis changes, as in \"optimizer.lr\"");
    std::string where = below(pointer, "field");
    axis.fieldPlace = field.place;
    for (llvm::StringRef key : llvm::split(field.string, '.')) {
      if (key.empty() || axis.field.size() == kMaxDepth)
        return error(Rule::SweepAxis, field.place, where,
                     quote(field.string) + " is not a key; expected one as in \"optimizer.lr\"");
      axis.field.push_back(key.str());
    }
    if (!mayChange(axis.field.front(), field.place, where))
      return;
    where = below(pointer, "values");
    if (values.kind != Json::Kind::Array)
      return wrongType(values, where, "a list of values");
    if (values.elements.empty())
      error(Rule::SweepAxis, values.place, where, "the list is empty; expected at least one value");
    std::string fieldPointer;
    for (const std::string &key : axis.field)
      fieldPointer = below(fieldPointer, key);
    touch(fieldPointer, field.place);
    std::map<std::string, size_t> seen;
    for (size_t i = 0; i < values.elements.size(); ++i) {
      const Json &value = values.elements[i];
      std::string label = labelOf(value), at = below(where, std::to_string(i));
      if (label.empty() || label.size() > kMaxLabel)
        error(Rule::SweepName, value.place, at,
              "no name can be made of this value; expected 1 to " + std::to_string(kMaxLabel) +
                  " letters or digits. Use variants, which have names of their own");
      auto [first, isNew] = seen.try_emplace(label, i);
      if (!isNew)
        error(Rule::SweepName, value.place, at,
              "this value and another of the axis would give members of the same name, " +
                  quote(axis.name + "-" + label),
              {{values.elements[first->second].place, below(where, std::to_string(first->second)), "the other"}});
      axis.choices.push_back(
          {axis.name + "-" + label, field.string + " = " + printCompact(value), at, value.place, &value});
    }
  }

  void readVariants(const Json &variants, const std::string &pointer) {
    Axis &axis = sweep.axes.back();
    if (!variants.isObject())
      return wrongType(variants, pointer, "an object of named variants");
    size_t errors = issues.size();
    for (const Member &variant : variants.members) {
      std::string where = below(pointer, variant.key);
      // A null removes a variant of the base.
      if (variant.value.isNull())
        continue;
      if (variant.key.empty() || variant.key.size() > kMaxLabel || !llvm::isAlnum(variant.key.front()) ||
          !llvm::all_of(variant.key, isNameChar))
        error(Rule::Name, variant.place, where,
              quote(variant.key) + " is not a name for a variant; expected letters, digits, _, - and ., at most " +
                  std::to_string(kMaxLabel) + ", the first a letter or digit");
      if (!variant.value.isObject()) {
        wrongType(variant.value, where, "an object with what the variant changes");
        continue;
      }
      for (const Member &member : variant.value.members)
        mayChange(member.key, member.place, below(where, member.key));
      touchLeaves(variant.value, "");
      axis.choices.push_back({variant.key, axis.name + " = " + variant.key, where, variant.place, &variant.value});
    }
    if (axis.choices.empty() && issues.size() == errors)
      error(Rule::SweepAxis, variants.place, pointer, "there is no variant; expected at least one");
  }

  void touchLeaves(const Json &patch, const std::string &pointer) {
    for (const Member &member : patch.members) {
      std::string where = below(pointer, member.key);
      if (member.value.isObject())
        touchLeaves(member.value, where);
      else
        touch(where, member.value.place);
    }
  }

  void touch(llvm::StringRef pointer, Place place) {
    // A length has three forms.
    auto [parent, last] = pointer.rsplit('/');
    if (isLengthKey(last))
      pointer = parent;
    touched.push_back({sweep.axes.back().name, pointer.str(), place});
  }

  /// If two axes set one field, the later one would overwrite the other.
  void checkOverlaps() {
    std::vector<std::pair<std::string, std::string>> reported;
    for (size_t j = 0; j < touched.size(); ++j)
      for (size_t i = 0; i < j; ++i) {
        const Touched &a = touched[i], &b = touched[j];
        bool overlap = (b.pointer + "/").starts_with(a.pointer + "/") || (a.pointer + "/").starts_with(b.pointer + "/");
        if (a.axis == b.axis || !overlap || llvm::is_contained(reported, std::pair(a.axis, b.axis)))
          continue;
        reported.emplace_back(a.axis, b.axis);
        error(Rule::SweepTwice, b.place, "/sweep/" + b.axis,
              "the axes " + quote(a.axis) + " and " + quote(b.axis) + " both change " +
                  (a.pointer.size() < b.pointer.size() ? a.pointer : b.pointer),
              {{a.place, "/sweep/" + a.axis, "changed here as well"}});
      }
  }

  void nameMembers() {
    size_t count = 1;
    for (const Axis &axis : sweep.axes) {
      count *= axis.choices.size();
      if (count > kMaxMembers)
        return error(Rule::SweepAxis, sweep.at, "/sweep",
                     "the axes multiply to more than " + std::to_string(kMaxMembers) + " members");
    }
    std::map<std::string, size_t> seen;
    sweep.names.resize(count);
    for (size_t i = 0; i < count; ++i) {
      std::string &name = sweep.names[i];
      for (size_t axis = 0; axis < sweep.axes.size(); ++axis)
        name += (axis ? "_" : "") + sweep.choice(i, axis).label;
      const Choice &last = sweep.choice(i, sweep.axes.size() - 1);
      if (name.size() > kMaxName)
        return error(Rule::SweepName, last.place, last.pointer,
                     "the name of a member has " + std::to_string(name.size()) + " letters, at most " +
                         std::to_string(kMaxName) + " are accepted: " + name);
      // On some file systems "A" and "a" are the same folder.
      auto [first, isNew] = seen.try_emplace(llvm::StringRef(name).lower(), i);
      if (!isNew && sweep.names[first->second] != name)
        return error(Rule::SweepName, last.place, last.pointer,
                     "the names of two members differ in upper and lower case alone: " +
                         quote(sweep.names[first->second]) + " and " + quote(name));
      if (!isNew)
        return error(Rule::SweepName, last.place, last.pointer,
                     "two members would have the name " + quote(name) + ": " + sweep.settings(first->second) +
                         "; and " + sweep.settings(i));
    }
  }

  Sweep &sweep;
  std::vector<Issue> &issues;
  size_t before;
  std::vector<Touched> touched;
};

std::optional<Sweep> Sweep::takeFrom(Json &spec, std::vector<Issue> &issues) {
  Sweep sweep;
  auto found = llvm::find_if(spec.members, [](const Member &member) { return member.key == "sweep"; });
  if (found == spec.members.end())
    return sweep;
  sweep.source = std::make_shared<const Json>(std::move(found->value));
  sweep.at = found->place;
  spec.members.erase(found);
  if (!sweep.source->isNull() && !Builder(sweep, issues).run())
    return std::nullopt;
  return sweep;
}

//===--- Members ---===//

/// The last axis changes fastest.
const Sweep::Choice &Sweep::choice(size_t member, size_t axis) const {
  for (size_t later = axes.size(); --later > axis;)
    member /= axes[later].choices.size();
  return axes[axis].choices[member % axes[axis].choices.size()];
}

std::string Sweep::settings(size_t member) const {
  std::string text;
  for (size_t axis = 0; axis < axes.size(); ++axis)
    text += (axis ? ", " : "") + choice(member, axis).text;
  return text;
}

std::string Sweep::axesText() const {
  std::vector<std::string> words;
  for (const Axis &axis : axes)
    words.push_back(axis.name);
  return llvm::join(words, " x ");
}

Json Sweep::expand(const Json &spec, size_t member) const {
  Json made = spec;
  for (size_t i = 0; i < axes.size(); ++i) {
    const Choice &chosen = choice(member, i);
    if (axes[i].field.empty())
      merge(made, *chosen.value);
    else
      assign(made, axes[i].field, *chosen.value, axes[i].fieldPlace);
  }
  if (Json *name = made.find("name"); name && name->isString())
    name->string += "." + names[member];
  return made;
}

std::pair<Place, std::string> Sweep::commonChoice(llvm::ArrayRef<size_t> members) const {
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    const Choice *first = &choice(members.front(), axis);
    if (axes[axis].choices.size() > 1 &&
        llvm::all_of(members, [&](size_t member) { return &choice(member, axis) == first; }))
      return {first->place, first->pointer};
  }
  const Choice &first = choice(members.front(), 0);
  return {first.place, first.pointer};
}
