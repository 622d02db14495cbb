// moec explain
#include "compiler/Spec/Spec.h"
#include "compiler/tools/moec/Subcommands.h"

#include <CLI/CLI.hpp>

#include "llvm/Support/raw_ostream.h"

using namespace moec;
using namespace moec::tool;

namespace {
struct ExplainOptions {
  std::string topic;
  bool reference = false, errors = false;
};
} // namespace

static int runExplain(const ExplainOptions &options) {
  if (options.errors) {
    llvm::outs() << spec::errorPage();
    return kOk;
  }
  auto context = makeContext();
  exp::MethodRegistry &methods = exp::getMethods(context.get());
  if (options.reference) {
    llvm::outs() << spec::referencePage(methods);
    return kOk;
  }
  if (options.topic.empty()) {
    llvm::errs() << "error: name a field (model.moe.top_k), a kind (adamw) or a code (MOEC-S032), or give --reference "
                    "or --errors\n";
    return kUsage;
  }
  if (auto text = spec::explainTopic(methods, options.topic)) {
    llvm::outs() << *text;
    return kOk;
  }
  // Codes of the runtime are documented on the pages about their subjects.
  static constexpr std::pair<const char *, const char *> runtimeCodes[] = {
      {"MOEC-P", "a plan file that cannot be used: docs/plan-format.md, Errors"},
      {"MOEC-C", "a checkpoint that cannot be used: docs/checkpoint-format.md"},
      {"MOEC-D", "data that cannot be used: docs/data.md"},
      {"MOEC-N", "ranks that run a plan together: docs/ranks.md, Errors"},
      {"MOEC-R", "running a plan: runtime/README.md"},
      {"MOEC-I", "reading or writing a file: runtime/README.md"},
  };
  for (auto [prefix, text] : runtimeCodes)
    if (llvm::StringRef(options.topic).starts_with(prefix)) {
      llvm::outs() << options.topic << " is about " << text << "\n";
      return kOk;
    }
  std::vector<std::string> names;
  for (const exp::Section &section : exp::sections())
    for (const exp::Field &field : section.fields)
      names.push_back(llvm::StringRef(field.key).rsplit('.').second.empty()
                          ? field.key
                          : llvm::StringRef(field.key).rsplit('.').second.str());
  llvm::StringRef last = llvm::StringRef(options.topic).rsplit('.').second;
  llvm::errs() << "error: nothing is called \"" << options.topic << "\""
               << exp::suggest(last.empty() ? llvm::StringRef(options.topic) : last, names) << "\n";
  return kUserError;
}

Action moec::tool::addExplain(CLI::App &app) {
  auto options = std::make_shared<ExplainOptions>();
  app.add_option("topic", options->topic,
                 "A field (model.moe.top_k), section (model.moe), kind (adamw) or code (MOEC-S032)");
  app.add_flag("--reference", options->reference, "Print the whole reference of the spec language, as Markdown");
  app.add_flag("--errors", options->errors, "Print the table of error codes, as Markdown");
  return [options] { return runExplain(*options); };
}
