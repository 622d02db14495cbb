// Where a method is built and evaluated on plain numbers.
#ifndef MOEC_TEST_UNIT_COMPILER_BENCH_H
#define MOEC_TEST_UNIT_COMPILER_BENCH_H

#include "compiler/Methods/Methods.h"
#include "compiler/tools/RegisterAll.h"
#include "test/unit/compiler/Evaluator.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <catch2/catch.hpp>

namespace moec::test {

/// A module to build in, in f64.
class Bench : public StateDeclarer {
public:
  Bench()
      : context(makeRegistry()),
        module((context.loadAllAvailableDialects(), mlir::ModuleOp::create(mlir::UnknownLoc::get(&context)))),
        b(mlir::ImplicitLocOpBuilder::atBlockEnd(module->getLoc(), module->getBody())), t(b, b.getF64Type()) {}

  template <typename T> const T &find(const std::string &category, const std::string &kind) {
    const exp::Method *method = exp::getMethods(&context).find(category, kind);
    REQUIRE(method);
    return static_cast<const T &>(*method);
  }
  exp::MethodAttr attr(llvm::StringRef category, llvm::StringRef kind, llvm::ArrayRef<mlir::NamedAttribute> fields) {
    return exp::MethodAttr::get(&context, category, kind, b.getDictionaryAttr(fields));
  }
  mlir::NamedAttribute field(llvm::StringRef name, mlir::Attribute value) { return b.getNamedAttr(name, value); }
  mlir::NamedAttribute field(llvm::StringRef name, int64_t value) { return field(name, b.getI64IntegerAttr(value)); }
  mlir::NamedAttribute field(llvm::StringRef name, double value) { return field(name, b.getF64FloatAttr(value)); }
  mlir::NamedAttribute field(llvm::StringRef name, const char *value) { return field(name, b.getStringAttr(value)); }

  /// A value that is read from a state of its name.
  mlir::Value input(llvm::StringRef name, Matrix value, mlir::Type element = {}) {
    auto type = mlir::RankedTensorType::get({value.rows, value.cols}, element ? element : t.element);
    evaluator.states[name.str()] = std::move(value);
    return moe::ReadOp::create(b, type, mlir::FlatSymbolRefAttr::get(&context, name), mlir::Value());
  }
  /// A stack of matrices [count, rows, cols], given one below the other.
  mlir::Value inputStack(llvm::StringRef name, Matrix value, int64_t count) {
    auto type = mlir::RankedTensorType::get({count, value.rows / count, value.cols}, t.element);
    evaluator.states[name.str()] = std::move(value);
    return moe::ReadOp::create(b, type, mlir::FlatSymbolRefAttr::get(&context, name), mlir::Value());
  }
  moe::StateOp state(llvm::StringRef name, moe::StateKind kind, mlir::RankedTensorType type) {
    auto state = moe::StateOp::create(b, b.getStringAttr(name), moe::StateKindAttr::get(&context, kind),
                                      mlir::TypeAttr::get(type), nullptr, nullptr, nullptr);
    if (kind == moe::StateKind::metric)
      state.setLogName(name);
    return state;
  }
  moe::StateOp perLayer(llvm::StringRef name, moe::StateKind kind, mlir::RankedTensorType type, bool) override {
    moe::StateOp &known = layerStates[name.str()];
    if (!known) {
      int64_t size = type.getNumElements();
      evaluator.states.insert({name.str(), Matrix{type.getDimSize(0), type.getDimSize(1), std::vector<double>(size)}});
      known = state(name, kind, type);
    }
    return known;
  }
  moe::StateOp perLayerMetric(llvm::StringRef name, mlir::RankedTensorType type) override {
    return perLayer(name, moe::StateKind::metric, type, true);
  }
  /// Of layer 0.
  mlir::Value table(llvm::StringRef name, mlir::Value, int64_t columns,
                    llvm::function_ref<std::vector<double>(int64_t)> numbersOf) override {
    return input(name, Matrix{1, columns, numbersOf(0)});
  }
  Matrix evaluate(mlir::Value value) {
    run();
    return evaluator.get(value);
  }
  void run() {
    for (mlir::Operation &op : llvm::make_early_inc_range(*module->getBody()))
      if (mlir::isa<moe::StateOp>(op))
        op.moveBefore(holder->getBody(), holder->getBody()->end());
    evaluator.run(*module->getBody());
  }

  std::map<std::string, moe::StateOp> layerStates;
  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::OwningOpRef<mlir::ModuleOp> holder = mlir::ModuleOp::create(mlir::UnknownLoc::get(&context));
  mlir::ImplicitLocOpBuilder b;
  TensorBuilder t;
  Evaluator evaluator;

private:
  static mlir::DialectRegistry makeRegistry() {
    mlir::DialectRegistry registry;
    registerAllDialects(registry);
    return registry;
  }
};

} // namespace moec::test

#endif
