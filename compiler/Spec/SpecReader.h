// One merged spec, without `extends` and `sweep`, to exp.
#ifndef MOEC_COMPILER_SPEC_SPECREADER_H
#define MOEC_COMPILER_SPEC_SPECREADER_H

#include "compiler/Spec/Spec.h"
#include "compiler/Spec/SpecFiles.h"

namespace moec::spec {

/// Adds to `issues` what is wrong with keys and values and reports to the context what is wrong between them. Null when
/// anything is, or when there were issues before.
mlir::OwningOpRef<mlir::ModuleOp> readMerged(mlir::MLIRContext *context, const Json &root, const SpecFiles &files,
                                             std::vector<Issue> &issues);

} // namespace moec::spec

#endif
