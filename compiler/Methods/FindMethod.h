// From the attribute that names a method to the method.
#ifndef MOEC_COMPILER_METHODS_FINDMETHOD_H
#define MOEC_COMPILER_METHODS_FINDMETHOD_H

#include "dialects/Exp/IR/Exp.h"

namespace moec {

/// The method that `attr` of `section` names, as the interface T of its category. If there is no method of that name,
/// or it belongs to another category, reports a diagnostic and returns null.
template <typename T> const T *findMethod(mlir::Operation *section, exp::MethodAttr attr) {
  const exp::Method *named =
      exp::getMethods(section->getContext()).find(attr.getCategory().str(), attr.getKind().str());
  const auto *method = dynamic_cast<const T *>(named);
  if (!named)
    section->emitOpError("names ") << attr.getCategory() << " \"" << attr.getKind() << "\", which is not registered";
  else if (!method)
    section->emitOpError("internal: names ")
        << attr.getCategory() << " \"" << attr.getKind() << "\" where a method of another category belongs";
  return method;
}

} // namespace moec

#endif
