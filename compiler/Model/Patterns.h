// Patterns that select parameters by logical name.
#ifndef MOEC_COMPILER_MODEL_PATTERNS_H
#define MOEC_COMPILER_MODEL_PATTERNS_H

#include "llvm/ADT/StringRef.h"

namespace moec {

/// True when the pattern covers the whole name. `*` is any run of characters, dots included; `{a,b}` is one of several;
/// `{0..3}` is a whole number from 0 to 3, and may stand among the several.
bool matchesPattern(llvm::StringRef pattern, llvm::StringRef name);

} // namespace moec

#endif
