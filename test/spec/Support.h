// A context with methods, and what is reported to it.
#ifndef MOEC_TEST_SPEC_SUPPORT_H
#define MOEC_TEST_SPEC_SUPPORT_H

#include "compiler/Methods/Methods.h"
#include "compiler/Spec/Diagnostics.h"
#include "compiler/Spec/Spec.h"

#include <fstream>
#include <sstream>

struct Fixture {
  Fixture()
      : context(registry(), mlir::MLIRContext::Threading::DISABLED),
        handler(&context, [this](mlir::Diagnostic &diagnostic) {
          reported.push_back(moec::PlainDiagnostic::from(diagnostic));
          return mlir::success();
        }) {}

  static mlir::DialectRegistry registry() {
    mlir::DialectRegistry registry;
    registry.insert<moec::exp::ExpDialect>();
    moec::registerMethods(registry);
    return registry;
  }

  mlir::OwningOpRef<mlir::ModuleOp> read(const std::string &text) {
    reported.clear();
    return moec::spec::readSpecText(&context, text, "spec.json");
  }

  mlir::MLIRContext context;
  std::vector<moec::PlainDiagnostic> reported;
  mlir::ScopedDiagnosticHandler handler;
};

inline std::string readFile(const std::string &path) {
  std::ifstream file(std::string(MOEC_SOURCE_DIR "/") + path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

#endif
