// `extends`.
#include "compiler/Spec/SpecFiles.h"

#include "dialects/Exp/IR/Exp.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace moec;
using namespace moec::spec;
using exp::Rule;

std::optional<Json> SpecFiles::load(llvm::StringRef path) { return loadFile(path.str(), nullptr); }

std::optional<Json> SpecFiles::loadText(llvm::StringRef text, llvm::StringRef name) {
  paths.push_back(name.str());
  return finish(text, 0);
}

/// `extends`: the value that names the file, or null for the spec itself.
std::optional<Json> SpecFiles::loadFile(const std::string &path, const Json *extends) {
  llvm::SmallString<256> real;
  if (llvm::sys::fs::real_path(path, real))
    real = path;
  if (llvm::is_contained(active, real.str())) {
    issues.push_back({Rule::ExtendsCycle, extends->place, "/extends", "\"" + path + "\" extends itself", {}});
    return std::nullopt;
  }
  unsigned file = static_cast<unsigned>(paths.size());
  paths.push_back(path);
  bool directory = llvm::sys::fs::is_directory(path);
  // Volatile: the file is read, not mapped. If an editor truncates a mapped file, the process dies.
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/true,
                                            /*IsVolatile=*/true);
  if (!buffer || directory) {
    std::string why = directory ? "it is a directory" : buffer.getError().message();
    Place place = extends ? extends->place : Place{file, 1, 1};
    issues.push_back({Rule::Unreadable, place, extends ? "/extends" : "", "cannot read \"" + path + "\": " + why, {}});
    return std::nullopt;
  }
  active.push_back(std::string(real));
  std::optional<Json> value = finish((*buffer)->getBuffer(), file);
  active.pop_back();
  return value;
}

bool moec::spec::isLengthKey(llvm::StringRef key) { return key == "steps" || key == "tokens" || key == "fraction"; }

static void rebase(Json &value, llvm::StringRef folder) {
  if (!value.isString() || value.string.empty() || llvm::sys::path::is_absolute(value.string))
    return;
  llvm::SmallString<256> path(folder);
  llvm::sys::path::append(path, value.string);
  llvm::sys::path::remove_dots(path, /*remove_dot_dot=*/true);
  value.string = std::string(path);
}

static void rebaseAxis(Json &axis, llvm::StringRef folder);

/// Paths are relative to the file that has them. The paths of a base are rewritten relative to the file that extends
/// it; `folder` leads from that file to the base. In every section and method, a text "path" names a file.
static void rebaseBelow(Json &value, llvm::StringRef folder) {
  for (Member &member : value.members)
    if (member.key == "path")
      member.value.isObject() ? rebaseBelow(member.value, folder) : rebase(member.value, folder);
    else
      rebaseBelow(member.value, folder);
}

static void rebasePaths(Json &root, llvm::StringRef folder) {
  for (Member &member : root.members)
    if (member.key != "sweep")
      rebaseBelow(member.value, folder);
  if (Json *sweep = root.find("sweep"))
    for (Member &axis : sweep->members)
      rebaseAxis(axis.value, folder);
}

static void rebaseAxis(Json &axis, llvm::StringRef folder) {
  Json *field = axis.find("field"), *values = axis.find("values"), *variants = axis.find("variants");
  if (variants)
    for (Member &variant : variants->members)
      rebasePaths(variant.value, folder);
  if (!field || !field->isString() || !values)
    return;
  std::vector<std::string> keys;
  for (llvm::StringRef key : llvm::split(field->string, '.'))
    keys.push_back(key.str());
  for (Json &value : values->elements) {
    Json spec = Json::makeObject();
    assign(spec, keys, value, {});
    rebasePaths(spec, folder);
    const Json *found = &spec;
    for (const std::string &key : keys)
      found = found->find(key);
    value = Json(*found);
  }
}

std::optional<Json> SpecFiles::finish(llvm::StringRef text, unsigned file) {
  std::optional<Json> value = parseText(text, file, issues);
  if (!value)
    return std::nullopt;
  if (!value->isObject()) {
    issues.push_back(
        {Rule::WrongType, value->place, "/", std::string("expected an object, found ") + value->kindName(), {}});
    return std::nullopt;
  }
  const Json *extends = value->find("extends");
  if (!extends || extends->isNull())
    return value;
  if (!extends->isString() || extends->string.empty()) {
    issues.push_back({Rule::Extends, extends->place, "/extends", "expected the path of a file", {}});
    return std::nullopt;
  }
  if (auto problem = exp::checkPath(extends->string)) {
    issues.push_back({problem->rule, extends->place, "/extends", problem->text, {}});
    return std::nullopt;
  }
  llvm::SmallString<256> path(extends->string);
  if (!llvm::sys::path::is_absolute(path)) {
    path = llvm::sys::path::parent_path(paths[file]);
    llvm::sys::path::append(path, extends->string);
    llvm::sys::path::remove_dots(path, /*remove_dot_dot=*/true);
  }
  std::optional<Json> base = loadFile(std::string(path), extends);
  if (!base)
    return std::nullopt;
  rebasePaths(*base, llvm::sys::path::parent_path(extends->string));
  merge(*base, *value);
  return base;
}

/// {"steps": ..}, {"tokens": ..} and {"fraction": ..} are three forms of a length, so a new one replaces the old one.
static void dropLengths(Json &object) {
  llvm::erase_if(object.members, [](const Member &member) { return isLengthKey(member.key); });
}

/// A kind alone stands for an object with nothing but the kind.
static void openKind(Json &value) {
  if (!value.isString())
    return;
  Json object = Json::makeObject();
  object.place = value.place;
  object.members.push_back({"kind", value.place, std::move(value)});
  value = std::move(object);
}

void moec::spec::merge(Json &base, const Json &patch) {
  if (patch.isObject() && !patch.members.empty())
    openKind(base);
  if (!patch.isObject() || !base.isObject()) {
    bool removes = patch.isNull() && !base.isNull();
    base = patch;
    base.removes = removes;
    return;
  }
  if (llvm::any_of(patch.members,
                   [](const Member &member) { return isLengthKey(member.key) && !member.value.isNull(); }))
    dropLengths(base);
  // An error of the whole object, such as a missing key, belongs to the file that changed the object last.
  if (!patch.members.empty())
    base.place = patch.place;
  for (const Member &member : patch.members) {
    if (Json *old = base.find(member.key))
      merge(*old, member.value);
    else
      base.members.push_back(member);
  }
}

void moec::spec::assign(Json &spec, llvm::ArrayRef<std::string> keys, const Json &value, Place place) {
  openKind(spec);
  if (!spec.isObject()) {
    spec = Json::makeObject();
    spec.place = place;
  }
  if (keys.size() == 1 && isLengthKey(keys.front()) && !value.isNull())
    dropLengths(spec);
  Json *old = spec.find(keys.front());
  if (!old) {
    spec.members.push_back({keys.front(), place, Json()});
    old = &spec.members.back().value;
  }
  if (keys.size() > 1)
    return assign(*old, keys.drop_front(), value, place);
  bool removes = value.isNull() && !old->isNull();
  *old = value;
  old->removes = removes;
}
