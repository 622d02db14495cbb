// moec plan
#include "compiler/tools/moec/RunVerbs.h"
#include "compiler/tools/moec/Subcommands.h"
#include "runtime/api/moec.h"
#include "runtime/base/Options.h"

#include <CLI/CLI.hpp>

using namespace moec;
using namespace moec::tool;

Action moec::tool::addPlan(CLI::App &app) {
  auto input = std::make_shared<std::string>();
  auto threads = std::make_shared<unsigned>(0);
  auto compile = std::make_shared<CompileOptions>();
  app.add_option("input", *input, "A spec (.json), an experiment (.mlir), or a plan (.moec)")->required();
  app.add_option("--threads", *threads, "Worker threads that the announced peak counts scratch for (default: all)")
      ->check(rt::threadCount());
  addMemberOption(app, compile->member);
  addCompileOptions(app, *compile);
  return [=] {
    std::optional<std::string> compiled = isPlan(*input) ? std::string() : compileInMemory(*input, *compile);
    if (!compiled)
      return static_cast<int>(kUserError);
    auto loaded = isPlan(*input) ? rt::loadPlan(*input, /*checkCpu=*/false)
                                 : rt::loadPlanBytes(*compiled, *input, /*checkCpu=*/false);
    if (!loaded.isOk()) {
      llvm::errs() << "error: " << loaded.status().text() << "\n";
      return rt::exitCode(loaded.status());
    }
    rt::DescribeOptions how;
    how.threads = *threads;
    how.instructions = false;
    llvm::outs() << rt::describe(*loaded, how);
    return static_cast<int>(kOk);
  };
}
