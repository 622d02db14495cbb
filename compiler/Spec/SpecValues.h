// exp values as JSON, inside compiler/Spec.
#ifndef MOEC_COMPILER_SPEC_SPECVALUES_H
#define MOEC_COMPILER_SPEC_SPECVALUES_H

#include "compiler/Spec/SpecText.h"
#include "dialects/Exp/IR/Exp.h"

namespace moec::spec {

Json toJson(const exp::Field &field, mlir::Attribute value);
Json toJson(exp::ExperimentOp experiment);

} // namespace moec::spec

#endif
