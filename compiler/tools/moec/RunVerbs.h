// Arguments that train, eval and generate share: a spec or a plan, options of the compiler, then options of the
// runtime.
#ifndef MOEC_COMPILER_TOOLS_MOEC_RUNVERBS_H
#define MOEC_COMPILER_TOOLS_MOEC_RUNVERBS_H

#include "compiler/Driver/CompileSession.h"

#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace moec::tool {

/// Declares the arguments that all three take; the remaining ones belong to the runtime's `verb`.
void addRunOptions(CLI::App &app, const std::string &verb, std::string &input, std::string &runDir,
                   CompileOptions &compile);

bool isPlan(llvm::StringRef input);

/// The bytes of the plan of a spec, made in memory: the command leaves no file, however it ends. If the spec cannot be
/// compiled, reports the error and returns nothing.
std::optional<std::string> compileInMemory(const std::string &spec, const CompileOptions &options);

/// If the spec does not come first, or an argument after it is not an option of the runtime, reports that and returns
/// the exit code.
std::optional<int> checkArguments(const CLI::App &app, const std::string &verb, const std::string &input);

/// Arguments of moec-run: the plan, the verb, --run-dir, the rest.
std::vector<std::string> argumentsFor(const std::string &plan, const std::string &verb, const std::string &runDir,
                                      const std::vector<std::string> &rest);

} // namespace moec::tool

#endif
