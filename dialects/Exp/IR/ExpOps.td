#ifndef MOEC_DIALECTS_EXP_IR_EXPOPS_TD
#define MOEC_DIALECTS_EXP_IR_EXPOPS_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "dialects/Exp/IR/ExpEnums.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/SymbolInterfaces.td"

def Exp_Dialect : Dialect {
  let name = "exp";
  let cppNamespace = "::moec::exp";
  let summary = "The experiment as its author declared it";
  let description = [{
    One `exp.experiment` holds one section op for each section of the JSON spec. The dialect has no tensors: it holds
    the user's declaration, with every default filled in. The JSON reader makes the experiment; a hand-written `.mlir`
    file with the same ops is compiled in the same way. `moec-build-programs` removes the experiment.

    Sections are ops, and fields are their attributes (listed once, in dialects/Exp/IR/Fields.cpp). Methods are
    `#exp.method` attributes; the file of each method declares its fields. Every op's location names the JSON pointer
    and the place in the file; `fieldLoc` finds the place of one field. docs/dialects/Exp.md lists the rules by label.
  }];
  let useDefaultAttributePrinterParser = 1;
  let extraClassDeclaration = [{
    /// The methods that attributes may name; filled by compiler/Methods at registration.
    MethodRegistry &getMethods() { return *methods; }

  private:
    std::unique_ptr<MethodRegistry> methods = std::make_unique<MethodRegistry>();

  public:
  }];
}

class Exp_Op<string mnemonic, list<Trait> traits = []> : Op<Exp_Dialect, mnemonic, traits>;
// A section: one of its kind (or one of each name) directly inside exp.experiment.
class Exp_Section<string mnemonic, list<Trait> traits = []>
    : Exp_Op<mnemonic, !listconcat([HasParent<"ExperimentOp">], traits)> {
  let assemblyFormat = "attr-dict";
  let hasVerifier = 1;
}

def Exp_MethodAttr : AttrDef<Exp_Dialect, "Method"> {
  let mnemonic = "method";
  let summary = "A method with its fields: #exp.method<\"loss\", \"load_balance\", {scope = \"micro\"}>";
  let description = [{
    `category` is that of one of the interfaces in compiler/Methods/Methods.h: routing, score, balance, forced, loss,
    watch, optimizer, schedule, ... (method_c1) the kind is registered; (method_c2) every field is one of the method's,
    of its type and in its range, and all of them are there (the reader fills in defaults).
  }];
  let parameters = (ins StringRefParameter<>:$category, StringRefParameter<>:$kind, "::mlir::DictionaryAttr":$fields);
  let assemblyFormat = "`<` $category `,` $kind `,` $fields `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    double getFloat(::llvm::StringRef name) const;
    int64_t getInt(::llvm::StringRef name) const;
    // Of a field with a derived default: whether the user gave it.
    bool has(::llvm::StringRef name) const { return getFields().contains(name); }
    bool getBool(::llvm::StringRef name) const;
    ::llvm::StringRef getString(::llvm::StringRef name) const;
    ::llvm::ArrayRef<double> getFloats(::llvm::StringRef name) const;
  }];
}

def Exp_ExperimentOp : Exp_Op<"experiment", [Symbol, NoTerminator, SingleBlock, IsolatedFromAbove]> {
  let summary = "One experiment";
  let description = [{
    Constraints across sections: (C1) there is exactly one of model, attention, optimizer, data, batch, duration,
    precision, memory, evaluate, checkpoint, metrics; at most one ffn, moe, multi_token, parallel; (C2) router is there
    exactly when moe is; (C3) loss, group and dataset names are unique; (C4) micro_sequences divides sequences; (C5) ffn
    is there exactly when some layer is not MoE; (C6) losses on routers need moe; (C7) so do fp8 experts; (C8) no method
    finds a conflict with another part; (C9) no step number (`at`, `until`, ...) lies after the last step; (C10) no two
    changes of one key are at one step.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$version, I64Attr:$seed);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// The one section of type T, or null.
    template <typename T> T section() {
      for (auto &op : getBody().front())
        if (auto found = ::llvm::dyn_cast<T>(op))
          return found;
      return T();
    }
    template <typename T> auto sections() { return getBody().front().getOps<T>(); }
  }];
}

def Exp_ModelOp : Exp_Section<"model"> {
  let summary = "/model: the decoder as a whole";
  let arguments = (ins I64Attr:$vocab_size, I64Attr:$hidden_size, I64Attr:$num_layers, BoolAttr:$tie_embeddings,
    Exp_Choice<Exp_NormPlacement>:$norm_placement, F64Attr:$norm_eps, F64Attr:$init_std,
    Exp_Choice<Exp_ResidualScale>:$residual_scale);
}
def Exp_AttentionOp : Exp_Section<"attention"> {
  let summary = "/model/attention: grouped-query causal attention";
  let description = "window 0: a position sees all positions up to its own.";
  let arguments = (ins I64Attr:$num_heads, I64Attr:$num_kv_heads, I64Attr:$head_dim, F64Attr:$rope_theta,
    Exp_Choice<Exp_QkNorm>:$qk_norm, DefaultValuedAttr<I64Attr, "0">:$window);
}
def Exp_FfnOp : Exp_Section<"ffn"> {
  let summary = "/model/ffn: the feed-forward block of dense layers";
  let arguments = (ins Exp_Choice<Exp_BlockShape>:$kind, I64Attr:$inner_size);
}
def Exp_MoeOp : Exp_Section<"moe"> {
  let summary = "/model/moe: which layers are mixtures, and of what";
  let description = [{
    Layer i is MoE when i >= first_layer and (i - first_layer) % every == 0. capacity_factor 0 = dropless.
    zero_experts: outputs of the router beyond num_experts, whose expert is the identity. top_k_per_layer: for each
    mixture layer; empty = top_k everywhere. (moe_c3) there is one number for each mixture layer, a whole number from 1
    to top_k.
  }];
  let arguments = (ins I64Attr:$first_layer, I64Attr:$every, I64Attr:$num_experts, I64Attr:$top_k,
    Exp_Choice<Exp_BlockShape>:$expert_kind, I64Attr:$expert_inner_size, I64Attr:$shared_experts,
    F64Attr:$capacity_factor, Exp_Choice<Exp_DropRule>:$drop, DefaultValuedAttr<I64Attr, "0">:$zero_experts,
    DefaultValuedAttr<Exp_Choice<Exp_LayerShape>, "::moec::exp::LayerShape::standard">:$block,
    DefaultValuedAttr<DenseF64ArrayAttr, "{}">:$top_k_per_layer);
}
def Exp_RouterOp : Exp_Section<"router"> {
  let summary = "/model/router: how tokens choose experts";
  let description = [{
    method: whether tokens or experts choose. groups 0 = none; (router_c2) groups divides the number of the router's
    outputs, and top_groups groups together have top_k experts or more. jitter 0 = none. balance, forced: absent = none.
  }];
  let arguments = (ins Exp_MethodAttr:$method, Exp_MethodAttr:$score, BoolAttr:$normalize, F64Attr:$scale,
    DefaultValuedAttr<I64Attr, "0">:$groups, DefaultValuedAttr<I64Attr, "1">:$top_groups,
    DefaultValuedAttr<Exp_Choice<Exp_GroupScore>, "::moec::exp::GroupScore::max">:$group_score,
    DefaultValuedAttr<F64Attr, "::llvm::APFloat(0.0)">:$jitter,
    OptionalAttr<Exp_MethodAttr>:$balance, OptionalAttr<Exp_MethodAttr>:$forced);
}
def Exp_MultiTokenOp : Exp_Section<"multi_token"> {
  let summary = "/model/multi_token: modules that predict tokens further ahead";
  let arguments = (ins I64Attr:$depth, F64Attr:$weight);
}
def Exp_LossOp : Exp_Section<"loss"> {
  let summary = "/losses/<name>: a term beside the cross-entropy";
  let arguments = (ins StrAttr:$name, F64Attr:$weight, Exp_MethodAttr:$method);
}
def Exp_OptimizerOp : Exp_Section<"optimizer"> {
  let summary = "/optimizer: the default update rule, learning rate and clipping";
  let description = "clip_norm 0 = no clipping. The method's fields hold betas, eps, weight_decay, ...";
  let arguments = (ins Exp_MethodAttr:$method, F64Attr:$lr, F64Attr:$clip_norm, Exp_MethodAttr:$schedule,
                       OptionalAttr<Exp_MethodAttr>:$scaling);
}
def Exp_GroupOp : Exp_Section<"group"> {
  let summary = "/optimizer/groups/<name>: parameters by name pattern with their own method, or changed fields";
  let description = [{
    Patterns know `*` (any run of characters), `{a,b}` and `{0..3}`. The first group that matches a parameter takes it;
    groups keep the order of the file.
  }];
  let arguments = (ins StrAttr:$name, StrArrayAttr:$match, Exp_MethodAttr:$method, F64Attr:$lr);
}
def Exp_DataOp : Exp_Section<"data"> {
  let summary = "/data: tokenizer and sequence length";
  let arguments = (ins Exp_Choice<Exp_Tokenizer>:$tokenizer, I64Attr:$seq_len);
}
def Exp_DatasetOp : Exp_Section<"dataset"> {
  let summary = "/data/train/<name> or /data/validation/<name>";
  let arguments = (ins Exp_Choice<Exp_Split>:$split, StrAttr:$name, StrAttr:$path, F64Attr:$weight);
}
def Exp_BatchOp : Exp_Section<"batch"> {
  let summary = "/batch: sequences of a step and of a micro-batch";
  let arguments = (ins I64Attr:$sequences, I64Attr:$micro_sequences);
}
def Exp_ChangeOp : Exp_Section<"change"> {
  let summary = "/changes/<name>: settings that take effect from a step on";
  let description = "at_step: number of the first step with them; the first step of the run is 1.";
  let arguments = (ins StrAttr:$name, I64Attr:$at_step, DenseF64ArrayAttr:$top_k_per_layer);
}
def Exp_DurationOp : Exp_Section<"duration"> {
  let summary = "/duration: optimizer steps of the run ({\"tokens\": n} is turned into steps, rounded up)";
  let arguments = (ins I64Attr:$steps);
}
def Exp_PrecisionOp : Exp_Section<"precision"> {
  let summary = "/precision: number formats";
  let description = [{
    (precision_c1) master, optimizer and gradients are f32 unless compute is bf16; (precision_c2) experts is fp8 only
    where compute is bf16.
  }];
  let arguments = (ins Exp_Choice<Exp_ComputeFormat>:$compute,
    DefaultValuedAttr<Exp_Choice<Exp_StateFormat>, "::moec::exp::StateFormat::f32">:$master,
    DefaultValuedAttr<Exp_Choice<Exp_StateFormat>, "::moec::exp::StateFormat::f32">:$optimizer,
    DefaultValuedAttr<Exp_Choice<Exp_StateFormat>, "::moec::exp::StateFormat::f32">:$gradients,
    DefaultValuedAttr<Exp_Choice<Exp_ExpertFormat>, "::moec::exp::ExpertFormat::compute">:$experts,
    DefaultValuedAttr<Exp_Choice<Exp_SumOrder>, "::moec::exp::SumOrder::fast">:$reduce);
}
def Exp_ParallelOp : Exp_Section<"parallel"> {
  let summary = "/parallel: how the work of a step is divided over ranks";
  let description = [{
    Absent: one rank. (parallel_c1) data divides the micro-batches of a step; (parallel_c2) experts divides the
    experts of a layer and the sequences of a micro-batch.
  }];
  let arguments = (ins DefaultValuedAttr<I64Attr, "1">:$data, DefaultValuedAttr<I64Attr, "1">:$experts,
    DefaultValuedAttr<I64Attr, "1">:$zero);
}
def Exp_MemoryOp : Exp_Section<"memory"> {
  let summary = "/memory: what is kept for the backward";
  let arguments = (ins Exp_Choice<Exp_Remat>:$remat);
}
def Exp_EvaluateOp : Exp_Section<"evaluate"> {
  let summary = "/evaluate: cadence and size of validation (every_steps 0 = never)";
  let arguments = (ins I64Attr:$every_steps, I64Attr:$batches);
}
def Exp_CheckpointOp : Exp_Section<"checkpoint"> {
  let summary = "/checkpoint: cadence (0 = only at the end) and how many are kept";
  let arguments = (ins I64Attr:$every_steps, I64Attr:$keep_last);
}
def Exp_MetricsOp : Exp_Section<"metrics"> {
  let summary = "/metrics: cadence of the log";
  let arguments = (ins I64Attr:$every_steps);
}
def Exp_WatchOp : Exp_Section<"watch"> {
  let summary = "/metrics/watch/<name>: a measure of the routers, for the log";
  let arguments = (ins StrAttr:$name, Exp_MethodAttr:$method);
}

#endif
