// The one list of dialects and passes that moec's tools know.
#ifndef MOEC_COMPILER_TOOLS_REGISTERALL_H
#define MOEC_COMPILER_TOOLS_REGISTERALL_H

namespace mlir {
class DialectRegistry;
}

namespace moec {

void registerAllDialects(mlir::DialectRegistry &registry);
void registerAllPasses();

} // namespace moec

#endif
