// Text of test dispatches.
#ifndef MOEC_TEST_NUMERICS_TEXT_H
#define MOEC_TEST_NUMERICS_TEXT_H

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace moec::test {

inline std::string tensor(int64_t rows, int64_t columns, const std::string &element = "$T") {
  return "tensor<" + std::to_string(rows) + "x" + std::to_string(columns) + "x" + element + ">";
}

/// A function with one dispatch over named operands: dispatchText("row", {{"a", type}}, "type, type", body that uses %a
/// and yields).
inline std::string dispatchText(const std::string &kind, const std::vector<std::pair<std::string, std::string>> &inputs,
                                const std::string &results, const std::string &body, const std::string &states = "") {
  std::string arguments, bindings, types;
  for (const auto &[name, type] : inputs) {
    std::string comma = arguments.empty() ? "" : ", ";
    arguments += comma + "%" + name + "_: " + type;
    bindings += comma + "%" + name + " = %" + name + "_";
    types += comma + type;
  }
  size_t first = results.find("tensor");
  bool isOne = first != std::string::npos && results.find("tensor", first + 1) == std::string::npos;
  return states + "\nfunc.func @f(" + arguments + ") {\n  moe.dispatch \"" + kind + "\" (" + bindings + ") : (" +
         types + ") -> " + (isOne ? results : "(" + results + ")") + " {\n" + body + "\n  }\n  return\n}\n";
}

/// `%result = moe.map(operands) : (types) -> type { body }`, where operands are "%a : type" pairs and the body uses the
/// names given after them.
struct MapOperand {
  std::string value, type, name, element = "$T";
};
inline std::string mapText(const std::string &result, const std::vector<MapOperand> &operands, const std::string &type,
                           const std::string &body, const std::string &yielded, bool position = false) {
  std::string values, types, arguments;
  for (const MapOperand &operand : operands) {
    std::string comma = values.empty() ? "" : ", ";
    values += comma + operand.value;
    types += comma + operand.type;
    arguments += comma + "%" + operand.name + ": " + operand.element;
  }
  if (position)
    arguments += std::string(arguments.empty() ? "" : ", ") + "%row: i64, %column: i64";
  return result + " = moe.map " + (position ? "position" : "") + "(" + values + ") : (" + types + ") -> " + type +
         " {\n^bb0(" + arguments + "):\n" + body + "\nmoe.yield %" + yielded + " : $T\n}\n";
}

} // namespace moec::test

#endif
