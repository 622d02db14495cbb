#include "test/golden/GradientProgram.h"

#include "test/golden/PlanInterpreter.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <regex>

namespace moec::test {

namespace {

constexpr double kLossScale = 0.5;

std::string joined(const std::vector<int64_t> &shape) {
  std::string text;
  for (int64_t dim : shape)
    text += (text.empty() ? "" : "x") + std::to_string(dim);
  return text;
}

std::string typeOf(const std::vector<int64_t> &shape) { return "<" + joined(shape) + ">"; }

std::string stateText(const GradientCase &one, const GradientTensor &tensor, bool isParameter) {
  std::string type = " : " + typeOf(tensor.shape), count = tensor.count ? " count " + std::to_string(tensor.count) : "";
  std::string name = "@" + one.name + "." + tensor.name, grad = "@" + one.name + ".grad." + tensor.name;
  if (!isParameter)
    return "moe.state " + name + " constant" + type + count + "\n";
  return "moe.state " + name + " parameter" + type + count + " gradient " + grad + "\nmoe.state " + grad + " gradient" +
         type + count + "\n";
}

std::string functionText(const GradientCase &one) {
  std::string states, reads;
  auto add = [&](const GradientTensor &tensor, bool isParameter) {
    states += stateText(one, tensor, isParameter);
    if (!tensor.count)
      reads += "%" + tensor.name + " = moe.read @self." + tensor.name + " : " + typeOf(tensor.shape) + "\n";
  };
  for (const GradientTensor &tensor : one.parameters)
    add(tensor, true);
  for (const GradientTensor &tensor : one.constants)
    add(tensor, false);
  for (const GradientIds &ids : one.ids) {
    std::string type = " : <" + joined(ids.shape) + "i>\n";
    states += "moe.state @self." + ids.name + " constant" + type;
    reads += "%" + ids.name + " = moe.read @self." + ids.name + type;
  }
  std::string type = typeOf(one.shape), rows = std::to_string(one.shape[0]);
  states +=
      "moe.state @self.loss metric : <1x1> logged \"loss\"\nmoe.state @self.loss_weights constant : " + type + "\n";
  return states + "func.func @" + one.name + "() attributes {moe.differentiate} {\n" + reads + one.body +
         "%loss_weights = moe.read @self.loss_weights : " + type + "\n" +
         mapOp("%loss_terms", {{"%y", type}, {"%loss_weights", type}}, type, "%r = arith.mulf %0, %1 : f64") +
         "%loss_rows = moe.row_reduce sum %loss_terms : " + type + " -> <" + rows + "x1>\n" +
         "%loss = moe.col_reduce %loss_rows : <" + rows + "x1> -> <1x1>\nmoe.write @self.loss, %loss : <1x1>\n" +
         "moe.loss %loss scale " + std::to_string(kLossScale) + " : <1x1>\nreturn\n}\n";
}

// Short names of types and states written out.
std::string spelledOut(std::string text, const std::string &name) {
  text = std::regex_replace(text, std::regex("@self"), "@" + name);
  text = std::regex_replace(text, std::regex("<([0-9x]+)>"), "tensor<$1xf64>");
  return std::regex_replace(text, std::regex("<([0-9x]+)i>"), "tensor<$1xi32>");
}

class Checker {
public:
  Checker(PlanInterpreter &program, const GradientCase &one) : program(program), one(one) {
    for (const GradientTensor &tensor : one.parameters)
      fill(tensor.name, tensor.low, tensor.high);
    for (const GradientTensor &tensor : one.constants)
      fill(tensor.name, tensor.low, tensor.high);
    for (const GradientIds &ids : one.ids)
      std::copy(ids.values.begin(), ids.values.end(), program.ints(state(ids.name)));
    fill("loss_weights", 0.2, 1);
  }

  std::vector<GradientError> run() {
    for (const GradientTensor &tensor : one.parameters)
      std::fill_n(program.floats(gradient(tensor)), program.elements(gradient(tensor)), 0.0);
    loss();
    std::vector<std::vector<double>> found;
    for (const GradientTensor &tensor : one.parameters) {
      const double *first = program.floats(gradient(tensor));
      found.emplace_back(first, first + program.elements(gradient(tensor)));
    }
    std::vector<GradientError> errors;
    for (size_t i = 0; i < found.size(); ++i)
      errors.push_back(compare(one.parameters[i], found[i]));
    return errors;
  }

private:
  std::string state(const std::string &name) const { return one.name + "." + name; }
  std::string gradient(const GradientTensor &tensor) const { return state("grad." + tensor.name); }

  void fill(const std::string &name, double low, double high) {
    for (int64_t i = 0, count = program.elements(state(name)); i < count; ++i) {
      random = random * 6364136223846793005ull + 1442695040888963407ull;
      double value = low + (high - low) * static_cast<double>(random >> 11) * 0x1p-53;
      // Multiples of a small power of two: sums of few of them are exact, even in f32.
      program.floats(state(name))[i] = std::round(value * 0x1p12) * 0x1p-12;
    }
  }

  double loss() {
    program.call(one.name);
    return *program.floats(state("loss"));
  }

  GradientError compare(const GradientTensor &tensor, const std::vector<double> &gradient) {
    double *values = program.floats(state(tensor.name));
    double found = 0, expected = 0, difference = 0;
    for (size_t i = 0; i < gradient.size(); ++i) {
      double old = values[i];
      values[i] = old + one.step;
      double above = loss();
      values[i] = old - one.step;
      double numeric = kLossScale * (above - loss()) / (2 * one.step);
      values[i] = old;
      found += gradient[i] * gradient[i];
      expected += numeric * numeric;
      difference += (gradient[i] - numeric) * (gradient[i] - numeric);
    }
    double norm = std::sqrt(std::max(found, expected));
    return {one.name + "." + tensor.name, std::sqrt(found), std::sqrt(difference) / norm};
  }

  PlanInterpreter &program;
  const GradientCase &one;
  uint64_t random = 1234567;
};

} // namespace

std::vector<GradientError> gradientErrors(const std::vector<GradientCase> &cases) {
  std::string text;
  for (const GradientCase &one : cases)
    text += spelledOut(functionText(one), one.name);
  PlanInterpreter program(text);
  std::vector<GradientError> errors;
  for (const GradientCase &one : cases)
    for (const GradientError &error : Checker(program, one).run()) {
      if (std::getenv("MOEC_SHOW_GRADIENTS"))
        std::printf("%-28s norm %-10.3g error %.3g\n", error.name.c_str(), error.norm, error.relative);
      errors.push_back(error);
    }
  if (std::getenv("MOEC_SHOW_GRADIENTS"))
    std::printf("%lld kernels\n", static_cast<long long>(program.numKernels()));
  return errors;
}

std::string mapOp(const std::string &result, const std::vector<std::pair<std::string, std::string>> &operands,
                  const std::string &type, const std::string &scalars, const std::string &attributes) {
  // A region may not use the names of values around it.
  std::string named = std::regex_replace(scalars, std::regex("%([a-z])"), "%in_$1");
  std::string names, types, arguments;
  for (const auto &[name, operandType] : operands) {
    std::string comma = names.empty() ? "" : ", ";
    arguments += comma + "%" + std::to_string(std::count(names.begin(), names.end(), '%')) + ": f64";
    names += comma + name;
    types += comma + operandType;
  }
  return result + " = moe.map(" + names + ")" + attributes + " : (" + types + ") -> " + type + " {\n^bb0(" + arguments +
         "):\n" + named + "\nmoe.yield %in_r : f64\n}\n";
}

std::string square(const std::string &name, const std::string &type) {
  return mapOp("%" + name + "2", {{"%" + name, type}}, type, "%r = arith.mulf %0, %0 : f64");
}

int64_t permutedRows(int64_t slots, int64_t experts) {
  int64_t align = PlanInterpreter::tileRows();
  return (slots + experts * (align - 1) + align - 1) / align * align;
}

std::string permuteOp(const std::string &ids, const std::string &shape, int64_t experts, int64_t slots) {
  return "%offsets, %counts, %row_token, %row_slot, %slot_row = moe.permute " + ids + " experts " +
         std::to_string(experts) + " align " + std::to_string(PlanInterpreter::tileRows()) + " : <" + shape +
         "i> -> <1x" + std::to_string(experts + 1) + "i>, <1x" + std::to_string(experts) + "i>, <" +
         std::to_string(permutedRows(slots, experts)) + "x1i>\n";
}

} // namespace moec::test
