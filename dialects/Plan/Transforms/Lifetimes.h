// Lifetimes of the values of a function.
#ifndef MOEC_DIALECTS_PLAN_TRANSFORMS_LIFETIMES_H
#define MOEC_DIALECTS_PLAN_TRANSFORMS_LIFETIMES_H

#include "dialects/Plan/IR/Plan.h"

namespace moec::plan {

struct Lifetime {
  AllocOp alloc;
  int64_t bytes;
  int64_t first, last; // positions, both inclusive
};

/// Positions count the ops of the function in textual order; a repeat also has a position at its end. A value used
/// inside a repeat that does not contain its alloc lives for the whole repeat, since every iteration uses it. What an
/// exchange moves is in use until that was waited for.
llvm::SmallVector<Lifetime> computeLifetimes(FuncOp function);

} // namespace moec::plan

#endif
