// The spec language: JSON <-> exp. The only part of the compiler that sees JSON.
#ifndef MOEC_COMPILER_SPEC_SPEC_H
#define MOEC_COMPILER_SPEC_SPEC_H

#include "dialects/Exp/IR/Exp.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace moec::spec {

struct ReadOptions {
  bool checkPaths = false;          // look for the data files
  std::vector<std::string> members; // of a sweep, by name
  /// Gets the files that the experiments read: the spec, the files that it extends, and the existing data files.
  std::vector<std::string> *inputs = nullptr;
  /// Additional checks for each experiment that could be read; their diagnostics are sorted among those of reading.
  std::function<llvm::LogicalResult(mlir::ModuleOp)> examine = {};
};

/// Reads a spec and the files that it extends; of a sweep, the one member that the options name. Null after an error;
/// then all errors that could be found have been reported to the context, in the order of the text. The context must
/// have the exp dialect with its methods registered (moec::registerMethods).
mlir::OwningOpRef<mlir::ModuleOp> readSpec(mlir::MLIRContext *context, llvm::StringRef path, ReadOptions options = {});
/// The same from memory; `name` stands for the path.
mlir::OwningOpRef<mlir::ModuleOp> readSpecText(mlir::MLIRContext *context, llvm::StringRef text, llvm::StringRef name,
                                               ReadOptions options = {});
/// Reads a `.mlir` file with one exp.experiment, or a spec; the ending of the name decides.
mlir::OwningOpRef<mlir::ModuleOp> readExperiment(mlir::MLIRContext *context, llvm::StringRef path,
                                                 ReadOptions options = {});

/// One experiment of a spec. Of a spec without a sweep, `member` and `settings` are empty.
struct SpecMember {
  std::string member, settings; // "alpha-0.5_bias"; "losses.erc.alpha = 0.5, router = bias"
  mlir::OwningOpRef<mlir::ModuleOp> module;
};
struct SpecMembers {
  std::string name; // of the spec, which names the folder of a sweep
  std::string axes; // "alpha x router"; empty: no sweep
  std::vector<SpecMember> members;
};
/// Every experiment of a spec: all members of its sweep, or those that the options name, or the one experiment of a
/// spec without a sweep. Nothing if any of them has an error. An error in several members is reported once, with their
/// number.
std::optional<SpecMembers> readMembers(mlir::MLIRContext *context, llvm::StringRef path, ReadOptions options = {});

/// The one experiment of the module, or null.
exp::ExperimentOp findExperiment(mlir::ModuleOp module);

/// Relative paths start at the folder of the file that has them. Rewrites those of an experiment in `from`, so that in
/// `to` they name the same files; if `to` is empty, makes them absolute.
void moveExperiment(exp::ExperimentOp experiment, const std::string &from, const std::string &to);

/// The spec with every default written out, on one line; keys in the order of the field table.
std::string effectiveSpec(exp::ExperimentOp experiment);
/// The same over several lines, for people.
std::string prettySpec(exp::ExperimentOp experiment);

/// The default of a field; null for required fields, fields derived from others, and methods.
mlir::Attribute defaultValue(const exp::Field &field, exp::ExperimentOp experiment);
/// The value as JSON on one line.
std::string valueText(const exp::Field &field, mlir::Attribute value);

/// Sizes that follow from the declaration alone.
struct Summary {
  int64_t moeLayers, denseLayers;
  int64_t steps, tokensPerStep, tokens;
};
Summary summarize(exp::ExperimentOp experiment);

/// Every field of the experiment: its value, where it comes from, what it means.
std::string explainExperiment(exp::ExperimentOp experiment);
/// The text about one field ("model.moe.top_k"), section, method kind or error code; nothing if the topic is unknown.
std::optional<std::string> explainTopic(const exp::MethodRegistry &methods, llvm::StringRef topic);
/// docs/spec/reference.md and docs/spec/errors.md.
std::string referencePage(const exp::MethodRegistry &methods);
std::string errorPage();

} // namespace moec::spec

#endif
