// Choices among words: text in a spec, enum values in code. The enums of sections are in ExpEnums.td; methods declare
// theirs beside their fields.
#ifndef MOEC_DIALECTS_EXP_IR_CHOICE_H
#define MOEC_DIALECTS_EXP_IR_CHOICE_H

#include "dialects/Exp/IR/Fields.h"

#include <array>
#include <string>
#include <string_view>

namespace moec::exp {

/// Position among `words` of the value that `attr` has under `key`. On verified IR the value is one of them; otherwise
/// this ends the program, rather than return another word's position.
size_t findWord(const MethodAttr &attr, const std::string &key, const std::string_view *words, size_t count);

/// A key of methods that takes one of a few words, each of which stands for a value of the enum E. The field, its
/// default and the code that reads the value all use this one table.
///
///   enum class Scope { Micro, Global };
///   constexpr exp::Choice<Scope> kScope = {"scope", {{Scope::Micro, "micro"}, {Scope::Global, "global"}}};
///   ... kScope.field(Scope::Micro, "tokens that are counted")      in fields()
///   ... kScope.in(attr) == Scope::Global                           where the value is read
template <typename E> class Choice {
public:
  struct Word {
    E value;
    std::string_view text;
  };

  template <size_t N> constexpr Choice(std::string_view key, const Word (&list)[N]) : key(key), count(N) {
    static_assert(N <= kMost);
    for (size_t i = 0; i < N; ++i) {
      values[i] = list[i].value;
      texts[i] = list[i].text;
    }
  }

  /// `prefix` of the key, for fields that several methods have in objects of their own ("lite.").
  Field field(E fallback, std::string doc, const std::string &prefix = "") const {
    return {.key = prefix + std::string(key),
            .type = FieldType::Choice,
            .fallback = "\"" + std::string(textOf(fallback)) + "\"",
            .choices = std::vector<std::string>(texts.begin(), texts.begin() + count),
            .doc = std::move(doc)};
  }

  E in(const MethodAttr &attr, const std::string &prefix = "") const {
    return values[findWord(attr, prefix + std::string(key), texts.data(), count)];
  }

  constexpr std::string_view textOf(E value) const {
    for (size_t i = 0; i < count; ++i)
      if (values[i] == value)
        return texts[i];
    return {};
  }

private:
  static constexpr size_t kMost = 8;

  std::string_view key;
  size_t count;
  std::array<E, kMost> values{};
  std::array<std::string_view, kMost> texts{};
};

} // namespace moec::exp

#endif
