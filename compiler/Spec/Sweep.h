// `sweep`: one spec that declares several experiments, its members. Members are made as JSON, before the spec is read,
// so each is an ordinary spec whose parts know their place in the user's file.
#ifndef MOEC_COMPILER_SPEC_SWEEP_H
#define MOEC_COMPILER_SPEC_SWEEP_H

#include "compiler/Spec/SpecText.h"

namespace moec::spec {

/// One key of an axis; the reader, the reference page and `moec explain sweep` share the table.
struct SweepKey {
  const char *key, *type, *doc;
};
llvm::ArrayRef<SweepKey> sweepKeys();
llvm::StringRef sweepSummary();

class Sweep {
public:
  /// Removes the key "sweep" from a spec and returns it. Without this key the result has no members. After an error,
  /// adds it to `issues` and returns nothing.
  static std::optional<Sweep> takeFrom(Json &spec, std::vector<Issue> &issues);

  size_t size() const { return names.size(); }
  /// The place of "sweep" in the spec.
  Place place() const { return at; }
  /// Names are valid names of folders: letters, digits, '_', '-' and '.'; all differ.
  const std::string &name(size_t member) const { return names[member]; }
  /// "losses.erc.alpha = 0.5, router = bias"
  std::string settings(size_t member) const;
  /// "alpha x router"
  std::string axesText() const;
  /// The spec of a member; its name is that of the spec, a dot and the member's.
  Json expand(const Json &spec, size_t member) const;
  /// The choice that all of these members share and other members do not have; if there is none, the choice of the
  /// first axis.
  std::pair<Place, std::string> commonChoice(llvm::ArrayRef<size_t> members) const;

private:
  /// A value or a variant of an axis.
  struct Choice {
    std::string label; // its part of the member's name
    std::string text;  // "losses.erc.alpha = 0.5"
    std::string pointer;
    Place place;
    const Json *value = nullptr;
  };
  struct Axis {
    std::string name;
    std::vector<std::string> field; // keys on the way to the field; none: the choices are variants
    Place fieldPlace;
    std::vector<Choice> choices;
  };
  class Builder;

  const Choice &choice(size_t member, size_t axis) const;

  std::shared_ptr<const Json> source; // owns what choices point to
  Place at;
  std::vector<Axis> axes; // in order of their names, so that their order in the file does not matter
  std::vector<std::string> names;
};

} // namespace moec::spec

#endif
