// The exp dialect: the experiment as its author declared it, with every default filled in.
#ifndef MOEC_DIALECTS_EXP_IR_EXP_H
#define MOEC_DIALECTS_EXP_IR_EXP_H

#include "dialects/Exp/IR/Choice.h"
#include "dialects/Exp/IR/Fields.h"
#include "dialects/Exp/IR/Rules.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"

#include "dialects/Exp/IR/ExpDialect.h.inc"
#include "dialects/Exp/IR/ExpEnums.h.inc"

namespace moec::exp {

/// Reports an internal error and ends the program: the verifier does not accept `word`.
[[noreturn]] void failOnWord(llvm::StringRef word);

/// The enum value of a choice of a section. On verified IR this never fails.
template <typename E> E valueOf(mlir::StringAttr word) {
  std::optional<E> value = symbolizeEnum<E>(word.getValue());
  if (!value)
    failOnWord(word.getValue());
  return *value;
}

} // namespace moec::exp

#define GET_ATTRDEF_CLASSES
#include "dialects/Exp/IR/ExpAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/Exp/IR/ExpOps.h.inc"

namespace moec::exp {

/// The registry of the context's exp dialect (loads the dialect). compiler/Methods fills it once.
MethodRegistry &getMethods(mlir::MLIRContext *context);

/// The place where the value of `field` was written; the op's location for a default. `field` is an attribute of the
/// section, or "score.order" for a field of the method in `score`, or the plain name of a field of the section's own
/// method.
mlir::Location fieldLoc(mlir::Operation *section, llvm::StringRef field);

/// True when the spec gave the field a value; false for a default and for hand-written IR.
bool isGiven(mlir::Operation *section, llvm::StringRef field);

/// A location of a section: its JSON pointer, the place in the file, and the places of the fields that were given.
mlir::Location sectionLoc(llvm::StringRef pointer, mlir::Location place, mlir::DictionaryAttr fieldPlaces);

/// JSON pointer of a section, from its location or, in hand-written IR, from its op and name.
std::string pointerOf(mlir::Operation *section);

/// True when layer i of an experiment with this moe section is a mixture.
bool isMoeLayer(MoeOp moe, int64_t layer);

/// The smallest number of experts that a token chooses in any mixture at any step, and the place that sets it.
struct TopKPlace {
  int64_t topK;
  mlir::Operation *section;
  std::string field;

  /// For a note at that place: "top_k is 1".
  std::string text() const { return (field == "top_k" ? "top_k is " : "a layer has top_k ") + std::to_string(topK); }
};

/// Considers top_k, top_k_per_layer and all changes of it. The experiment must have a mixture.
TopKPlace findSmallestTopK(ExperimentOp experiment);

/// The problem with a value of a field, if there is one: its type, range, choices, length or characters. If the value
/// is a method, its fields are checked too.
std::optional<Problem> checkValue(const Field &field, mlir::Attribute value, mlir::MLIRContext *context);

/// Names become names of files and folders, which have at most 255 bytes, and moec appends endings
/// ("-00000100.moec.new").
inline constexpr size_t kMaxName = 200;

/// The problem with a text that names a file, if no file can have such a name.
std::optional<Problem> checkPath(llvm::StringRef path);

/// `; did you mean "top_k"?` with the nearest candidate, or empty if no candidate is near.
std::string suggest(llvm::StringRef given, llvm::ArrayRef<std::string> candidates);

/// An error (or warning) at a field, in the form that the diagnostic printer understands: code first, pointer in the
/// location.
mlir::InFlightDiagnostic report(mlir::Operation *section, llvm::StringRef attribute, Rule rule,
                                mlir::DiagnosticSeverity severity = mlir::DiagnosticSeverity::Error);
/// Location of a field for notes, with its JSON pointer also where the field was not given.
mlir::Location placeOf(mlir::Operation *section, llvm::StringRef attribute);

/// Checks lengths of training against the run: moments after its end (C9), two changes of one key at one step (C10).
/// With `warnings` it also warns of cadences and lengths that are longer than the run.
llvm::LogicalResult checkLengths(ExperimentOp experiment, bool warnings);

/// Runs every check of every section. If all pass and the experiment is complete, it then runs the checks between
/// sections. It does not stop at the first failure. Unlike the verifier it also warns.
llvm::LogicalResult checkAll(ExperimentOp experiment, bool complete = true);

} // namespace moec::exp

#endif
