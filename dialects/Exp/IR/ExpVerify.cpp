// The rules of the exp dialect. Labels (C1), (attention_c1), ... are those of the ODS descriptions,
// docs/dialects/Exp.md and test/dialects/Exp. No check stops at the first failure, so that an author sees all errors at
// once.
#include "dialects/Exp/IR/Exp.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace moec::exp;

static int64_t asInt(uint64_t value) { return static_cast<int64_t>(value); }

//===--- One section ---===//

/// Checks every attribute against the field table (fields_c1: type, range, choice), and names (fields_c2).
static LogicalResult checkFields(Operation *op) {
  std::string split;
  if (auto dataset = dyn_cast<DatasetOp>(op))
    split = dataset.getSplitAttr().str();
  const Section *section = findSectionOfOp(op->getName().getStringRef().str(), split);
  if (!section) {
    report(op, "split", Rule::Choice) << "\"" << split << "\" is not a choice; expected \"train\" or \"validation\"";
    return failure();
  }
  bool ok = true;
  for (const Field &field : section->fields) {
    Attribute value = field.attribute.empty() ? Attribute() : op->getAttr(field.attribute);
    if (!value)
      continue;
    // 0 stands for null in fields that can be switched off.
    auto number = dyn_cast<FloatAttr>(value);
    auto integer = dyn_cast<IntegerAttr>(value);
    bool zero = number ? number.getValueAsDouble() == 0.0 : integer && integer.getValue().isZero();
    if (zero && (field.key == section->nullSwitch || field.nullable))
      continue;
    if (auto problem = checkValue(field, value, op->getContext())) {
      report(op, field.attribute, problem->rule) << problem->text;
      ok = false;
    }
  }
  if (!section->category.empty()) {
    Field method{.key = "kind",
                 .type = FieldType::Method,
                 .fallback = "",
                 .choices = {},
                 .unit = "",
                 .doc = "",
                 .category = section->category};
    if (auto problem = checkValue(method, op->getAttr("method"), op->getContext())) {
      report(op, "method", problem->rule) << problem->text;
      ok = false;
    }
  }
  if (section->isMap()) {
    llvm::StringRef name = op->getAttrOfType<StringAttr>("name").getValue();
    bool good =
        !name.empty() && llvm::all_of(name, [](char c) { return llvm::isLower(c) || llvm::isDigit(c) || c == '_'; });
    if (!good || name.size() > kMaxName) {
      report(op, "", Rule::Name) << "\"" << name.take_front(kMaxName)
                                 << "\" is not a name; expected only a-z, 0-9 and _"
                                 << (good ? ", at most 200 of them" : "");
      ok = false;
    }
  }
  return success(ok);
}

static LogicalResult checkAttention(AttentionOp op) {
  bool ok = true;
  if (op.getNumHeads() % op.getNumKvHeads() != 0) { // attention_c1
    report(op, "num_kv_heads", Rule::KvHeads)
            .append("num_kv_heads ", asInt(op.getNumKvHeads()), " does not divide num_heads ", asInt(op.getNumHeads()))
            .attachNote(placeOf(op, "num_heads"))
        << "num_heads is " << asInt(op.getNumHeads());
    ok = false;
  }
  if (op.getHeadDim() % 2 != 0) { // attention_c2
    report(op, "head_dim", Rule::HeadDim)
        << "head_dim " << asInt(op.getHeadDim()) << " is odd; rotary positions need pairs of elements";
    ok = false;
  }
  return success(ok);
}

static LogicalResult checkMoe(MoeOp op) {
  if (op.getTopK() <= op.getNumExperts()) // moe_c1
    return success();
  report(op, "top_k", Rule::TopK)
          .append("top_k ", asInt(op.getTopK()), " is larger than num_experts ", asInt(op.getNumExperts()))
          .attachNote(placeOf(op, "num_experts"))
      << "num_experts is " << asInt(op.getNumExperts());
  return failure();
}

// router_c2, except for the number of experts, which belongs to another section.
static LogicalResult checkRouter(RouterOp op) {
  if (op.getGroups() == 0 || op.getTopGroups() <= op.getGroups())
    return success();
  report(op, "top_groups", Rule::Groups)
          .append("groups.top ", asInt(op.getTopGroups()), " is larger than groups.count ", asInt(op.getGroups()))
          .attachNote(placeOf(op, "groups"))
      << "groups.count is " << asInt(op.getGroups());
  return failure();
}

static LogicalResult checkBatch(BatchOp op) {
  if (op.getSequences() % op.getMicroSequences() == 0) // (C4)
    return success();
  report(op, "micro_sequences", Rule::MicroBatch)
          .append("micro_sequences ", asInt(op.getMicroSequences()), " does not divide sequences ",
                  asInt(op.getSequences()))
          .attachNote(placeOf(op, "sequences"))
      << "sequences is " << asInt(op.getSequences());
  return failure();
}

static LogicalResult checkPrecision(PrecisionOp op) {
  bool ok = true;
  if (op.getCompute() == ComputeFormat::bf16)
    return success();
  llvm::StringRef compute = stringifyEnum(op.getCompute());
  std::pair<llvm::StringRef, StateFormat> kept[] = {
      {"master", op.getMaster()}, {"optimizer", op.getOptimizer()}, {"gradients", op.getGradients()}};
  for (auto [key, format] : kept) { // precision_c1
    if (format == StateFormat::f32)
      continue;
    report(op, key, Rule::NarrowState)
            .append(key, " is ", stringifyEnum(format), ", but compute is ", compute, "; set compute to \"bf16\", or ",
                    key, " to \"f32\"")
            .attachNote(placeOf(op, "compute"))
        << "compute is " << compute;
    ok = false;
  }
  if (op.getExperts() == ExpertFormat::fp8) { // precision_c2
    report(op, "experts", Rule::NarrowExperts)
            .append("experts is fp8, but compute is ", compute, "; set compute to \"bf16\", or experts to \"compute\"")
            .attachNote(placeOf(op, "compute"))
        << "compute is " << compute;
    ok = false;
  }
  return success(ok);
}

static LogicalResult checkSection(Operation *op) {
  if (failed(checkFields(op)))
    return failure();
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<AttentionOp>(checkAttention)
      .Case<MoeOp>(checkMoe)
      .Case<RouterOp>(checkRouter)
      .Case<BatchOp>(checkBatch)
      .Case<PrecisionOp>(checkPrecision)
      .Default([](Operation *) { return success(); });
}

LogicalResult ModelOp::verify() { return checkSection(*this); }
LogicalResult AttentionOp::verify() { return checkSection(*this); }
LogicalResult FfnOp::verify() { return checkSection(*this); }
LogicalResult MoeOp::verify() { return checkSection(*this); }
LogicalResult RouterOp::verify() { return checkSection(*this); }
LogicalResult MultiTokenOp::verify() { return checkSection(*this); }
LogicalResult ChangeOp::verify() { return checkSection(*this); }
LogicalResult WatchOp::verify() { return checkSection(*this); }
LogicalResult LossOp::verify() { return checkSection(*this); }
LogicalResult OptimizerOp::verify() { return checkSection(*this); }
LogicalResult GroupOp::verify() { return checkSection(*this); }
LogicalResult DataOp::verify() { return checkSection(*this); }
LogicalResult DatasetOp::verify() { return checkSection(*this); }
LogicalResult BatchOp::verify() { return checkSection(*this); }
LogicalResult DurationOp::verify() { return checkSection(*this); }
LogicalResult PrecisionOp::verify() { return checkSection(*this); }
LogicalResult ParallelOp::verify() { return checkSection(*this); }
LogicalResult MemoryOp::verify() { return checkSection(*this); }
LogicalResult EvaluateOp::verify() { return checkSection(*this); }
LogicalResult CheckpointOp::verify() { return checkSection(*this); }
LogicalResult MetricsOp::verify() { return checkSection(*this); }

//===--- Between sections ---===//

namespace {
/// The checks of one experiment; each sets `ok` to false when it reports.
struct ExperimentCheck {
  ExperimentOp experiment;
  bool warnings; // false from the verifier, which runs many times
  bool ok = true, complete = true;

  InFlightDiagnostic error(Operation *section, llvm::StringRef attribute, Rule rule) {
    ok = false;
    return report(section, attribute, rule);
  }

  void checkPresence();
  void checkNames();
  void checkLayers(ModelOp model, FfnOp ffn, MoeOp moe);
  void checkExperts(PrecisionOp precision, MoeOp moe);
  void checkMultiToken(DataOp data);
  void checkParallel(BatchOp batch);
  void checkRouting(MoeOp moe, RouterOp router);
  void checkTopKLists(ModelOp model, MoeOp moe);
  void checkTopKList(Operation *section, llvm::ArrayRef<double> list, ModelOp model, MoeOp moe);
  void checkConflicts();
  void checkSchedule(OptimizerOp optimizer, DurationOp duration);
  void checkData();
  void checkSizes();
};
} // namespace

// (C1), (C2).
void ExperimentCheck::checkPresence() {
  for (const Section &section : sections()) {
    if (section.isMap() || section.pointer.empty())
      continue;
    Operation *found = nullptr;
    for (Operation &op : experiment.getBody().front()) {
      if (op.getName().getStringRef() != section.op)
        continue;
      if (found) {
        error(&op, "", Rule::Sections).append(section.op, " is there twice").attachNote(found->getLoc())
            << "first here";
      }
      found = &op;
    }
    complete &= found || section.optional;
    if (!found && !section.optional)
      error(experiment, "", Rule::Sections) << section.op << " is missing";
  }
  auto moe = experiment.section<MoeOp>();
  auto router = experiment.section<RouterOp>();
  complete &= router || !moe;
  if (moe && !router)
    error(moe, "", Rule::Sections) << "exp.moe needs exp.router";
  if (router && !moe)
    error(router, "", Rule::RouterUnused) << "router is given, but model.moe is null: nothing would read it";
}

// (C3).
void ExperimentCheck::checkNames() {
  llvm::StringMap<Operation *> seen;
  for (Operation &op : experiment.getBody().front()) {
    auto name = op.getAttrOfType<StringAttr>("name");
    if (!name)
      continue;
    auto [it, fresh] = seen.try_emplace(pointerOf(&op), &op);
    if (!fresh)
      error(&op, "", Rule::Repeated)
              .append("name \"", name.getValue(), "\" is there twice")
              .attachNote(it->second->getLoc())
          << "first here";
  }
}

// (C5), (C6) and moe_c2.
void ExperimentCheck::checkLayers(ModelOp model, FfnOp ffn, MoeOp moe) {
  int64_t layers = model.getNumLayers();
  if (moe && asInt(moe.getFirstLayer()) >= layers) {
    error(moe, "first_layer", Rule::FirstLayer)
            .append("layers.from ", asInt(moe.getFirstLayer()), " is not below num_layers ", layers,
                    ", so no layer is a mixture")
            .attachNote(placeOf(model, "num_layers"))
        << "num_layers is " << layers;
    return;
  }
  int64_t dense = 0;
  for (int64_t i = 0; i < layers; ++i)
    dense += !moe || !isMoeLayer(moe, i);
  bool shortcut = moe && moe.getBlock() == LayerShape::shortcut;
  if (shortcut && !ffn)
    error(moe, "block", Rule::FfnMissing) << "layers of block \"shortcut\" have dense blocks too and need \"ffn\"";
  else if (dense && !ffn)
    error(model, "", Rule::FfnMissing) << dense << " of " << layers << " layers are not mixtures and need \"ffn\"";
  if (!dense && !shortcut && ffn)
    error(ffn, "", Rule::FfnUnused) << "every layer is a mixture: nothing would read ffn; remove it or set it to null";
  if (moe)
    return;
  auto unused = [&](Operation *section, llvm::StringRef what, llvm::StringRef name) {
    error(section, "", Rule::LossUnused) << what << " \"" << name
                                         << "\" is on routers, but model.moe is null: nothing would read it";
  };
  MethodRegistry &methods = getMethods(experiment.getContext());
  for (LossOp loss : experiment.sections<LossOp>()) {
    const Method *method = methods.find("loss", loss.getMethod().getKind().str());
    if (!method || method->needsMixture())
      unused(loss, "loss", loss.getName());
  }
  for (WatchOp watch : experiment.sections<WatchOp>())
    unused(watch, "measure", watch.getName());
  for (ChangeOp change : experiment.sections<ChangeOp>())
    unused(change, "change", change.getName());
}

// (C7).
void ExperimentCheck::checkExperts(PrecisionOp precision, MoeOp moe) {
  if (!moe && precision.getExperts() == ExpertFormat::fp8)
    error(precision, "experts", Rule::NarrowExpertsUnused)
        << "experts is fp8, but model.moe is null: nothing would read it; remove it or set it to \"compute\"";
}

// parallel_c1. (C4) is reported by itself.
void ExperimentCheck::checkParallel(BatchOp batch) {
  auto parallel = experiment.section<ParallelOp>();
  int64_t micro = asInt(batch.getMicroSequences());
  if (!parallel || micro == 0 || asInt(batch.getSequences()) % micro != 0)
    return;
  if (int64_t owners = asInt(parallel.getExperts()); owners > 1) { // parallel_c2
    auto moe = experiment.section<MoeOp>();
    int64_t experts = moe ? asInt(moe.getNumExperts()) : 1, nearest = std::min({owners, experts, micro});
    while (experts % nearest != 0 || micro % nearest != 0)
      --nearest;
    if (nearest != owners)
      error(parallel, "experts", Rule::ExpertRanks)
              .append("expert is ", owners, ", which does not divide ",
                      moe ? std::to_string(experts) + " experts and " : std::string("a model without experts, or "),
                      micro, " sequences of a micro-batch; the nearest number that does is ", nearest)
              .attachNote(placeOf(batch, "micro_sequences"))
          << "a micro-batch has " << micro << " sequences";
  }
  int64_t microBatches = asInt(batch.getSequences()) / micro, data = asInt(parallel.getData());
  if (data < 1 || microBatches % data == 0)
    return;
  int64_t nearest = std::min(data, microBatches);
  while (microBatches % nearest != 0)
    --nearest;
  error(parallel, "data", Rule::DataRanks)
          .append("data is ", data, ", which does not divide the ", microBatches,
                  " micro-batches of a step; the nearest number that does is ", nearest)
          .attachNote(placeOf(batch, "micro_sequences"))
      << "a step has " << batch.getSequences() << " sequences, a micro-batch " << micro;
}

// A module that predicts d tokens further has seq_len - d positions of a sequence to learn from.
void ExperimentCheck::checkMultiToken(DataOp data) {
  auto multiToken = experiment.section<MultiTokenOp>();
  if (!multiToken || asInt(multiToken.getDepth()) < asInt(data.getSeqLen()))
    return;
  error(multiToken, "depth", Rule::Excluded)
          .append("depth ", asInt(multiToken.getDepth()), " leaves no position of a sequence to predict from; ",
                  "expected less than seq_len")
          .attachNote(placeOf(data, "seq_len"))
      << "seq_len is " << asInt(data.getSeqLen());
}

// router_c2: groups against the outputs of the router.
static std::string describeGroups(MoeOp moe, RouterOp router) {
  int64_t outputs = moe.getNumExperts() + moe.getZeroExperts(), groups = router.getGroups();
  if (outputs % groups != 0)
    return "groups.count " + std::to_string(groups) + " does not divide the " + std::to_string(outputs) + " experts";
  int64_t within = outputs / groups * router.getTopGroups();
  if (within < asInt(moe.getTopK()))
    return "groups.top " + std::to_string(router.getTopGroups()) + " of " + std::to_string(groups) + " groups have " +
           std::to_string(within) + " experts, fewer than top_k " + std::to_string(moe.getTopK());
  return "";
}

// router_c1: of every layer at every step.
void ExperimentCheck::checkRouting(MoeOp moe, RouterOp router) {
  if (std::string text = router.getGroups() == 0 ? "" : describeGroups(moe, router); !text.empty())
    error(router, "groups", Rule::Groups).append(text).attachNote(placeOf(moe, "num_experts"))
        << "num_experts is " << asInt(moe.getNumExperts());
  MethodRegistry &methods = getMethods(experiment.getContext());
  const Method *routing = methods.find("routing", router.getMethod().getKind().str());
  const Method *score = methods.find("score", router.getScore().getKind().str());
  TopKPlace least = findSmallestTopK(experiment);
  if (least.topK != 1 || !routing || !routing->hasTopK() || !score)
    return;
  std::string field = score->findConstantWeight(router.getScore(), router.getNormalize());
  if (field.empty())
    return;
  error(router, field, Rule::ConstantWeight)
          .append("with top_k 1 the weight of the chosen expert is always 1 when scores are normalised over the chosen "
                  "experts: the router would learn nothing")
          .attachNote(placeOf(least.section, least.field))
      << least.text();
}

// moe_c3, and the same for the lists of changes.
void ExperimentCheck::checkTopKList(Operation *section, llvm::ArrayRef<double> list, ModelOp model, MoeOp moe) {
  int64_t layers = 0, numLayers = model.getNumLayers();
  for (int64_t i = 0; i < numLayers; ++i)
    layers += isMoeLayer(moe, i);
  if (asInt(list.size()) != layers) {
    error(section, "top_k_per_layer", Rule::LayerList)
            .append("expected ", layers, " numbers, one for each mixture layer, found ", asInt(list.size()))
            .attachNote(placeOf(model, "num_layers"))
        << "num_layers is " << numLayers;
    return;
  }
  for (double value : list)
    if (value != static_cast<double>(static_cast<int64_t>(value)) || value > static_cast<double>(moe.getTopK())) {
      error(section, "top_k_per_layer", Rule::Range)
              .append(llvm::formatv("{0}", value).str(), " is out of range; expected whole numbers up to top_k")
              .attachNote(placeOf(moe, "top_k"))
          << "top_k is " << asInt(moe.getTopK());
      return;
    }
}

void ExperimentCheck::checkTopKLists(ModelOp model, MoeOp moe) {
  if (!moe.getTopKPerLayer().empty())
    checkTopKList(moe, moe.getTopKPerLayer(), model, moe);
  for (ChangeOp change : experiment.sections<ChangeOp>())
    checkTopKList(change, change.getTopKPerLayer(), model, moe);
}

// (C8). Every method of every section reports its own conflicts.
void ExperimentCheck::checkConflicts() {
  MethodRegistry &methods = getMethods(experiment.getContext());
  for (Operation &section : experiment.getBody().front())
    for (NamedAttribute named : section.getAttrs()) {
      auto attr = dyn_cast<MethodAttr>(named.getValue());
      const Method *method = attr ? methods.find(attr.getCategory().str(), attr.getKind().str()) : nullptr;
      if (!method)
        continue;
      for (const Conflict &conflict : method->findConflicts(attr, &section, experiment)) {
        if (conflict.isWarning && !warnings)
          continue;
        auto severity = conflict.isWarning ? DiagnosticSeverity::Warning : DiagnosticSeverity::Error;
        ok &= conflict.isWarning;
        InFlightDiagnostic diagnostic =
            report(&section, conflict.field, conflict.isWarning ? Rule::Discouraged : Rule::Excluded, severity);
        diagnostic << conflict.text;
        if (conflict.other)
          diagnostic.attachNote(placeOf(conflict.other, conflict.otherField)) << conflict.otherText;
      }
    }
}

// optimizer_c1. Parts of a schedule are its fields of type Steps (warmup, decay, ...).
void ExperimentCheck::checkSchedule(OptimizerOp optimizer, DurationOp duration) {
  MethodAttr schedule = optimizer.getSchedule();
  const Method *method = getMethods(experiment.getContext()).find("schedule", schedule.getKind().str());
  if (!method)
    return;
  int64_t total = duration.getSteps(), sum = 0;
  for (const Field &field : method->fields()) {
    if (field.type != FieldType::Steps)
      continue;
    int64_t steps = schedule.getInt(field.key);
    sum += steps;
    bool tooLong = field.key == "warmup" ? steps >= total : steps > total;
    if (tooLong || sum > total) {
      error(optimizer, "schedule." + field.key, Rule::Warmup)
              .append(field.key, " is ", steps, " steps",
                      tooLong ? std::string() : " (" + std::to_string(sum) + " with the parts before it)",
                      ", the run only ", total)
              .attachNote(placeOf(duration, "steps"))
          << "the run is " << total << " steps";
      return;
    }
  }
}

// data_c1..c4.
void ExperimentCheck::checkData() {
  auto model = experiment.section<ModelOp>();
  auto data = experiment.section<DataOp>();
  auto evaluate = experiment.section<EvaluateOp>();
  if (data.getTokenizer() == Tokenizer::byte && model.getVocabSize() < 256)
    error(model, "vocab_size", Rule::Vocabulary)
            .append("vocab_size ", asInt(model.getVocabSize()), " is too small; the byte tokenizer needs at least 256")
            .attachNote(placeOf(data, "tokenizer"))
        << "tokenizer is byte";
  struct Sources {
    Operation *first = nullptr;
    double weight = 0;
  };
  std::map<Split, Sources> splits;
  for (DatasetOp dataset : experiment.sections<DatasetOp>()) {
    Sources &sources = splits[dataset.getSplit()];
    sources.first = sources.first ? sources.first : dataset.getOperation();
    sources.weight += dataset.getWeight().convertToDouble();
  }
  if (!splits[Split::train].first)
    error(data, "", Rule::NoTrainingData)
        << "\"train\" has no source; expected for example {\"text\": {\"path\": \"text.txt\"}}";
  for (auto &[split, sources] : splits)
    if (sources.first && sources.weight == 0.0)
      error(sources.first, "weight", Rule::NoWeight)
          << "all sources of data." << stringifyEnum(split) << " have weight 0";
  Operation *validation = splits[Split::validation].first;
  // Each source contributes to the loss of an evaluation, so each needs a window.
  int64_t read = llvm::count_if(experiment.sections<DatasetOp>(), [](DatasetOp dataset) {
    return dataset.getSplit() == Split::validation && dataset.getWeight().convertToDouble() > 0;
  });
  int64_t rows = asInt(experiment.section<BatchOp>().getMicroSequences()), batches = asInt(evaluate.getBatches());
  if (rows > 0 && batches * rows < read)
    error(evaluate, "batches", Rule::Range)
        << "value " << batches << " is out of range: " << batches << " micro-batches of " << rows
        << " sequences cannot hold a window of each of " << read
        << " validation sources; expected an integer >= " << (read + rows - 1) / rows;
  for (DatasetOp dataset : experiment.sections<DatasetOp>())
    if (dataset.getPath().contains("**"))
      error(dataset, "path", Rule::Pattern)
          << "\"**\" means nothing in a path of data; `*` stands for any characters within one name";
  if (evaluate.getEverySteps() && !validation)
    error(evaluate, "every_steps", Rule::NoValidationData)
        << "evaluate.every is given, but data.validation has no source";
  if (warnings && !evaluate.getEverySteps() && validation)
    report(validation, "", Rule::UnusedValidation, DiagnosticSeverity::Warning)
        << "validation data is given, but evaluate.every is not: only `moec eval` reads it";
}

// experiment_c1. Computed in double, because the products may not fit an integer.
void ExperimentCheck::checkSizes() {
  constexpr double limit = 281474976710656.0; // 2^48
  auto model = experiment.section<ModelOp>();
  auto attention = experiment.section<AttentionOp>();
  auto ffn = experiment.section<FfnOp>();
  auto moe = experiment.section<MoeOp>();
  auto data = experiment.section<DataOp>();
  auto batch = experiment.section<BatchOp>();
  auto number = [](uint64_t value) { return static_cast<double>(value); };
  double hidden = number(model.getHiddenSize()), layers = number(model.getNumLayers());
  double heads = number(attention.getNumHeads()) * number(attention.getHeadDim());
  double tokens = number(batch.getMicroSequences()) * number(data.getSeqLen());
  double widest = std::max({hidden, heads, number(model.getVocabSize())});
  auto check = [&](Operation *section, llvm::StringRef attribute, const char *what, double elements) {
    if (elements > limit)
      error(section, attribute, Rule::TooLarge)
          << what << " would have " << llvm::formatv("{0:e2}", elements).str() << " elements; at most 2^48 are allowed";
  };
  check(model, "vocab_size", "the embedding", number(model.getVocabSize()) * hidden);
  check(attention, "num_heads", "the attention weights", layers * heads * hidden);
  if (ffn) {
    check(ffn, "inner_size", "the ffn weights", layers * number(ffn.getInnerSize()) * hidden);
    widest = std::max(widest, number(ffn.getInnerSize()));
  }
  if (moe) {
    double inner = number(moe.getExpertInnerSize());
    check(moe, "num_experts", "the expert weights",
          layers * (number(moe.getNumExperts()) + number(moe.getSharedExperts())) * inner * hidden);
    widest = std::max({widest, inner * std::max(number(moe.getTopK()), number(moe.getSharedExperts())),
                       hidden * number(moe.getTopK()), number(moe.getNumExperts())});
  }
  check(batch, "micro_sequences", "the largest activation", tokens * widest);
  check(batch, "sequences", "the tokens of a step", number(batch.getSequences()) * number(data.getSeqLen()));
}

static LogicalResult checkBetween(ExperimentOp experiment, bool warnings) {
  ExperimentCheck check{experiment, warnings};
  check.checkPresence();
  check.checkNames();
  if (!check.complete)
    return failure();
  auto moe = experiment.section<MoeOp>();
  check.checkLayers(experiment.section<ModelOp>(), experiment.section<FfnOp>(), moe);
  check.checkExperts(experiment.section<PrecisionOp>(), moe);
  check.checkMultiToken(experiment.section<DataOp>());
  check.checkParallel(experiment.section<BatchOp>());
  if (moe) {
    check.checkRouting(moe, experiment.section<RouterOp>());
    check.checkTopKLists(experiment.section<ModelOp>(), moe);
  }
  check.checkConflicts();
  check.checkSchedule(experiment.section<OptimizerOp>(), experiment.section<DurationOp>());
  check.ok &= succeeded(checkLengths(experiment, warnings));
  check.checkData();
  check.checkSizes();
  return success(check.ok);
}

LogicalResult ExperimentOp::verifyRegions() {
  for (Operation &op : getBody().front())
    if (!isa<ExpDialect>(op.getDialect()))
      return op.emitError("only sections of an experiment may stand here");
  if (failed(checkFields(*this)))
    return failure();
  return checkBetween(*this, false);
}

LogicalResult moec::exp::checkAll(ExperimentOp experiment, bool complete) {
  bool ok = succeeded(checkFields(experiment));
  for (Operation &op : experiment.getBody().front())
    ok &= succeeded(checkSection(&op));
  return ok && complete ? checkBetween(experiment, true) : success(ok);
}
