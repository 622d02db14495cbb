// The spec language: JSON <-> exp. The only part of the compiler that sees JSON.
#ifndef MOEC_COMPILER_SPEC_SPEC_H
#define MOEC_COMPILER_SPEC_SPEC_H

#include "dialects/Exp/IR/Exp.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <optional>
#include <string>

namespace moec::spec {

struct ReadOptions {
  bool checkPaths = false; // warn of data files that do not exist
};

/// Reads a spec and what it extends. Null when anything is wrong: all that could be found has then been reported to the
/// context, in the order of the text. The context must allow the exp dialect with its methods (moec::registerMethods).
mlir::OwningOpRef<mlir::ModuleOp> readSpec(mlir::MLIRContext *context, llvm::StringRef path, ReadOptions options = {});
/// The same from memory; `name` stands for the path.
mlir::OwningOpRef<mlir::ModuleOp> readSpecText(mlir::MLIRContext *context, llvm::StringRef text, llvm::StringRef name,
                                               ReadOptions options = {});
/// A `.mlir` file with one exp.experiment, or a spec: by the end of its name.
mlir::OwningOpRef<mlir::ModuleOp> readExperiment(mlir::MLIRContext *context, llvm::StringRef path,
                                                 ReadOptions options = {});
/// The one experiment of the module, or null.
exp::ExperimentOp findExperiment(mlir::ModuleOp module);

/// The spec with every default written out, on one line; keys in the order of the field table.
std::string effectiveSpec(exp::ExperimentOp experiment);
/// The same over several lines, for people.
std::string prettySpec(exp::ExperimentOp experiment);

/// Sizes that follow from the declaration alone.
struct Summary {
  int64_t parameters, activeParameters; // active: those a token meets
  int64_t moeLayers, denseLayers;
  int64_t steps, tokensPerStep, tokens;
};
Summary summarize(exp::ExperimentOp experiment);

/// Every field of the experiment: value, where it comes from, what it means.
std::string explainExperiment(exp::ExperimentOp experiment);
/// About one field ("model.moe.top_k"), section, method kind or error code; nothing when the topic is unknown.
std::optional<std::string> explainTopic(const exp::MethodRegistry &methods, llvm::StringRef topic);
/// docs/spec/reference.md and docs/spec/errors.md.
std::string referencePage(const exp::MethodRegistry &methods);
std::string errorPage();

} // namespace moec::spec

#endif
