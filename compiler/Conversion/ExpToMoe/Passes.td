#ifndef MOEC_COMPILER_CONVERSION_EXPTOMOE_PASSES_TD
#define MOEC_COMPILER_CONVERSION_EXPTOMOE_PASSES_TD

include "mlir/Pass/PassBase.td"

def BuildModel : Pass<"moec-build-model", "::mlir::ModuleOp"> {
  let summary = "Builds the states and functions of an experiment";
  let description = [{
    Before: the module holds one `exp.experiment`.
    After: it holds `moe.state` declarations and the functions init, begin_step, forward_backward (its forward half,
    marked `moe.differentiate`), update, evaluate and logits. The experiment stays for `moec-build-programs`.
    Why here: this is the first pass; no later pass knows a method by name.
    ```mlir
    moe.state @embed parameter : tensor<256x64xf32> gradient @grad.embed
    func.func @forward_backward() attributes {moe.differentiate} { ... }
    ```
  }];
  let options = [Option<"rowAlign", "row-align", "int64_t", "8", "Rows that the groups of experts are padded to">,
                 Option<"wide", "wide", "bool", "false", "Compute in f64 whatever the experiment says">,
                 ListOption<"lineKeys", "line-keys", "std::string",
                            "Keys that a line of the log has besides metrics; no metric may have such a name">];
  let dependentDialects = ["::moec::moe::MoeDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
                           "::mlir::func::FuncDialect"];
}

#endif
