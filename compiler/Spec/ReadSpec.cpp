// From a path to experiments: files, members of a sweep, the reader. Diagnostics are printed in the order of the text.
#include "compiler/Spec/Diagnostics.h"
#include "compiler/Spec/SpecReader.h"
#include "compiler/Spec/Sweep.h"
#include "runtime/base/Glob.h"

#include "mlir/Parser/Parser.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <map>

using namespace mlir;
using namespace moec;
using namespace moec::spec;
using exp::Rule;

//===--- What is reported ---===//

/// Reports the caught diagnostics in the order of the text.
static void replay(MLIRContext *context, std::vector<Diagnostic> &caught, const SpecFiles &files) {
  auto key = [&](const Diagnostic &diagnostic) {
    unsigned file = 0;
    auto loc = diagnostic.getLocation()->findInstanceOf<FileLineColLoc>();
    while (loc && !files.path(file).empty() && files.path(file) != loc.getFilename().getValue())
      ++file;
    return loc ? Place{file, loc.getLine(), loc.getColumn()} : Place{};
  };
  std::vector<std::pair<Place, size_t>> order;
  for (size_t i = 0; i < caught.size(); ++i)
    order.emplace_back(key(caught[i]), i);
  llvm::sort(order);
  for (auto &[place, i] : order)
    context->getDiagEngine().emit(std::move(caught[i]));
}

static Location locationOf(MLIRContext *context, const SpecFiles &files, Place place, const std::string &pointer) {
  Location where = FileLineColLoc::get(context, files.path(place.file), place.line, place.column);
  return pointer.empty() ? where : Location(NameLoc::get(StringAttr::get(context, pointer), where));
}

static void emit(MLIRContext *context, const SpecFiles &files, const Issue &issue) {
  InFlightDiagnostic diagnostic = emitError(locationOf(context, files, issue.place, issue.pointer))
                                  << exp::codeOf(issue.rule) << ": " << issue.text;
  for (const Note &note : issue.notes)
    diagnostic.attachNote(locationOf(context, files, note.place, note.pointer)) << note.text;
}

static void emitAll(MLIRContext *context, const SpecFiles &files, const std::vector<Issue> &issues) {
  std::vector<Diagnostic> caught;
  {
    ScopedDiagnosticHandler handler(context, [&](Diagnostic &diagnostic) {
      caught.push_back(std::move(diagnostic));
      return success();
    });
    for (const Issue &issue : issues)
      emit(context, files, issue);
  }
  replay(context, caught, files);
}

/// Relative paths start at the folder of the spec, as in the plan (base_dir).
static llvm::SmallString<256> pathOf(exp::DatasetOp dataset, llvm::StringRef spec) {
  llvm::SmallString<256> path(dataset.getPath());
  if (!llvm::sys::path::is_absolute(path)) {
    path = llvm::sys::path::parent_path(spec);
    llvm::sys::path::append(path, dataset.getPath());
    llvm::sys::path::remove_dots(path, /*remove_dot_dot=*/true);
  }
  return path;
}

static void listDataFiles(exp::ExperimentOp experiment, llvm::StringRef spec, std::vector<std::string> &files) {
  for (exp::DatasetOp dataset : experiment.sections<exp::DatasetOp>())
    if (!rt::isPattern(dataset.getPath().str()))
      files.push_back(pathOf(dataset, spec).str().str());
    else if (auto found = rt::matchFiles(llvm::sys::path::parent_path(spec).str(), dataset.getPath().str());
             found.isOk())
      files.insert(files.end(), found->begin(), found->end());
}

/// The files that a source reads. If there are none, reports a diagnostic and returns an empty list. `isFatal`: it was
/// an error, not a warning.
static std::vector<std::string> filesOf(exp::DatasetOp dataset, llvm::StringRef spec, bool &isFatal) {
  llvm::SmallString<256> path = pathOf(dataset, spec);
  if (!rt::isPattern(dataset.getPath().str())) {
    if (llvm::sys::fs::exists(path) && !llvm::sys::fs::is_directory(path))
      return {path.str().str()};
    exp::report(dataset, "path", Rule::MissingFile, DiagnosticSeverity::Warning)
        << (llvm::sys::fs::exists(path) ? "\"" + path.str().str() + "\" is a folder, not a file; \"" +
                                              dataset.getPath().str() + "/*\" names the files in it"
                                        : "file \"" + path.str().str() + "\" does not exist (yet)");
    return {};
  }
  auto found = rt::matchFiles(llvm::sys::path::parent_path(spec).str(), dataset.getPath().str());
  if (found.isOk() && !found->empty())
    return *found;
  isFatal = true;
  auto error = exp::report(dataset, "path", Rule::NoFileMatches, DiagnosticSeverity::Error);
  if (found.isOk())
    error << "no file matches \"" << path << "\"";
  else
    error << found.status().message();
  return {};
}

/// The checks that need the data files. Sources of weight 0 are never read.
static LogicalResult checkPaths(exp::ExperimentOp experiment, llvm::StringRef spec) {
  using Seen = std::pair<exp::DatasetOp, std::string>;
  std::map<std::pair<exp::Split, llvm::sys::fs::UniqueID>, Seen> seen; // by split and file
  bool isFatal = false;
  for (exp::DatasetOp dataset : experiment.sections<exp::DatasetOp>()) {
    if (dataset.getWeight().isZero())
      continue;
    for (const std::string &file : filesOf(dataset, spec, isFatal)) {
      llvm::sys::fs::UniqueID id;
      if (llvm::sys::fs::getUniqueID(file, id))
        continue;
      auto [first, isNew] = seen.try_emplace({dataset.getSplit(), id}, dataset, file);
      if (isNew)
        continue;
      // Within a source, a pass would read the file twice; in two sources, it may be intended.
      bool sameSource = first->second.first == dataset;
      isFatal |= sameSource;
      exp::report(dataset, "path", Rule::FileTwice,
                  sameSource ? DiagnosticSeverity::Error : DiagnosticSeverity::Warning)
          << "\"" << file << "\" is read already, by " << (sameSource ? "this source" : "source ")
          << (sameSource ? "" : "\"" + first->second.first.getName().str() + "\"") << " as \"" << first->second.second
          << "\"; name each file of a split once";
    }
  }
  return failure(isFatal);
}

/// The checks that the options ask for, on an experiment that could be read.
static bool acceptExperiment(ModuleOp module, llvm::StringRef spec, const ReadOptions &options) {
  if (options.checkPaths && failed(checkPaths(findExperiment(module), spec)))
    return false;
  if (options.inputs)
    listDataFiles(findExperiment(module), spec, *options.inputs);
  return !options.examine || succeeded(options.examine(module));
}

//===--- Members ---===//

static std::string quotedList(const Sweep &sweep) {
  constexpr size_t kShown = 24;
  std::string text;
  for (size_t i = 0; i < std::min(sweep.size(), kShown); ++i)
    text += "\n  " + sweep.name(i);
  if (sweep.size() > kShown)
    text += "\n  and " + std::to_string(sweep.size() - kShown) + " more";
  return text;
}

/// Numbers of the members that are asked for; all members if none is named.
static std::optional<std::vector<size_t>> chooseMembers(const Sweep &sweep, const std::vector<std::string> &wanted,
                                                        Place start, std::vector<Issue> &issues) {
  std::vector<size_t> chosen;
  if (sweep.size() == 0 && !wanted.empty()) {
    issues.push_back(
        {Rule::SweepMember, start, "", "the spec has no sweep, so no member " + quote(wanted.front()), {}});
    return std::nullopt;
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < sweep.size(); ++i)
    names.push_back(sweep.name(i));
  for (const std::string &name : wanted) {
    auto found = llvm::find(names, name);
    if (found == names.end()) {
      issues.push_back(
          {Rule::SweepMember,
           sweep.place(),
           "/sweep",
           "no member is called " + quote(name) + exp::suggest(name, names) + "\nmembers:" + quotedList(sweep),
           {}});
      return std::nullopt;
    }
    chosen.push_back(static_cast<size_t>(found - names.begin()));
  }
  if (wanted.empty())
    for (size_t i = 0; i < sweep.size(); ++i)
      chosen.push_back(i);
  llvm::sort(chosen);
  chosen.erase(llvm::unique(chosen), chosen.end());
  return chosen;
}

namespace {
/// Reads one or more expansions of the same files and reports each thing once.
class MemberReader {
public:
  MemberReader(MLIRContext *context, const SpecFiles &files, const std::vector<Issue> &issues,
               const ReadOptions &options)
      : context(context), files(files), textIssues(issues), options(options) {}

  OwningOpRef<ModuleOp> read(const Json &root, size_t member) {
    // The same text and place is the same error in another member.
    ScopedDiagnosticHandler handler(context, [&](Diagnostic &diagnostic) {
      auto [known, isNew] = byText.try_emplace(PlainDiagnostic::from(diagnostic).text(), caught.size());
      if (isNew) {
        caught.push_back(std::move(diagnostic));
        members.emplace_back();
      }
      if (members[known->second].empty() || members[known->second].back() != member)
        members[known->second].push_back(member);
      return success();
    });
    std::vector<Issue> issues = textIssues;
    OwningOpRef<ModuleOp> module = readMerged(context, root, files, issues);
    for (const Issue &issue : issues)
      emit(context, files, issue);
    if (!issues.empty())
      module = {};
    if (module && !acceptExperiment(*module, files.path(0), options))
      module = {};
    good += static_cast<bool>(module);
    return module;
  }

  /// If not all members have a diagnostic, a note says which do. Warnings may need a member without errors.
  void report(const Sweep &sweep) {
    std::vector<Diagnostic> shown;
    for (size_t i = 0; i < caught.size(); ++i) {
      bool warning = caught[i].getSeverity() == DiagnosticSeverity::Warning;
      bool ofAll = members[i].size() >= (warning ? good : sweep.size());
      // A key that some member needs is not idle.
      if (!ofAll && PlainDiagnostic::from(caught[i]).code == exp::codeOf(Rule::NoEffect))
        continue;
      if (!ofAll) {
        auto [place, pointer] = sweep.commonChoice(members[i]);
        Diagnostic &note = caught[i].attachNote(locationOf(context, files, place, pointer));
        note << "in member \"" << sweep.name(members[i].front()) << "\"";
        if (members[i].size() > 1)
          note << " and " << members[i].size() - 1 << " more of " << sweep.size();
      }
      shown.push_back(std::move(caught[i]));
    }
    replay(context, shown, files);
  }

private:
  MLIRContext *context;
  const SpecFiles &files;
  const std::vector<Issue> &textIssues;
  const ReadOptions &options;
  std::vector<Diagnostic> caught;
  std::vector<std::vector<size_t>> members; // of each caught one
  std::map<std::string, size_t> byText;
  size_t good = 0; // members that could be read
};
} // namespace

/// `one`: the caller needs a single experiment.
static std::optional<SpecMembers> readRoot(MLIRContext *context, const SpecFiles &files, std::optional<Json> root,
                                           std::vector<Issue> &issues, const ReadOptions &options, bool one) {
  context->getOrLoadDialect<exp::ExpDialect>();
  std::optional<Sweep> sweep;
  std::optional<std::vector<size_t>> chosen;
  if (root)
    sweep = Sweep::takeFrom(*root, issues);
  if (sweep)
    chosen = chooseMembers(*sweep, options.members, root->place, issues);
  if (chosen && one && chosen->size() > 1) {
    issues.push_back({Rule::SweepMember,
                      sweep->place(),
                      "/sweep",
                      "the spec is a sweep; name one of its members with --member:" + quotedList(*sweep),
                      {}});
    chosen = {};
  }
  if (!chosen) {
    emitAll(context, files, issues);
    return std::nullopt;
  }
  for (unsigned file = 0; options.inputs && !files.path(file).empty(); ++file)
    options.inputs->push_back(files.path(file).str());
  SpecMembers result;
  if (const Json *name = root->find("name"); name && name->isString())
    result.name = name->string;
  result.axes = sweep->axesText();
  MemberReader reader(context, files, issues, options);
  bool ok = true;
  auto add = [&](std::string member, std::string settings, const Json &spec, size_t number) {
    result.members.push_back({std::move(member), std::move(settings), reader.read(spec, number)});
    ok &= static_cast<bool>(result.members.back().module);
  };
  if (sweep->size() == 0)
    add("", "", *root, 0);
  for (size_t member : *chosen)
    add(sweep->name(member), sweep->settings(member), sweep->expand(*root, member), member);
  reader.report(*sweep);
  return ok ? std::optional(std::move(result)) : std::nullopt;
}

//===--- Entry points ---===//

OwningOpRef<ModuleOp> moec::spec::readSpec(MLIRContext *context, llvm::StringRef path, ReadOptions options) {
  std::vector<Issue> issues;
  SpecFiles files(issues);
  std::optional<Json> root = files.load(path);
  auto read = readRoot(context, files, std::move(root), issues, options, /*one=*/true);
  return read ? std::move(read->members.front().module) : OwningOpRef<ModuleOp>();
}

OwningOpRef<ModuleOp> moec::spec::readSpecText(MLIRContext *context, llvm::StringRef text, llvm::StringRef name,
                                               ReadOptions options) {
  std::vector<Issue> issues;
  SpecFiles files(issues);
  std::optional<Json> root = files.loadText(text, name);
  auto read = readRoot(context, files, std::move(root), issues, options, /*one=*/true);
  return read ? std::move(read->members.front().module) : OwningOpRef<ModuleOp>();
}

exp::ExperimentOp moec::spec::findExperiment(ModuleOp module) {
  auto experiments = module.getOps<exp::ExperimentOp>();
  return experiments.empty() ? exp::ExperimentOp() : *experiments.begin();
}

static OwningOpRef<ModuleOp> readDialect(MLIRContext *context, llvm::StringRef path, const ReadOptions &options) {
  context->getOrLoadDialect<exp::ExpDialect>();
  OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(path, ParserConfig(context));
  if (!module)
    return module;
  // Paths start at this file, even if --locations wrote the places of another file into it.
  (*module)->setLoc(FileLineColLoc::get(context, path, 1, 1));
  auto experiments = module->getOps<exp::ExperimentOp>();
  if (std::distance(experiments.begin(), experiments.end()) != 1) {
    emitError(module->getLoc()) << exp::codeOf(Rule::Sections) << ": expected one exp.experiment";
    return {};
  }
  if (!options.members.empty()) {
    emitError(module->getLoc()) << exp::codeOf(Rule::SweepMember) << ": an experiment in exp dialect has no sweep, so "
                                << "no member \"" << options.members.front() << "\"";
    return {};
  }
  if (options.inputs)
    options.inputs->push_back(path.str());
  if (!acceptExperiment(*module, path, options))
    return {};
  return module;
}

OwningOpRef<ModuleOp> moec::spec::readExperiment(MLIRContext *context, llvm::StringRef path, ReadOptions options) {
  return path.ends_with(".mlir") ? readDialect(context, path, options) : readSpec(context, path, options);
}

std::optional<SpecMembers> moec::spec::readMembers(MLIRContext *context, llvm::StringRef path, ReadOptions options) {
  if (path.ends_with(".mlir")) {
    SpecMembers result;
    result.members.push_back({"", "", readDialect(context, path, options)});
    if (!result.members.front().module)
      return std::nullopt;
    result.name = findExperiment(*result.members.front().module).getSymName().str();
    return result;
  }
  std::vector<Issue> issues;
  SpecFiles files(issues);
  std::optional<Json> root = files.load(path);
  return readRoot(context, files, std::move(root), issues, options, /*one=*/false);
}
