#ifndef MOEC_DIALECTS_EXP_IR_EXPENUMS_TD
#define MOEC_DIALECTS_EXP_IR_EXPENUMS_TD

include "mlir/IR/EnumAttr.td"

// The words that fields of sections choose among. They are defined only here: the field table (Fields.cpp) and the
// lists of the reference page are made from these enums.
//
// In IR a choice is the word itself, `norm_placement = "pre"`, as in JSON: an experiment written by hand reads like a
// spec, and a wrong word gets the error of the field table (MOEC-S014 with its place and the nearest word), not one of
// the parser. Accessors of ops give the enum.
class Exp_Enum<string name, string summary, list<I32EnumAttrCase> cases> : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::moec::exp";
  let genSpecializedAttr = 0;
}

// An attribute that holds a word of `enum`.
class Exp_Choice<Exp_Enum enum>
    : Attr<CPred<"::llvm::isa<::mlir::StringAttr>($_self)">, "a word: " # enum.summary> {
  let storageType = "::mlir::StringAttr";
  let returnType = enum.cppNamespace # "::" # enum.className;
  let convertFromStorage = "::moec::exp::valueOf<" # enum.cppNamespace # "::" # enum.className # ">($_self)";
  let constBuilderCall = "$_builder.getStringAttr(::moec::exp::stringifyEnum($0))";
}

def Exp_NormPlacement : Exp_Enum<"NormPlacement", "where the norms of a block stand", [
    I32EnumAttrCase<"pre", 0>, I32EnumAttrCase<"peri", 1>]>;
def Exp_ResidualScale : Exp_Enum<"ResidualScale", "factor on initial weights that write to the residual stream", [
    I32EnumAttrCase<"none", 0>, I32EnumAttrCase<"inverse_root", 1, "1/sqrt(2L)">]>;
def Exp_QkNorm : Exp_Enum<"QkNorm", "norm of queries and keys", [
    I32EnumAttrCase<"none", 0>, I32EnumAttrCase<"head", 1>, I32EnumAttrCase<"full", 2>]>;
def Exp_BlockShape : Exp_Enum<"BlockShape", "shape of a feed-forward block or an expert", [
    I32EnumAttrCase<"swiglu", 0>]>;
def Exp_DropRule : Exp_Enum<"DropRule", "what an overfull expert drops", [
    I32EnumAttrCase<"lowest_weight", 0>, I32EnumAttrCase<"position", 1>, I32EnumAttrCase<"random2", 2>]>;
def Exp_LayerShape : Exp_Enum<"LayerShape", "what stands around a mixture", [
    I32EnumAttrCase<"standard", 0>, I32EnumAttrCase<"shortcut", 1>]>;
def Exp_GroupScore : Exp_Enum<"GroupScore", "what groups of experts are ordered by", [
    I32EnumAttrCase<"max", 0>, I32EnumAttrCase<"top2_sum", 1>]>;
def Exp_Tokenizer : Exp_Enum<"Tokenizer", "how text becomes tokens", [I32EnumAttrCase<"byte", 0>]>;
def Exp_Split : Exp_Enum<"Split", "what a data set is for", [
    I32EnumAttrCase<"train", 0>, I32EnumAttrCase<"validation", 1>]>;
def Exp_ComputeFormat : Exp_Enum<"ComputeFormat", "number format of a run", [
    I32EnumAttrCase<"f32", 0>, I32EnumAttrCase<"bf16", 1>, I32EnumAttrCase<"f64", 2>]>;
def Exp_StateFormat : Exp_Enum<"StateFormat", "number format of what is kept", [
    I32EnumAttrCase<"f32", 0>, I32EnumAttrCase<"bf16", 1>]>;
def Exp_ExpertFormat : Exp_Enum<"ExpertFormat", "number format of the experts' products", [
    I32EnumAttrCase<"compute", 0>, I32EnumAttrCase<"fp8", 1>]>;
def Exp_SumOrder : Exp_Enum<"SumOrder", "order in which sums over micro-batches are formed", [
    I32EnumAttrCase<"fast", 0>, I32EnumAttrCase<"ordered", 1>]>;
def Exp_Remat : Exp_Enum<"Remat", "what the backward computes again instead of keeping it", [
    I32EnumAttrCase<"none", 0>, I32EnumAttrCase<"selective", 1>, I32EnumAttrCase<"full", 2>]>;

#endif
