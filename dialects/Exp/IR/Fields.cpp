// The field table. A new key of the language takes one line here and one attribute in ExpOps.td.
#include "dialects/Exp/IR/Exp.h"

using namespace moec::exp;

namespace {
// Bounds that keep every product of sizes inside 64 bits with room to spare.
constexpr double kMaxSize = 1 << 24;
constexpr double kMaxCount = 1 << 20;
constexpr double kMaxSteps = 1e12;

Field integer(std::string key, std::string attribute, std::string fallback, double minimum, double maximum,
              std::string unit, std::string doc) {
  return {.key = std::move(key),
          .type = FieldType::Integer,
          .fallback = std::move(fallback),
          .minimum = minimum,
          .maximum = maximum,
          .choices = {},
          .unit = std::move(unit),
          .doc = std::move(doc),
          .attribute = std::move(attribute)};
}

/// The minimum is 0; 0 itself is refused unless `zero`.
Field number(std::string key, std::string attribute, std::string fallback, bool zero, double maximum, std::string doc) {
  return {.key = std::move(key),
          .type = FieldType::Number,
          .fallback = std::move(fallback),
          .minimum = 0,
          .maximum = maximum,
          .choices = {},
          .unit = "",
          .doc = std::move(doc),
          .openMinimum = !zero,
          .attribute = std::move(attribute)};
}

Field eps(std::string key, std::string attribute, std::string fallback, std::string doc) {
  Field field = number(std::move(key), std::move(attribute), std::move(fallback), true, 1, std::move(doc));
  field.minimum = kLeastEps;
  return field;
}

std::string quoted(llvm::StringRef word) { return "\"" + word.str() + "\""; }

/// The words of an enum of ExpEnums.td. Its values count from 0.
template <typename E> std::vector<std::string> wordsOf() {
  std::vector<std::string> words;
  for (uint32_t i = 0; !stringifyEnum(static_cast<E>(i)).empty(); ++i)
    words.push_back(stringifyEnum(static_cast<E>(i)).str());
  return words;
}

template <typename E> Field choice(std::string key, std::string attribute, E fallback, std::string doc) {
  return {.key = std::move(key),
          .type = FieldType::Choice,
          .fallback = quoted(stringifyEnum(fallback)),
          .choices = wordsOf<E>(),
          .unit = "",
          .doc = std::move(doc),
          .attribute = std::move(attribute)};
}

/// A kind with a single choice: it is checked, but the op has no attribute for it.
Field onlyKind(std::string key, const char *kind, std::string doc) {
  return {.key = std::move(key),
          .type = FieldType::Choice,
          .fallback = quoted(kind),
          .choices = {kind},
          .unit = "",
          .doc = std::move(doc)};
}

Field other(FieldType type, std::string key, std::string attribute, std::string fallback, std::string doc) {
  return {.key = std::move(key),
          .type = type,
          .fallback = std::move(fallback),
          .choices = {},
          .unit = "",
          .doc = std::move(doc),
          .attribute = std::move(attribute)};
}

Field steps(std::string key, StepsKind kind, std::string attribute, std::string fallback, std::string doc) {
  Field field = stepsField(std::move(key), kind, std::move(fallback), std::move(doc));
  field.attribute = std::move(attribute);
  return field;
}

Field numbers(std::string key, std::string attribute, std::string fallback, double minimum, double maximum,
              std::string unit, std::string doc) {
  Field field = other(FieldType::NumberList, std::move(key), std::move(attribute), std::move(fallback), std::move(doc));
  field.minimum = minimum;
  field.maximum = maximum;
  field.unit = std::move(unit);
  return field;
}

Field method(std::string key, std::string attribute, std::string category, std::string fallback, std::string doc) {
  Field field = other(FieldType::Method, std::move(key), std::move(attribute), std::move(fallback), std::move(doc));
  field.category = std::move(category);
  return field;
}

Field orNull(Field field) {
  field.nullable = true;
  return field;
}

std::vector<Section> modelSections() {
  return {
      {.pointer = "/model",
       .op = "exp.model",
       .summary = "The decoder as a whole.",
       .fields = {integer("vocab_size", "vocab_size", "256", 1, kMaxSize, "tokens",
                          "Rows of the embedding and of the head."),
                  integer("hidden_size", "hidden_size", "", 1, kMaxCount, "elements", "Width of the residual stream."),
                  integer("num_layers", "num_layers", "", 1, 4096, "layers", "Decoder layers."),
                  other(FieldType::Boolean, "tie_embeddings", "tie_embeddings", "false",
                        "Whether the head is the transposed embedding."),
                  onlyKind("norm.kind", "rms", "Kind of every norm."),
                  choice("norm.placement", "norm_placement", NormPlacement::pre,
                         "pre: a norm before each block; peri: one before and one after."),
                  eps("norm.eps", "norm_eps", "1e-5", "Added to the mean square under the root."),
                  onlyKind("init.kind", "normal", "Distribution of initial weights."),
                  number("init.std", "init_std", "0.02", true, 100, "Standard deviation of initial weights."),
                  choice("init.residual_scale", "residual_scale", ResidualScale::inverse_root,
                         "Factor on the initial weights that write to the residual stream (L = num_layers).")}},
      {.pointer = "/model/attention",
       .op = "exp.attention",
       .summary = "Grouped-query causal attention.",
       .fields = {integer("num_heads", "num_heads", "", 1, 65536, "heads", "Query heads."),
                  integer("num_kv_heads", "num_kv_heads", "=model.attention.num_heads", 1, 65536, "heads",
                          "Heads of keys and values; each serves num_heads / num_kv_heads query heads."),
                  integer("head_dim", "head_dim", "=model.hidden_size / model.attention.num_heads", 1, 65536,
                          "elements", "Width of a head; even."),
                  number("rope.theta", "rope_theta", "10000", false, 1e12, "Base of the rotary position frequencies."),
                  choice("qk_norm", "qk_norm", QkNorm::none,
                         "Norm of queries and keys: of each head, or of all heads at once."),
                  orNull(integer("window", "window", "null", 1, kMaxSize, "positions",
                                 "A position sees itself and the window - 1 before it; null: all before it."))}},
      {.pointer = "/model/ffn",
       .op = "exp.ffn",
       .summary = "The feed-forward block of the layers that are not mixtures.",
       .fields = {choice("kind", "kind", BlockShape::swiglu, "Shape of the block."),
                  integer("inner_size", "inner_size", "", 1, kMaxCount, "elements", "Width inside the block.")},
       .optional = true},
      {.pointer = "/model/moe",
       .op = "exp.moe",
       .summary = "Which layers are mixtures of experts, and of what. null: a dense model.",
       .fields =
           {integer("layers.from", "first_layer", "0", 0, 4096, "layers", "The first layer that is a mixture."),
            integer("layers.every", "every", "1", 1, 4096, "layers", "From there on, every n-th layer is a mixture."),
            integer("num_experts", "num_experts", "", 1, 65536, "experts", "Routed experts of a layer."),
            integer("top_k", "top_k", "", 1, 1024, "experts", "Experts that a token goes to."),
            choice("expert.kind", "expert_kind", BlockShape::swiglu, "Shape of an expert."),
            integer("expert.inner_size", "expert_inner_size", "", 1, kMaxCount, "elements", "Width inside an expert."),
            integer("shared_experts", "shared_experts", "0", 0, 1024, "experts",
                    "Experts that every token goes to, beside the routed ones."),
            number(
                "capacity.factor", "capacity_factor", "0", false, 65536,
                "Rows of an expert = factor * tokens * top_k / num_experts; with capacity null no token is dropped."),
            choice("capacity.drop", "drop", DropRule::lowest_weight,
                   "Which slots an overfull expert drops. lowest_weight: those of the lowest weight; position: the "
                   "last ones; random2 (GShard): second choices before first ones, and in training a second choice "
                   "takes part only with the probability min(1, k times its share)."),
            integer("zero_experts", "zero_experts", "0", 0, 65536, "experts",
                    "Further outputs of the router whose expert returns its input, at no cost."),
            choice("block", "block", LayerShape::standard,
                   "standard: attention, then the mixture. shortcut: attention and a dense block twice; a mixture's "
                   "result is added at the end."),
            orNull(numbers("top_k_per_layer", "top_k_per_layer", "null", 1, 1024, "experts",
                           "top_k of each mixture layer, at most top_k; null: top_k everywhere."))},
       .optional = true,
       .nullableKey = "capacity",
       .nullSwitch = "capacity.factor"},
      {.pointer = "/model/router",
       .op = "exp.router",
       .summary = "How tokens choose experts.",
       .fields = {method("score", "score", "score", "\"softmax\"", "How router logits become scores."),
                  other(FieldType::Boolean, "normalize", "normalize", "false",
                        "Whether the weights of the chosen experts are made to sum to 1."),
                  number("scale", "scale", "1", false, 1e6, "Factor on the weights of the chosen experts."),
                  integer("groups.count", "groups", "0", 1, 65536, "groups",
                          "Equal groups of consecutive experts, for example those of a node; groups null: none."),
                  integer("groups.top", "top_groups", "1", 1, 65536, "groups",
                          "Groups from which a token's experts are chosen."),
                  choice("groups.score", "group_score", GroupScore::max,
                         "The score of a group: that of its best expert, or the sum of its best two."),
                  number(
                      "jitter", "jitter", "0", true, 0.5,
                      "In training, elements of the router's input are multiplied by uniform numbers from 1 - jitter "
                      "to 1 + jitter."),
                  orNull(method("balance", "balance", "balance", "null",
                                "Method that keeps the loads of experts similar without a loss; null: none.")),
                  orNull(method("debug", "forced", "forced", "null",
                                "Routes that do not follow the router, for measurements; null: the router decides."))},
       .optional = true,
       .category = "routing",
       .nullableKey = "groups",
       .nullSwitch = "groups.count",
       .presentWith = "/model/moe",
       .defaultKind = "token_choice"},
      {.pointer = "/model/multi_token",
       .op = "exp.multi_token",
       .summary =
           "Modules of attention and a dense block that predict tokens further ahead, in training alone. null: none.",
       .fields = {integer("depth", "depth", "1", 1, 16, "tokens",
                          "Modules; the last predicts depth tokens further. Less than seq_len."),
                  number("weight", "weight", "0.3", false, 1e6, "Factor on the mean of their losses.")},
       .optional = true},
  };
}

std::vector<Section> trainingSections() {
  return {
      {.pointer = "/losses/*",
       .op = "exp.loss",
       .summary = "A loss term beside the cross-entropy, which is always there. `kind` defaults to the name.",
       .fields = {number("weight", "weight", "", true, 1e6,
                         "Factor on the term; 0: it is not built, and has no metric.")},
       .category = "loss"},
      {.pointer = "/optimizer",
       .op = "exp.optimizer",
       .summary = "The update rule of all parameters that no group takes, learning rate and clipping.",
       .fields = {number("lr", "lr", "", false, 1e6, "Peak learning rate."),
                  orNull(number("clip_norm", "clip_norm", "1", false, 1e12,
                                "Gradients are scaled down to this norm (over all parameters); null: never.")),
                  method("schedule", "schedule", "schedule", "\"constant\"",
                         "Learning rate over the run, as a factor."),
                  method("scaling", "scaling", "scaling", "\"none\"",
                         "How learning rates and initial weights follow from the sizes of model, batch and run.")},
       .category = "optimizer"},
      {.pointer = "/optimizer/groups/*",
       .op = "exp.group",
       .summary = "Parameters with settings of their own; the first group that matches a parameter takes it. "
                  "Keys not given are those of /optimizer when the kind is the same.",
       .fields = {other(FieldType::TextList, "match", "match", "",
                        "Patterns of logical names (\"layers.{0..3}.moe.*\"): `*`, `{a,b}`, `{0..3}`."),
                  number("lr", "lr", "=optimizer.lr", true, 1e6, "Peak learning rate; 0 freezes the group.")},
       .category = "optimizer"},
      {.pointer = "/data",
       .op = "exp.data",
       .summary = "The text that a run reads.",
       .fields = {choice("tokenizer", "tokenizer", Tokenizer::byte, "byte: each byte of the text is a token."),
                  integer("seq_len", "seq_len", "", 1, kMaxSize, "tokens", "Tokens of a sequence.")}},
      {.pointer = "/data/train/*",
       .op = "exp.dataset",
       .summary = "A source of training text.",
       .fields = {other(FieldType::Text, "path", "path", "",
                        "File, or pattern with `*`: see [data](../data.md#patterns)."),
                  number("weight", "weight", "1", true, 1e12,
                         "Share of the tokens, relative to the other sources; 0: not read.")}},
      {.pointer = "/data/validation/*",
       .op = "exp.dataset",
       .summary = "A source of validation text.",
       .fields = {other(FieldType::Text, "path", "path", "",
                        "File, or pattern with `*`: see [data](../data.md#patterns)."),
                  number("weight", "weight", "1", true, 1e12,
                         "Share of its mean loss in the loss, relative to the other sources; 0: not read.")}},
      {.pointer = "/batch",
       .op = "exp.batch",
       .summary = "Sequences of a step.",
       .fields = {integer("sequences", "sequences", "", 1, kMaxCount, "sequences", "Sequences of one optimizer step."),
                  integer("micro_sequences", "micro_sequences", "=batch.sequences", 1, kMaxCount, "sequences",
                          "Sequences held in memory at once; divides sequences.")}},
      {.pointer = "/changes/*",
       .op = "exp.change",
       .summary = "Settings that take effect from a step on.",
       .fields = {steps("at", StepsKind::Moment, "at_step", "", "The first step with them; the first of the run is 1."),
                  numbers("top_k_per_layer", "top_k_per_layer", "", 1, 1024, "experts", "As in /model/moe.")}},
      {.pointer = "/duration",
       .op = "exp.duration",
       .summary = "Length of the run.",
       .fields = {steps("", StepsKind::Length, "steps", "",
                        "{\"steps\": n} or {\"tokens\": n} (rounded up to whole steps).")}},
      {.pointer = "/precision",
       .op = "exp.precision",
       .summary = "Number formats.",
       .fields =
           {choice(
                "compute", "compute", ComputeFormat::f32,
                "bf16: activations and operands of products are bf16 in memory, sums are f32. f64: to check results."),
            choice("master", "master", StateFormat::f32, "With compute bf16: parameters as the optimizer sees them."),
            choice("optimizer", "optimizer", StateFormat::f32, "With compute bf16: states of the optimizer (moments)."),
            choice("gradients", "gradients", StateFormat::f32, "With compute bf16: sums of gradients."),
            choice("experts", "experts", ExpertFormat::compute,
                   "fp8, with compute bf16: products of the experts, and those for the gradients of their inputs, have "
                   "operands in e4m3, scaled by row and column. compute: the format of `compute`."),
            choice("reduce", "reduce", SumOrder::fast,
                   "ordered: sums over the micro-batches of a step have one order, whatever number of ranks makes them "
                   "(see [parallel](../parallel.md#orders-of-sums)); takes memory for log2(micro-batches of a rank) "
                   "more copies of the gradients. fast: in the order in which they come.")}},
      {.pointer = "/parallel",
       .op = "exp.parallel",
       .summary = "How the work of a step is divided over ranks; see [parallel](../parallel.md). null: one rank.",
       .fields = {integer("data", "data", "1", 1, 4096, "ranks",
                          "Ranks that deal out the micro-batches of a step; divides them."),
                  integer("experts.expert", "experts", "1", 1, 4096, "ranks",
                          "Ranks that own some of the experts of each layer each, and take some of the sequences of a "
                          "micro-batch; divides both."),
                  integer(
                      "zero", "zero", "1", 0, 1, "",
                      "1: data ranks divide the state of elementwise optimizers and update a part of each parameter "
                      "each (ZeRO-1). 0: every rank keeps all of it. The numbers are the same.")},
       .optional = true},
      {.pointer = "/memory",
       .op = "exp.memory",
       .summary = "Memory or time.",
       .fields = {choice("remat", "remat", Remat::selective,
                         "What the backward computes again instead of keeping it.")}},
      {.pointer = "/evaluate",
       .op = "exp.evaluate",
       .summary = "Validation.",
       .fields = {steps("every", StepsKind::Cadence, "every_steps", "null", "Cadence, and the last step; null: never."),
                  integer("batches", "batches", "10", 1, kMaxCount, "micro-batches", "Size of one validation.")}},
      {.pointer = "/checkpoint",
       .op = "exp.checkpoint",
       .summary = "Checkpoints.",
       .fields = {steps("every", StepsKind::Cadence, "every_steps", "null",
                        "Cadence, and the last step; null: only the last step."),
                  integer("keep_last", "keep_last", "3", 1, kMaxCount, "checkpoints", "How many are kept.")}},
      {.pointer = "/metrics",
       .op = "exp.metrics",
       .summary = "The log.",
       .fields = {steps("every", StepsKind::Cadence, "every_steps", "{\"steps\": 10}",
                        "Cadence, and the first and the last step.")}},
      {.pointer = "/metrics/watch/*",
       .op = "exp.watch",
       .summary = "Measures of the routers for the log. `kind` defaults to the name.",
       .fields = {},
       .category = "watch"},
  };
}
} // namespace

Field moec::exp::stepsField(std::string key, StepsKind kind, std::string fallback, std::string doc) {
  Field field = other(FieldType::Steps, std::move(key), "", std::move(fallback), std::move(doc));
  field.minimum = field.fallback.empty() || (kind == StepsKind::Cadence && field.fallback != "null") ? 1 : 0;
  field.maximum = kMaxSteps;
  field.unit = "steps";
  field.stepsKind = kind;
  return field;
}

const std::vector<Section> &moec::exp::sections() {
  static const std::vector<Section> table = [] {
    std::vector<Section> all = {
        {.pointer = "",
         .op = "exp.experiment",
         .summary = "The experiment.",
         .fields = {integer("moec", "version", "", 1, 1, "", "Language version."),
                    other(FieldType::Text, "name", "sym_name", "", "Name of the experiment; names its output."),
                    integer("seed", "seed", "1", 0, 9007199254740991.0, "", "Seed of every random number.")}}};
    for (auto part : {modelSections(), trainingSections()})
      all.insert(all.end(), part.begin(), part.end());
    return all;
  }();
  return table;
}

const Section *moec::exp::findSection(const std::string &pointer) {
  for (const Section &section : sections())
    if (section.pointer == pointer)
      return &section;
  return nullptr;
}

const Section *moec::exp::findSectionOfOp(const std::string &op, const std::string &split) {
  for (const Section &section : sections())
    if (section.op == op && (op != "exp.dataset" || section.pointer == "/data/" + split + "/*"))
      return &section;
  return nullptr;
}

const Field *moec::exp::findField(const Section &section, const std::string &attribute) {
  for (const Field &field : section.fields)
    if (field.attribute == attribute)
      return &field;
  return nullptr;
}

const std::vector<Unsupported> &moec::exp::unsupportedKeys() {
  static const std::vector<Unsupported> table = {
      {"/growth", "{}"},
      {"/merge", ""},
      {"/parallel/pipeline", "1"},
      {"/parallel/attention", ""},
      {"/parallel/experts/tensor", "1"},
      {"/parallel/experts/dispatch", "\"auto\""},
      {"/parallel/experts/balance", "{\"kind\":\"none\"}"},
      {"/parallel/experts/placement", "{\"kind\":\"contiguous\"}"},
      {"/parallel/wire", ""},
      {"/parallel/overlap", ""},
      {"/parallel/outer", ""},
      {"/model/virtual_width", ""},
      {"/model/attention/prefill", "{\"kind\":\"dense\"}"},
      {"/optimizer/state_dtype", "\"f32\""},
      {"/memory/offload", ""},
      {"/memory/max_load", ""},
      {"/checkpoint/async", "false"},
      {"/metrics/tensorboard", "false"},
  };
  return table;
}
