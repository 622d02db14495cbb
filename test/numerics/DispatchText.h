// Writes the text of dispatches for tests and benches.
#ifndef MOEC_TEST_NUMERICS_DISPATCHTEXT_H
#define MOEC_TEST_NUMERICS_DISPATCHTEXT_H

#include "test/numerics/Harness.h"

namespace moec::test {

inline std::string tensor(std::vector<int64_t> shape, const std::string &element = "$T") {
  std::string text = "tensor<";
  for (int64_t dim : shape)
    text += std::to_string(dim) + "x";
  return text + element + ">";
}

// A module with one dispatch. `operands`: names and types; the body ends with its own yield.
struct Operand {
  std::string name, type;
};
inline std::string module(const std::string &states, const std::vector<Operand> &operands,
                          const std::vector<std::string> &results, const std::string &body,
                          const std::string &kind = "matmul") {
  std::string arguments, bindings, types, outs;
  for (const Operand &operand : operands) {
    std::string comma = arguments.empty() ? "" : ", ";
    arguments += comma + "%in_" + operand.name + ": " + operand.type;
    bindings += comma + "%" + operand.name + " = %in_" + operand.name;
    types += comma + operand.type;
  }
  for (const std::string &result : results)
    outs += (outs.empty() ? "" : ", ") + result;
  std::string text = states + "\nfunc.func @f(" + arguments + ") {\n  ";
  if (!results.empty())
    text += "%out:" + std::to_string(results.size()) + " = ";
  return text + "moe.dispatch \"" + kind + "\" (" + bindings + ") : (" + types + ") -> (" + outs + ") {\n" + body +
         "\n  }\n  return\n}\n";
}

inline std::string product(const std::string &result, const std::string &op, const std::vector<Operand> &operands,
                           const std::string &type) {
  std::string names, types;
  for (const Operand &operand : operands) {
    names += (names.empty() ? "" : ", ") + operand.name;
    types += (types.empty() ? "" : ", ") + operand.type;
  }
  return "    " + result + " = " + op + " " + names + " : " + types + " -> " + type + "\n";
}

inline std::string map(const std::string &results, const std::vector<Operand> &operands, const std::string &type,
                       const std::string &arguments, const std::string &body, const std::string &yields = "%y",
                       int count = 1) {
  std::string names, types, outs, scalars;
  for (const Operand &operand : operands) {
    names += (names.empty() ? "" : ", ") + operand.name;
    types += (types.empty() ? "" : ", ") + operand.type;
  }
  for (int i = 0; i < count; ++i) {
    outs += (i ? ", " : "") + type;
    scalars += i ? ", $T" : "$T";
  }
  return "    " + results + " = moe.map(" + names + ") : (" + types + ") -> (" + outs + ") {\n    ^bb0(" + arguments +
         "):\n" + body + "      moe.yield " + yields + " : " + scalars + "\n    }\n";
}

// Groups of `counts` rows, each starting at a multiple of `align`; `rowToken` is -1 for padding.
struct Groups {
  int64_t rows = 0;
  Array offsets, counts, rowToken;
};
inline Groups makeGroups(const std::vector<int64_t> &counts, int64_t align, int64_t tokens, int64_t spare = 0) {
  Groups groups;
  auto experts = static_cast<int64_t>(counts.size());
  groups.offsets = Array({1, experts + 1});
  groups.counts = Array({1, experts});
  for (int64_t e = 0; e < experts; ++e) {
    groups.counts.values[e] = counts[e];
    groups.offsets.values[e + 1] = groups.offsets.values[e] + (counts[e] + align - 1) / align * align;
  }
  groups.rows = static_cast<int64_t>(groups.offsets.values[experts]) + spare;
  groups.rowToken = Array({groups.rows, 1}, -1.0);
  for (int64_t e = 0; e < experts; ++e)
    for (int64_t i = 0; i < counts[e]; ++i) {
      auto row = static_cast<int64_t>(groups.offsets.values[e]) + i;
      groups.rowToken.values[row] = static_cast<double>((row * 7 + 3) % tokens);
    }
  return groups;
}

} // namespace moec::test

#endif
