// Diagnostics as people read them: `file:line:column: error[MOEC-S032]: /model/moe/top_k: message`. Locations hold the
// JSON pointer as a NameLoc, and a message begins with its code, so this works for a failure in any pass.
#ifndef MOEC_COMPILER_SPEC_DIAGNOSTICS_H
#define MOEC_COMPILER_SPEC_DIAGNOSTICS_H

#include "mlir/IR/Diagnostics.h"

#include <string>
#include <vector>

namespace moec {

/// The parts of a diagnostic.
struct PlainDiagnostic {
  std::string severity, code, file, pointer, message;
  unsigned line = 0, column = 0;
  std::vector<PlainDiagnostic> notes;

  static PlainDiagnostic from(const mlir::Diagnostic &diagnostic);
  /// One line for it and one for each note.
  std::string text() const;
  /// A JSON object.
  std::string json() const;
};

/// Prints the diagnostics of the context during its lifetime: as text at once, or as one JSON array at the end.
class DiagnosticPrinter {
public:
  DiagnosticPrinter(mlir::MLIRContext *context, llvm::raw_ostream &os, bool json = false);
  ~DiagnosticPrinter();
  unsigned numErrors() const { return errors; }

private:
  llvm::raw_ostream &os;
  std::vector<PlainDiagnostic> kept;
  unsigned errors = 0;
  bool json;
  mlir::ScopedDiagnosticHandler handler;
};

} // namespace moec

#endif
