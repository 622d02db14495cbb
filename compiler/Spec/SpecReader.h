// One merged spec, without `extends` and `sweep`, to exp.
#ifndef MOEC_COMPILER_SPEC_SPECREADER_H
#define MOEC_COMPILER_SPEC_SPECREADER_H

#include "compiler/Spec/Spec.h"
#include "compiler/Spec/SpecFiles.h"

namespace moec::spec {

/// Adds errors of keys and values to `issues`, and reports errors between them to the context. Null if there are any
/// errors, or if there were issues before.
mlir::OwningOpRef<mlir::ModuleOp> readMerged(mlir::MLIRContext *context, const Json &root, const SpecFiles &files,
                                             std::vector<Issue> &issues);

} // namespace moec::spec

#endif
