// moec report
#include "compiler/tools/moec/Subcommands.h"
#include "compiler/tools/moec/report/Page.h"
#include "runtime/api/moec.h"
#include "runtime/base/File.h"

#include <CLI/CLI.hpp>

#include "llvm/Support/raw_ostream.h"

using namespace moec;
using namespace moec::tool;

namespace {
struct Options {
  std::vector<std::string> paths;
  std::string output = "report.html";
};

int fail(const rt::Status &status) {
  llvm::errs() << "error: " << status.text() << "\n";
  return rt::exitCode(status);
}

int runReport(const Options &options) {
  std::vector<report::RunLog> runs;
  for (const std::string &path : options.paths) {
    auto found = report::findRuns(path);
    if (!found.isOk())
      return fail(found.status());
    for (const std::string &folder : *found) {
      auto run = report::readRun(folder);
      if (!run.isOk())
        return fail(run.status());
      runs.push_back(std::move(*run));
    }
  }
  if (rt::Status fits = rt::checkOutput(options.output, "a report", report::kPageBeginning); !fits.isOk())
    return fail(fits);
  report::labelRuns(runs);
  std::string page = report::reportPage(runs);
  if (rt::Status written = rt::writeFileAtomic(options.output, page); !written.isOk())
    return fail(written);
  llvm::outs() << options.output << ": " << runs.size() << (runs.size() == 1 ? " run, " : " runs, ") << page.size()
               << " bytes\n";
  return kOk;
}
} // namespace

Action moec::tool::addReport(CLI::App &app) {
  auto options = std::make_shared<Options>();
  app.add_option("runs", options->paths, "Run folders, folders of runs (a sweep), or metrics.jsonl files")->required();
  app.add_option("-o,--output", options->output, "Page to write")->capture_default_str();
  return [options] { return runReport(*options); };
}
