// The states that a model declares, including its metrics.
#ifndef MOEC_COMPILER_MODEL_MODELSTATES_H
#define MOEC_COMPILER_MODEL_MODELSTATES_H

#include "compiler/Model/Segments.h"
#include "dialects/Exp/IR/Exp.h"
#include "dialects/Moe/IR/Moe.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace moec {

/// A constant state and its numbers, all copies one after another; init writes them.
struct ConstantTable {
  moe::StateOp state;
  std::vector<double> numbers;
};

/// Attributes of a state other than name, kind and type.
struct StateTraits {
  const LayerStack *stack = nullptr; // gives the copies; null: one
  moe::StateOp gradient = {};        // of a parameter
  std::optional<moe::StateRole> role = {};
  llvm::StringRef logName = {}; // of a metric: its key in lines of the log
};

class ModelStates {
public:
  /// `element`: T of the experiment. `lineKeys`: names that lines of the log have beside metrics.
  ModelStates(mlir::ImplicitLocOpBuilder &b, mlir::ModuleOp module, mlir::Type element,
              std::vector<std::string> lineKeys)
      : b(b), module(module), element(element), lineKeys(std::move(lineKeys)) {}

  /// `name` is the logical one (see getNameInLayers). Declaring a name of a stack again returns the first.
  moe::StateOp declare(llvm::StringRef name, moe::StateKind kind, mlir::RankedTensorType type,
                       const StateTraits &traits = {});
  moe::StateOp getState(llvm::StringRef symbol) const;
  /// Constants of a stack, `constant.layers.<i>.<name>`; type is that of one copy.
  moe::StateOp declareTable(llvm::StringRef name, const LayerStack &stack, mlir::RankedTensorType type,
                            std::vector<double> numbers);
  /// A [1, 1] metric of the step. `section`: the section for which it is logged.
  moe::StateOp declareMetric(llvm::StringRef name, mlir::Operation *section,
                             std::optional<moe::StateRole> role = std::nullopt);
  /// Every metric registers its name here and uses the name that is returned. It is an error if two sections have the
  /// same name, or if a name is a key that lines of the log have besides metrics. The same section may ask again.
  std::string claimMetric(llvm::StringRef name, mlir::Operation *section);
  /// The function begin_step writes zeros to it.
  void zeroEachStep(moe::StateOp state) {
    if (!llvm::is_contained(perStep, state))
      perStep.push_back(state);
  }

  std::vector<ConstantTable> tables;
  std::vector<moe::StateOp> perStep;     // zeroed by begin_step
  llvm::StringMap<double> initialValues; // of optimizer states, where it is not 0
  bool hasErrors = false;                // reported; the model is not to be used

private:
  mlir::ImplicitLocOpBuilder &b;
  mlir::ModuleOp module;
  mlir::Type element;
  std::vector<std::string> lineKeys;
  llvm::StringMap<moe::StateOp> known;
  llvm::StringMap<mlir::Operation *> metricOwners;
  llvm::StringSet<> clashes; // of names, reported
};

} // namespace moec

#endif
