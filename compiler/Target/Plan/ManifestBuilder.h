// Placed plan IR -> the manifest of a plan file (docs/plan-format.md).
#ifndef MOEC_COMPILER_TARGET_PLAN_MANIFESTBUILDER_H
#define MOEC_COMPILER_TARGET_PLAN_MANIFESTBUILDER_H

#include "compiler/Target/Target.h"
#include "dialects/Exp/IR/Exp.h"
#include "dialects/Plan/IR/Plan.h"
#include "mlir/IR/BuiltinOps.h"

namespace moec {

struct ManifestInputs {
  exp::ExperimentOp experiment;
  std::string effectiveSpec; // JSON text
  std::string specFile;
  std::string baseDir; // absolute; relative data paths start here
  const Target *target = nullptr;
  llvm::ArrayRef<CodeBlob> code;
};

/// The parts of the manifest that come from the plan alone: kernels, buffers, state, metrics, functions, programs,
/// locations. Reports, at the op, an op that has no instruction and memory that has no place.
mlir::FailureOr<rt::Json> buildPlanTables(mlir::ModuleOp plan, llvm::ArrayRef<CodeBlob> code);

/// The manifest without "format", "spec_hash" and "blobs", which the writer of the plan file adds. Reports missing
/// parts at their places.
mlir::FailureOr<rt::Json> buildManifest(mlir::ModuleOp plan, const ManifestInputs &inputs);

/// "/model/attention (specs/tiny.json:9:5)" for a location that names a place in a spec; else file:line:col.
std::string describeLocation(mlir::Location loc);

} // namespace moec

#endif
