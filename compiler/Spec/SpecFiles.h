// The files of a spec: itself and those it extends, merged into one value whose parts remember their file.
#ifndef MOEC_COMPILER_SPEC_SPECFILES_H
#define MOEC_COMPILER_SPEC_SPECFILES_H

#include "compiler/Spec/SpecText.h"

namespace moec::spec {

class SpecFiles {
public:
  explicit SpecFiles(std::vector<Issue> &issues) : issues(issues) {}

  /// The merged value; nothing if a file cannot be read or is not an object.
  std::optional<Json> load(llvm::StringRef path);
  std::optional<Json> loadText(llvm::StringRef text, llvm::StringRef name);

  llvm::StringRef path(unsigned file) const { return file < paths.size() ? llvm::StringRef(paths[file]) : ""; }

private:
  std::optional<Json> loadFile(const std::string &path, const Json *extends);
  std::optional<Json> finish(llvm::StringRef text, unsigned file);

  std::vector<Issue> &issues;
  std::vector<std::string> paths;  // by number of file; the spec itself is 0
  std::vector<std::string> active; // being loaded, for cycles
};

/// Whether a key is one of the ways to give a length of training: steps, tokens, fraction.
bool isLengthKey(llvm::StringRef key);

/// Objects are merged key by key; other values replace. A null also replaces, and is marked, because it removes the
/// value of the base.
void merge(Json &base, const Json &patch);
/// Sets one field of a spec; `keys` lead to it. Missing objects on the way are made, with the place `place`.
void assign(Json &spec, llvm::ArrayRef<std::string> keys, const Json &value, Place place);

} // namespace moec::spec

#endif
