// A plan to look at or run: the file itself when a plan was given, else one compiled from the spec.
#ifndef MOEC_COMPILER_TOOLS_MOEC_TEMPORARYPLAN_H
#define MOEC_COMPILER_TOOLS_MOEC_TEMPORARYPLAN_H

#include "compiler/Driver/CompileSession.h"
#include "compiler/Spec/Diagnostics.h"
#include "compiler/tools/moec/Subcommands.h"

#include <filesystem>
#include <unistd.h>

namespace moec::tool {

class TemporaryPlan {
public:
  TemporaryPlan(const std::string &input, const CompileOptions &options) {
    if (llvm::StringRef(input).ends_with(".moec")) {
      file = input;
      return;
    }
    std::string name =
        (std::filesystem::temp_directory_path() / ("moec-plan-" + std::to_string(getpid()) + ".moec")).string();
    auto context = makeContext();
    DiagnosticPrinter printer(context.get(), llvm::errs());
    CompileSession session(*context, options);
    if (succeeded(session.load(input)) && succeeded(session.writePlan(name))) {
      file = name;
      temporary = true;
    }
  }
  ~TemporaryPlan() {
    std::error_code ignored;
    if (temporary)
      std::filesystem::remove(file, ignored);
  }
  TemporaryPlan(const TemporaryPlan &) = delete;
  TemporaryPlan &operator=(const TemporaryPlan &) = delete;

  /// Empty when compiling failed; the reasons have been printed.
  const std::string &path() const { return file; }

private:
  std::string file;
  bool temporary = false;
};

} // namespace moec::tool

#endif
