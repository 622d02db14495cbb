#include "compiler/Methods/Methods.h"

namespace moec {

void registerMethods(mlir::DialectRegistry &registry) {
  registry.addExtension(+[](mlir::MLIRContext *, exp::ExpDialect *dialect) { registerMethods(dialect->getMethods()); });
}

} // namespace moec
