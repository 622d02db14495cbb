// The subcommands of moec. A new one needs a file with its `add` function, a declaration here, and a line in the table
// of main.cpp.
#ifndef MOEC_COMPILER_TOOLS_MOEC_SUBCOMMANDS_H
#define MOEC_COMPILER_TOOLS_MOEC_SUBCOMMANDS_H

#include "mlir/IR/MLIRContext.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
}
namespace moec {
struct CompileOptions;
}

namespace moec::tool {

/// Exit codes; docs/cli.md. 3 to 7 are those of the runtime (runtime/api/moec.h).
enum ExitCode { kOk = 0, kUserError = 1, kUsage = 2, kInternal = 8 };

/// Declares options on the subcommand and returns the function to run if it is chosen.
using Action = std::function<int()>;
Action addCheck(CLI::App &app);
Action addExport(CLI::App &app);
Action addExplain(CLI::App &app);
Action addCompile(CLI::App &app);
Action addInspect(CLI::App &app);
Action addPlan(CLI::App &app);
Action addReport(CLI::App &app);
Action addRun(CLI::App &app);
Action addTrain(CLI::App &app);
Action addEval(CLI::App &app);
Action addGenerate(CLI::App &app);
Action addVerify(CLI::App &app);

/// --target, --dump-to, ...: the options of every command that compiles.
void addCompileOptions(CLI::App &app, CompileOptions &options);
/// --member, for every command that needs a single experiment.
void addMemberOption(CLI::App &app, std::string &member);

/// Long names of the options, with their dashes.
std::vector<std::string> optionNames(const CLI::App &app);

/// A context with every dialect and method of the compiler.
std::unique_ptr<mlir::MLIRContext> makeContext();

} // namespace moec::tool

#endif
