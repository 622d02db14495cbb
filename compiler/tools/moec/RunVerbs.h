// What train, eval and generate share: a spec or a plan, options of the compiler, then options of the runtime.
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

/// Declares what all three take; what is left over belongs to the runtime's `verb`.
void addRunOptions(CLI::App &app, const std::string &verb, std::string &input, std::string &runDir,
                   CompileOptions &compile);

bool isPlan(llvm::StringRef input);

/// The bytes of the plan of a spec, made in memory: no file is left behind however the command ends. Nothing when it
/// could not be compiled, after saying so.
std::optional<std::string> compileInMemory(const std::string &spec, const CompileOptions &options);

/// The exit code when the spec does not come first, or what follows is no option of the runtime, after saying so.
std::optional<int> checkArguments(const CLI::App &app, const std::string &verb, const std::string &input);

/// Arguments of moec-run: the plan, the verb, --run-dir, the rest.
std::vector<std::string> argumentsFor(const std::string &plan, const std::string &verb, const std::string &runDir,
                                      const std::vector<std::string> &rest);

} // namespace moec::tool

#endif
