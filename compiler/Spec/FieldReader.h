// JSON values -> attributes, one field at a time.
#ifndef MOEC_COMPILER_SPEC_FIELDREADER_H
#define MOEC_COMPILER_SPEC_FIELDREADER_H

#include "compiler/Spec/SpecText.h"
#include "dialects/Exp/IR/Exp.h"

#include "llvm/ADT/STLFunctionalExtras.h"

namespace moec::spec {

/// The place of a value in the spec; for a length, that of its amount: if a child has {"steps": 3} and its base
/// {"tokens": 9}, the place is in the child.
Place placeOfValue(const exp::Field &field, const Json &value);

/// A method as it is in the spec.
struct MethodText {
  std::string category, kind;
  Place kindPlace;                               // of the kind, or of what it follows from
  std::string kindPointer, pointer;              // of the kind, and of the object
  llvm::SmallVector<const Member *> members;     // its keys other than "kind"
  exp::MethodAttr inherited = {};                // keys that are not given come from it when it is of the same kind
  std::vector<std::string> otherKeys = {"kind"}; // of the same object, for suggestions
};

class FieldReader {
public:
  FieldReader(mlir::MLIRContext *context, std::vector<Issue> &issues) : context(context), issues(issues) {}

  std::optional<double> tokensPerStep; // for {"tokens": n}
  std::optional<int64_t> totalSteps;   // for {"fraction": x}

  /// The attribute of a value that is given; null after reporting.
  mlir::Attribute read(const exp::Field &field, const Json &value, const std::string &pointer);
  /// The attribute of a constant default.
  mlir::Attribute readDefault(const exp::Field &field);

  using Given = llvm::function_ref<void(const std::string &key, const std::string &pointer, Place place)>;
  /// Calls `given` for each key in the spec; the others come from `inherited` or from their defaults.
  exp::MethodAttr readMethod(const MethodText &text, Given given);
  /// A field of type Method: {"kind": ..., ...}, or the kind alone.
  exp::MethodAttr readMethodValue(const exp::Field &field, const Json &value, const std::string &pointer, Given given);

  void error(exp::Rule rule, Place place, std::string pointer, std::string text, std::vector<Note> notes = {}) {
    issues.push_back({rule, place, std::move(pointer), std::move(text), std::move(notes)});
  }

private:
  mlir::Attribute convert(const exp::Field &field, const Json &value, const std::string &pointer);
  bool refuseZero(const exp::Field &field, const Json &value, const std::string &pointer, const std::string &expected);
  mlir::Attribute convertSteps(const exp::Field &field, const Json &value, const std::string &pointer);
  mlir::Attribute wrongType(const Json &value, const std::string &pointer, const std::string &expected);

  mlir::MLIRContext *context;
  std::vector<Issue> &issues;
};

} // namespace moec::spec

#endif
