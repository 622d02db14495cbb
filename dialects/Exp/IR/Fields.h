// The field table lists every key of the spec language once. The JSON reader, the checks, the defaults and the
// reference page use it.
#ifndef MOEC_DIALECTS_EXP_IR_FIELDS_H
#define MOEC_DIALECTS_EXP_IR_FIELDS_H

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mlir {
class Operation;
}

namespace moec::exp {

class ExperimentOp;
class MethodAttr;

/// What a field holds, and the attribute it becomes: Integer i64, Number f64, Boolean, Text and Choice strings,
/// TextList an array of strings, NumberList array<f64>. Steps is a length of training, written {"steps": n}, {"tokens":
/// n} or {"fraction": x} (of the run), and becomes a whole number of steps (i64); null is 0. Method is {"kind": ...} or
/// the kind alone, and becomes #exp.method.
enum class FieldType { Integer, Number, Boolean, Text, Choice, TextList, NumberList, Steps, Method };

/// The meaning of a field of type Steps. Steps are numbered as in the log: the first is 1. Length: a number of
/// steps. Moment: the number of the first step at which something holds. Cadence: n means every step whose number is a
/// multiple of n.
enum class StepsKind { Length, Moment, Cadence };

/// The smallest eps that may be added to a root of mean squares. In f32 the square of a smaller number is 0, so the
/// root would be 0 although the gradient is not; and a gradient of 0 would give 0 / 0. The bound is the same for all
/// precisions.
inline constexpr double kLeastEps = 1e-18;

/// One key: its place in the spec, the values that it may hold, and its default. Initialise it with the names of the
/// members ({.key = "rate", .type = FieldType::Number, ...}), so that a table of fields can be read without this
/// header.
struct Field {
  std::string key; // JSON key, for example "inner_size"
  FieldType type;
  std::string fallback; // default as JSON text; empty: required; "=a.b" or "=a.b / c.d": that field, or the exact
                        // quotient of two; of methods, "=words": the method derives it from its other fields and the
                        // run, so that it is absent from #exp.method unless it was written
  double minimum = 0, maximum = 0;       // numbers, when minimum < maximum
  std::vector<std::string> choices = {}; // FieldType::Choice
  std::string unit = {};                 // "elements", "steps", ... or empty
  std::string doc = {};                  // one sentence

  bool openMinimum = false, openMaximum = false; // the bound itself is refused
  int64_t length = 0;                            // lists: the exact length; 0: any length from 1 on
  bool nullable = false;                         // null is "off": 0, an empty list, no method
  StepsKind stepsKind = StepsKind::Length;       // FieldType::Steps
  bool isDerived() const { return fallback.starts_with("="); }

  // Fields of sections only.
  std::string attribute = {}; // of the section's op; empty: checked, then dropped (a kind with one choice)
  std::string category = {};  // FieldType::Method
};

/// A field of type Steps. `fallback` "": required; unless it is required or always there (a cadence with a default),
/// null switches it off.
Field stepsField(std::string key, StepsKind kind, std::string fallback, std::string doc);

/// One object of the spec and the op that it becomes. A dot in the key of a field stands for a nested object:
/// "norm.eps" is {"norm": {"eps": ...}}. The key "" is the section's own value.
struct Section {
  std::string pointer; // "/model/moe"; a last part "*" makes it a map of named objects
  std::string op;      // "exp.moe"
  std::string summary;
  std::vector<Field> fields;
  bool optional = false; // absent or null: no op
  std::string category =
      {}; // "kind" and the fields of a method of this category stand in the section itself (attribute `method`)
  std::string nullableKey = {}; // an inner object that may be null, and
  std::string nullSwitch = {};  // its field that is 0 when so
  std::string presentWith = {}; // pointer: if that section is there, this one is too, even if the spec does not give it
  std::string defaultKind = {}; // of the method that stands in the section; empty: "kind" is required

  bool isMap() const { return pointer.ends_with("/*"); }
};

/// Every section, parents first, in the order in which specs are written.
const std::vector<Section> &sections();
const Section *findSection(const std::string &pointer);
const Section *findSectionOfOp(const std::string &op, const std::string &split = "train");
const Field *findField(const Section &section, const std::string &attribute);

/// Keys of the language that this version does not support. `neutral` is the JSON text that has no effect; it is
/// accepted, as null is.
struct Unsupported {
  std::string pointer, neutral;
};
const std::vector<Unsupported> &unsupportedKeys();

/// Two parts of an experiment that a method finds in conflict. The conflict is reported at `field` of the method's own
/// section, with a note at the other place.
struct Conflict {
  std::string field;                // of the section that holds the method; empty: the section itself
  std::string text;                 // the conflict, its reason, and the remedy
  mlir::Operation *other = nullptr; // the section of the other part
  std::string otherField = {};      // its field
  std::string otherText = {};       // the text of the note ("num_experts is 8")
  bool isWarning = false;
};

/// A method that users choose by "kind". Its build functions live in the interfaces of compiler/Methods; the dialect
/// needs only this much.
class Method {
public:
  virtual ~Method() = default;
  virtual std::string category() const = 0; // routing, score, balance, loss, optimizer, schedule, ...
  virtual std::string kind() const = 0;
  virtual std::string summary() const = 0; // one sentence
  virtual std::string source() const = 0;  // paper or "ours"
  virtual std::vector<Field> fields() const { return {}; }
  /// Whether the method has nothing to do in a model without a mixture.
  virtual bool needsMixture() const { return category() == "loss"; }
  /// Of a score function: with one expert per token, the weight may not depend on the score, so that the router learns
  /// nothing. Returns the router's field that causes this, or an empty string if the weight depends on the score.
  virtual std::string findConstantWeight(MethodAttr attr, bool normalize) const;
  /// Of a routing method: whether a token has top_k experts.
  virtual bool hasTopK() const { return true; }
  /// Called when all sections have been read; `section` is the op that holds the method.
  virtual std::vector<Conflict> findConflicts(MethodAttr attr, mlir::Operation *section, ExperimentOp experiment) const;
};

/// All methods by category and kind.
class MethodRegistry {
public:
  /// Ends the program if there already is a method of this category and kind.
  void add(std::unique_ptr<Method> method);
  const Method *find(const std::string &category, const std::string &kind) const;
  std::vector<const Method *> all(const std::string &category) const; // in order of kind

private:
  std::map<std::pair<std::string, std::string>, std::unique_ptr<Method>> methods;
};

} // namespace moec::exp

#endif
