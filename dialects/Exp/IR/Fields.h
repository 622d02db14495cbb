// The field table: every key of the spec language, once. The JSON reader, the checks, the defaults and the reference
// page read it.
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

/// What a field of type Steps says. A step has the number under which the log has it: the first is 1.
/// Length: so many steps. Moment: the number of the first step at which something holds. Cadence: at the steps whose
/// number it divides.
enum class StepsKind { Length, Moment, Cadence };

/// The least eps beside a root of mean squares: below it the square of what it guards is 0 in f32, and the quotient
/// would be that of a gradient that rounding has taken away (0 / 0 where there was none). One bound for all precisions.
inline constexpr double kLeastEps = 1e-18;

/// One key: where it stands, what it may hold, what it is when absent. Written with the names of the members
/// ({.key = "rate", .type = FieldType::Number, ...}), so that a table of fields reads by itself.
struct Field {
  std::string key; // JSON key, for example "inner_size"
  FieldType type;
  std::string fallback; // default as JSON text; empty: required; "=a.b" or "=a.b / c.d": that field, or the exact
                        // quotient of two; of methods, "=words": the method makes it from its other fields and the
                        // run, so that it is absent from #exp.method unless it was written
  double minimum = 0, maximum = 0;       // numbers, when minimum < maximum
  std::vector<std::string> choices = {}; // FieldType::Choice
  std::string unit = {};                 // "elements", "steps", ... or empty
  std::string doc = {};                  // one sentence

  bool openMinimum = false, openMaximum = false; // the bound itself is refused
  int64_t length = 0;                            // lists: the exact length, 0 for any but empty
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

/// One object of the spec and the op it becomes. In keys of fields a dot is nesting: "norm.eps" is {"norm": {"eps":
/// ...}}; the key "" is the section's own value.
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
  std::string presentWith = {}; // pointer of the section with which this one appears, when it is not given
  std::string defaultKind = {}; // of the method that stands in the section; empty: "kind" is required

  bool isMap() const { return pointer.ends_with("/*"); }
};

/// Every section, parents first, in the order in which specs are written.
const std::vector<Section> &sections();
const Section *findSection(const std::string &pointer);
const Section *findSectionOfOp(const std::string &op, const std::string &split = "train");
const Field *findField(const Section &section, const std::string &attribute);

/// Keys of the language that this version does not do. `neutral` is the JSON text that asks for nothing and is
/// accepted, beside null.
struct Unsupported {
  std::string pointer, neutral;
};
const std::vector<Unsupported> &unsupportedKeys();

/// Two parts of an experiment that do not go together, as a method sees it. Reported at `field` of the method's own
/// section, with a note at the other place.
struct Conflict {
  std::string field;                // of the section in which the method stands; empty: the section
  std::string text;                 // what does not go together, why, and what to do
  mlir::Operation *other = nullptr; // a section, with
  std::string otherField = {};      // its field, and
  std::string otherText = {};       // what it says ("num_experts is 8")
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
  /// Whether there is nothing for it to do without a mixture.
  virtual bool needsMixture() const { return category() == "loss"; }
  /// Of a score function: the router's field by which the only expert of a token has the same weight whatever its
  /// score, so that the router learns nothing; empty: its weight follows its score.
  virtual std::string findConstantWeight(MethodAttr attr, bool normalize) const;
  /// Of a routing method: whether top_k is how many experts a token has.
  virtual bool hasTopK() const { return true; }
  /// Checked once all sections have been read; `section` is the op in which the method stands.
  virtual std::vector<Conflict> findConflicts(MethodAttr attr, mlir::Operation *section, ExperimentOp experiment) const;
};

/// All methods by category and kind.
class MethodRegistry {
public:
  /// Ends the program when there is a method of this category and kind already.
  void add(std::unique_ptr<Method> method);
  const Method *find(const std::string &category, const std::string &kind) const;
  std::vector<const Method *> all(const std::string &category) const; // in order of kind

private:
  std::map<std::pair<std::string, std::string>, std::unique_ptr<Method>> methods;
};

} // namespace moec::exp

#endif
