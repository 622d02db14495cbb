#include "compiler/Spec/Diagnostics.h"

#include "compiler/Spec/SpecText.h"
#include "mlir/IR/Location.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace moec;

PlainDiagnostic PlainDiagnostic::from(const Diagnostic &diagnostic) {
  PlainDiagnostic plain;
  switch (diagnostic.getSeverity()) {
  case DiagnosticSeverity::Error:
    plain.severity = "error";
    break;
  case DiagnosticSeverity::Warning:
    plain.severity = "warning";
    break;
  case DiagnosticSeverity::Note:
    plain.severity = "note";
    break;
  case DiagnosticSeverity::Remark:
    plain.severity = "remark";
    break;
  }
  // The innermost pointer is the most exact one: NameLocs of fields are inside those of sections.
  diagnostic.getLocation()->walk([&](Location loc) {
    if (auto named = dyn_cast<NameLoc>(loc); named && named.getName().getValue().starts_with("/"))
      plain.pointer = named.getName().str();
    auto place = dyn_cast<FileLineColLoc>(loc);
    if (!place)
      return WalkResult::advance();
    plain.file = place.getFilename().str();
    plain.line = place.getLine();
    plain.column = place.getColumn();
    return WalkResult::interrupt();
  });
  plain.message = diagnostic.str();
  llvm::StringRef message = plain.message;
  auto [code, rest] = message.split(": ");
  if (code.starts_with("MOEC-") && code.size() <= 12 && !code.contains(' ')) {
    plain.code = code.str();
    plain.message = rest.str();
  }
  for (const Diagnostic &note : const_cast<Diagnostic &>(diagnostic).getNotes())
    plain.notes.push_back(from(note));
  return plain;
}

std::string PlainDiagnostic::text() const {
  std::string out;
  llvm::raw_string_ostream os(out);
  if (!file.empty())
    os << file << ':' << line << ':' << column << ": ";
  os << severity;
  if (!code.empty())
    os << '[' << code << ']';
  os << ": ";
  if (!pointer.empty())
    os << pointer << ": ";
  os << message << '\n';
  for (const PlainDiagnostic &note : notes)
    os << note.text();
  return out;
}

std::string PlainDiagnostic::json() const {
  using spec::Json;
  std::string out = "{\"severity\":" + spec::quote(severity) + ",\"code\":" + spec::quote(code) +
                    ",\"file\":" + spec::quote(file) + ",\"line\":" + std::to_string(line) +
                    ",\"column\":" + std::to_string(column) + ",\"pointer\":" + spec::quote(pointer) +
                    ",\"message\":" + spec::quote(message) + ",\"notes\":[";
  for (const PlainDiagnostic &note : notes)
    out += (&note == &notes.front() ? "" : ",") + note.json();
  return out + "]}";
}

DiagnosticPrinter::DiagnosticPrinter(MLIRContext *context, llvm::raw_ostream &os, bool json)
    : os(os), json(json), handler(context, [this](Diagnostic &diagnostic) {
        PlainDiagnostic plain = PlainDiagnostic::from(diagnostic);
        errors += plain.severity == "error";
        if (this->json)
          kept.push_back(std::move(plain));
        else
          this->os << plain.text();
        return success();
      }) {}

DiagnosticPrinter::~DiagnosticPrinter() {
  if (!json)
    return;
  os << "[";
  for (const PlainDiagnostic &plain : kept)
    os << (&plain == &kept.front() ? "\n  " : ",\n  ") << plain.json();
  os << (kept.empty() ? "]\n" : "\n]\n");
}
