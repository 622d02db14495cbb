// Every target of the tree, by name.
#ifndef MOEC_COMPILER_TARGET_ALL_TARGETS_H
#define MOEC_COMPILER_TARGET_ALL_TARGETS_H

#include "compiler/Target/Target.h"

#include <memory>

namespace moec {

/// "native", a level of x86-64, or a GPU architecture. Null when there is no such target.
std::unique_ptr<Target> createTarget(const std::string &name);
/// All names, for people: "native, ... or sm_90a".
std::string targetNames();
/// The error text for a name that is not a target.
std::string unknownTarget(const std::string &name);

} // namespace moec

#endif
