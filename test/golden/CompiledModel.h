// A spec compiled to a plan and made ready to run step by step: what the tests of whole models share.
#ifndef MOEC_TEST_GOLDEN_COMPILEDMODEL_H
#define MOEC_TEST_GOLDEN_COMPILEDMODEL_H

#include "dialects/Moe/IR/FunctionNames.h"
#include "runtime/exec/Executor.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace moec::test {

struct ModelOptions {
  unsigned threads = 1;
  bool poison = true; // values of functions start as NaN
  std::string cpu = "native";
  bool apart = false; // compiled with one kernel for each op
};

class CompiledModel {
public:
  /// Compiles the spec's text (its data paths need not exist). Throws std::runtime_error with the diagnostics.
  CompiledModel(const std::string &specText, const ModelOptions &options);
  ~CompiledModel();

  void call(const std::string &function);
  /// A state by its logical name, layers expanded ("layers.1.moe.router"), as doubles.
  std::vector<double> read(const std::string &name);
  void write(const std::string &name, const std::vector<double> &values);
  double scalar(const std::string &name) { return read(name).at(0); }
  std::vector<int32_t> readInts(const std::string &name);
  void writeInts(const std::string &name, const std::vector<int32_t> &values);
  /// Logical names of all states of a kind.
  std::vector<std::string> names(rt::StateKind kind) const;
  /// All bytes of state, for comparisons bit by bit.
  std::string stateBytes();
  const rt::Plan &plan() const { return *loaded; }
  rt::Executor &executor() { return *engine; }

private:
  struct Slot {
    uint64_t offset, elements;
    rt::DType dtype;
    rt::StateKind kind;
  };
  const Slot &slot(const std::string &name) const;

  std::string folder;
  std::unique_ptr<rt::Plan> loaded;
  std::unique_ptr<rt::Executor> engine;
  std::map<std::string, Slot> slots;
};

/// Numbers in [-1, 1) that depend on their place alone; those of oracle/optimizers.py.
double number(uint64_t place, uint64_t stream);

/// Replaces the first occurrence of `from` in a spec's text; throws when there is none.
std::string changed(std::string text, const std::string &from, const std::string &to);
std::string readText(const std::string &path);

} // namespace moec::test

#endif
