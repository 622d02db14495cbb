// Texts about the language, made from the field table, the methods and the rules.
#include "compiler/Spec/Spec.h"
#include "compiler/Spec/SpecValues.h"
#include "compiler/Spec/Sweep.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace moec;
using namespace moec::spec;
using exp::Field;
using exp::FieldType;

static std::string typeText(const Field &field) {
  auto bounds = [&](std::string type) {
    if (!(field.minimum < field.maximum))
      return type;
    return type + (field.openMinimum ? " > " : " >= ") + numberText(field.minimum) +
           (field.openMaximum ? ", < " : ", <= ") + numberText(field.maximum);
  };
  switch (field.type) {
  case FieldType::Integer:
    return bounds("integer") + (field.nullable ? ", or null" : "");
  case FieldType::Number:
    return bounds("number") + (field.nullable ? ", or null" : "");
  case FieldType::Boolean:
    return "true or false";
  case FieldType::Text:
    return "text";
  case FieldType::Choice: {
    std::vector<std::string> words;
    for (const std::string &choice : field.choices)
      words.push_back(quote(choice));
    return words.size() == 1 ? words.front() : "one of " + llvm::join(words, ", ");
  }
  case FieldType::TextList:
    return "list of texts";
  case FieldType::NumberList:
    return bounds(field.length ? "list of " + std::to_string(field.length) + " numbers" : "list of numbers");
  case FieldType::Steps:
    return std::string("{\"steps\": n}, {\"tokens\": n}") +
           (field.attribute == "steps" ? "" : " or {\"fraction\": x}") + (field.minimum == 0 ? ", or null" : "");
  case FieldType::Method:
    return "kind of " + field.category + ", or an object with it";
  }
  return "";
}

static std::string defaultText(const Field &field) {
  if (field.fallback.empty())
    return "required";
  return field.isDerived() ? field.fallback.substr(1) : field.fallback;
}

/// "model.moe.top_k", "losses.*.weight".
static std::string dotted(const exp::Section &section, const Field &field) {
  std::string path = section.pointer.empty() ? "" : section.pointer.substr(1) + (field.key.empty() ? "" : "/");
  std::replace(path.begin(), path.end(), '/', '.');
  return path + field.key;
}

//===--- Pages ---===//

/// A paragraph of Markdown in lines of at most 120 columns.
static std::string wrapped(llvm::StringRef text) {
  std::string lines;
  size_t column = 0;
  for (llvm::StringRef word : llvm::split(text, ' ')) {
    bool fits = column + 1 + word.size() <= 120;
    lines += column == 0 ? "" : fits ? " " : "\n";
    column = (column != 0 && fits ? column + 1 : 0) + word.size();
    lines += word;
  }
  return lines;
}

/// The text with a full stop, unless it ends in one.
static std::string sentence(const std::string &text) {
  return llvm::StringRef(text).ends_with(".") ? text : text + ".";
}

static void printFields(llvm::raw_ostream &os, llvm::ArrayRef<Field> fields) {
  if (fields.empty())
    return;
  os << "| key | type | default | unit | meaning |\n|---|---|---|---|---|\n";
  for (const Field &field : fields)
    os << "| " << (field.key.empty() ? "(the value itself)" : "`" + field.key + "`") << " | " << typeText(field)
       << " | " << (field.fallback.empty() ? "required" : "`" + defaultText(field) + "`") << " | " << field.unit
       << " | " << field.doc << " |\n";
  os << "\n";
}

/// The categories of methods, in the order of the language.
static std::vector<std::string> categories() {
  std::vector<std::string> all;
  auto add = [&](const std::string &category) {
    if (!category.empty() && !llvm::is_contained(all, category))
      all.push_back(category);
  };
  for (const exp::Section &section : exp::sections()) {
    add(section.category);
    for (const Field &field : section.fields)
      add(field.category);
  }
  return all;
}

std::string moec::spec::referencePage(const exp::MethodRegistry &methods) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "# Reference of the spec language\n\nWritten by `moec explain --reference`. A dot in a key stands for a nested "
        "object.\n\n";
  for (const exp::Section &section : exp::sections()) {
    std::string text = section.summary;
    if (!section.category.empty())
      text += (section.fields.empty() ? " An entry has" : " Beside these keys it has") +
              std::string(" `kind` and the keys of that ") + section.category + " (below).";
    os << "## " << (section.pointer.empty() ? "The top" : "`" + section.pointer + "`") << "\n\n"
       << wrapped(text) << "\n\n";
    printFields(os, section.fields);
  }
  os << "## `/sweep/*`\n\n"
     << wrapped(sweepSummary().str() + " See [experiments](../experiments.md).")
     << "\n\n| key | type | meaning |\n|---|---|---|\n";
  for (const SweepKey &key : sweepKeys())
    os << "| `" << key.key << "` | " << key.type << " | " << key.doc << " |\n";
  os << "\n";
  for (const std::string &category : categories()) {
    os << "## Kinds of " << category << "\n\n";
    for (const exp::Method *method : methods.all(category)) {
      os << "### " << category << " `" << method->kind() << "`\n\n"
         << wrapped(sentence(method->summary()) + " Source: " + sentence(method->source())) << "\n\n";
      printFields(os, method->fields());
    }
  }
  os << "## Keys that this version refuses\n\n";
  for (const exp::Unsupported &key : exp::unsupportedKeys())
    os << "- `" << key.pointer << "`" << (key.neutral.empty() ? "" : ", except `" + key.neutral + "`") << "\n";
  return text;
}

std::string moec::spec::errorPage() {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "# Errors of specs\n\nWritten by `moec explain --errors`; a test keeps it equal to the code. Codes never "
        "change their "
        "meaning.\n\n| code | what is wrong | what to know |\n|---|---|---|\n";
  for (const exp::RuleInfo &info : exp::rules())
    os << "| " << exp::codeOf(info.rule) << " | " << llvm::StringRef(info.title) << " | " << llvm::StringRef(info.text)
       << " |\n";
  return text;
}

//===--- One topic ---===//

static void explainField(llvm::raw_ostream &os, const std::string &path, const Field &field) {
  os << path << ": " << field.doc << "\n  type:    " << typeText(field) << "\n  default: " << defaultText(field)
     << "\n";
  if (!field.unit.empty())
    os << "  unit:    " << field.unit << "\n";
}

static void explainMethod(llvm::raw_ostream &os, const exp::Method &method) {
  os << method.category() << " \"" << method.kind() << "\": " << method.summary() << "\n  source:  " << method.source()
     << "\n";
  for (const Field &field : method.fields())
    explainField(os, "  " + field.key, field);
}

std::optional<std::string> moec::spec::explainTopic(const exp::MethodRegistry &methods, llvm::StringRef topic) {
  std::string text;
  llvm::raw_string_ostream os(text);
  if (const exp::RuleInfo *info = exp::findRule(topic.str())) {
    os << exp::codeOf(info->rule) << ": " << llvm::StringRef(info->title) << "\n"
       << llvm::StringRef(info->text) << "\n";
    return text;
  }
  std::string path = topic.ltrim('/').str();
  std::replace(path.begin(), path.end(), '/', '.');
  if (path == "sweep" || path == "sweep.*") {
    os << "/sweep/*: " << sweepSummary() << "\n";
    for (const SweepKey &key : sweepKeys())
      os << "  " << key.key << ": " << key.doc << "\n    type:    " << key.type << "\n";
    return text;
  }
  for (const exp::Section &section : exp::sections()) {
    std::string name = section.pointer.empty() ? "" : section.pointer.substr(1);
    std::replace(name.begin(), name.end(), '/', '.');
    // "losses.load_balance" is an instance of "losses.*".
    llvm::StringRef stem =
        llvm::StringRef(name).ends_with(".*") ? llvm::StringRef(name).drop_back(2) : llvm::StringRef(name);
    if (!name.empty() && (path == name || path == stem)) {
      os << section.pointer << ": " << section.summary << "\n";
      for (const Field &field : section.fields)
        explainField(os, "  " + dotted(section, field), field);
      for (const exp::Method *method :
           section.category.empty() ? std::vector<const exp::Method *>() : methods.all(section.category))
        explainMethod(os, *method);
      return text;
    }
    for (const Field &field : section.fields) {
      bool instance = section.isMap() && llvm::StringRef(path).starts_with(stem.str() + ".") &&
                      llvm::StringRef(path).drop_front(stem.size() + 1).split('.').second == field.key;
      if (path != dotted(section, field) && !instance)
        continue;
      explainField(os, dotted(section, field), field);
      if (field.type == FieldType::Method)
        for (const exp::Method *method : methods.all(field.category))
          explainMethod(os, *method);
      return text;
    }
  }
  for (const std::string &category : categories())
    if (const exp::Method *method = methods.find(category, topic.str()))
      explainMethod(os, *method);
  // The last part alone: every field of that name.
  if (text.empty())
    for (const exp::Section &section : exp::sections())
      for (const Field &field : section.fields)
        if (!field.key.empty() && llvm::StringRef("." + field.key).ends_with("." + path))
          explainField(os, dotted(section, field), field);
  if (text.empty())
    return std::nullopt;
  return text;
}

//===--- A whole experiment ---===//

static std::string pad(std::string text, size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

static std::string origin(Operation *op, llvm::StringRef attribute) {
  if (!exp::isGiven(op, attribute))
    return "default";
  auto loc = exp::fieldLoc(op, attribute)->findInstanceOf<FileLineColLoc>();
  return loc ? loc.getFilename().str() + ":" + std::to_string(loc.getLine()) : "given";
}

std::string moec::spec::explainExperiment(exp::ExperimentOp experiment) {
  std::string text;
  llvm::raw_string_ostream os(text);
  auto line = [&](Operation *op, std::string pointer, const Field &field, llvm::StringRef attribute, Attribute value) {
    std::string key = field.key;
    std::replace(key.begin(), key.end(), '.', '/');
    if (!key.empty())
      pointer += "/" + key;
    os << pad(pointer, 36) << ' ' << pad(value ? printCompact(toJson(field, value)) : defaultText(field), 20) << ' '
       << pad(origin(op, attribute), 24) << ' ' << field.doc << "\n";
  };
  auto method = [&](Operation *op, const std::string &pointer, const std::string &prefix, exp::MethodAttr attr) {
    const exp::Method *known = exp::getMethods(op->getContext()).find(attr.getCategory().str(), attr.getKind().str());
    os << pad(pointer + "/kind", 36) << ' ' << pad(quote(attr.getKind()), 20) << ' '
       << pad(origin(op, prefix.empty() ? "method" : llvm::StringRef(prefix).drop_back()), 24) << ' '
       << known->summary() << "\n";
    for (const Field &field : known->fields())
      line(op, pointer, field, prefix + field.key, attr.getFields().get(field.key));
  };
  auto section = [&](Operation *op) {
    auto dataset = dyn_cast<exp::DatasetOp>(op);
    const exp::Section *known = exp::findSectionOfOp(op->getName().getStringRef().str(),
                                                     dataset ? dataset.getSplitAttr().str() : std::string());
    std::string pointer = exp::pointerOf(op);
    pointer = pointer == "/" ? "" : pointer;
    if (!known->category.empty())
      method(op, pointer, "", op->getAttrOfType<exp::MethodAttr>("method"));
    for (const Field &field : known->fields) {
      Attribute value = field.attribute.empty() ? Attribute() : op->getAttr(field.attribute);
      if (auto attr = dyn_cast_or_null<exp::MethodAttr>(value))
        method(op, pointer + "/" + field.key, field.attribute + ".", attr);
      else if (value)
        line(op, pointer, field, field.attribute, value);
    }
  };
  section(experiment);
  for (Operation &op : experiment.getBody().front())
    section(&op);
  return text;
}
