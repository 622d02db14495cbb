// Each expert takes the tokens of its highest scores. So loads are equal by construction, and the number of experts
// differs between tokens.
#include "compiler/Methods/BalanceSupport.h"
#include "compiler/Methods/RoutingSupport.h"

using namespace mlir;

namespace moec {
namespace {

enum class Scope { Sequence, Batch, Position };
constexpr exp::Choice<Scope> kScope = {
    "scope", {{Scope::Sequence, "sequence"}, {Scope::Batch, "batch"}, {Scope::Position, "position"}}};

class ExpertChoice : public RoutingMethod {
public:
  std::string kind() const override { return "expert_choice"; }
  std::string summary() const override { return "Each expert takes the tokens of its highest scores"; }
  std::string source() const override { return "Zhou et al. 2022 (arXiv 2202.09368); scope \"position\" is ours"; }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {
        {.key = "capacity_factor",
         .type = FieldType::Number,
         .fallback = "null",
         .minimum = 0,
         .maximum = 65536,
         .unit = "experts",
         .doc =
             "experts per token on average: an expert takes tokens * capacity_factor / num_experts of a group; null: "
             "top_k",
         .openMinimum = true,
         .nullable = true},
        kScope.field(Scope::Position, "tokens that an expert chooses among: of a sequence, of a micro-batch, or of one "
                                      "position in all sequences of a micro-batch"),
        {.key = "see_future",
         .type = FieldType::Boolean,
         .fallback = "false",
         .doc = "allows the scopes in which later tokens decide on the routes of earlier ones"},
        exp::stepsField("then.at", exp::StepsKind::Moment, "null", "from this step on, another factor; null: never"),
        {.key = "then.capacity_factor",
         .type = FieldType::Number,
         .fallback = "1",
         .minimum = 0,
         .maximum = 65536,
         .unit = "experts",
         .doc = "that factor",
         .openMinimum = true},
        exp::stepsField(
            "then.over", exp::StepsKind::Length, "null",
            "the factor changes in equal jumps, spread over this many steps from then.at on; null: in one jump"),
        {.key = "then.stages",
         .type = FieldType::Integer,
         .fallback = "4",
         .minimum = 1,
         .maximum = 64,
         .doc = "number of jumps; a jump that leaves the same whole number of tokens has no effect"}};
  }

  bool hasEmptySlots(exp::MethodAttr) const override { return true; }
  bool hasTopK() const override { return false; }

  std::string describeFuture(exp::MethodAttr attr) const override {
    Scope scope = kScope.in(attr);
    if (scope == Scope::Position)
      return "";
    return "expert_choice of scope \"" + std::string(kScope.textOf(scope)) +
           "\": in training and validation a later token of a higher score takes the place of an earlier one";
  }

  double meanChosen(exp::MethodAttr attr, double topK) const override {
    double given = attr.getFloat("capacity_factor");
    return given > 0 ? given : topK;
  }

  int64_t maxChosen(exp::MethodAttr attr, const RoutingSizes &r) const override {
    int64_t most = 0;
    for (const Stage &stage : getStages(attr, r.topK))
      most = std::max(most, capacity(attr, r, stage.factor));
    return most * r.numExperts * numGroups(attr, r);
  }

  // A token has a slot for each expert; the slot is empty if the expert takes other tokens.
  Value buildIds(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r, Value selection) const override {
    int64_t groups = numGroups(attr, r), experts = r.numExperts;
    bool byPosition = kScope.in(attr) == Scope::Position;
    // Tokens of one position are seq_len rows apart. So scores are viewed with a row for each sequence and columns for
    // each position and expert.
    int64_t rows = byPosition ? r.numTokens / groups : r.numTokens, columns = byPosition ? groups * experts : experts;
    int64_t choices = byPosition ? 1 : groups;
    Type i32 = b.b.getI32Type();
    Value scores = b.reshape(selection, rows, columns);
    auto findLast = [&](int64_t each, Value rank = {}) {
      return moe::ColumnKthOp::create(b.b, b.type(choices, columns), RankedTensorType::get({choices, columns}, i32),
                                      scores, b.b.getI64IntegerAttr(each), rank);
    };
    Value value, row; // of the last token that an expert takes
    SmallVector<Stage> stages = getStages(attr, r.topK);
    if (r.textTokens) {
      auto last = findLast(rows / choices, buildTextCapacity(b, attr, r));
      value = last.getResult(), row = last.getRow();
      stages.clear();
    }
    int64_t taken = 0;
    for (const Stage &stage : stages) {
      int64_t each = capacity(attr, r, stage.factor);
      if (each == taken)
        continue;
      taken = each;
      auto last = findLast(each);
      auto fromHere = [&](Type type, Value before, Value now) {
        return b.mapTo(type, {before, now, r.step}, choices, columns, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
          return s.select(s.less(x[2], s.integer(stage.from)), x[0], x[1]);
        });
      };
      value = value ? fromHere(b.element, value, last.getResult()) : last.getResult();
      row = row ? fromHere(i32, row, last.getRow()) : last.getRow();
    }
    Value ids = b.mapTo(i32, {scores, value, row}, rows, columns, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value place = choices == 1 ? x[3] : s.rem(x[3], s.integer(rows / choices));
      Value expert = columns == experts ? x[4] : s.rem(x[4], s.integer(experts));
      // Among equal scores, earlier tokens come first, so that loads are exact.
      Value isLater = s.less(s.toInteger(x[2], 64), place), none = s.integer(-1);
      Value tied = s.select(s.less(x[0], x[1]), none, s.select(isLater, none, expert));
      return s.toInteger(s.select(s.less(x[1], x[0]), expert, tied), 32);
    });
    return b.reshape(ids, r.numTokens, experts);
  }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr attr, Operation *section,
                                           exp::ExperimentOp experiment) const override;

private:
  /// A capacity factor and the steps done before the first step with it.
  struct Stage {
    int64_t from;
    double factor;
  };
  static SmallVector<Stage> getStages(exp::MethodAttr attr, int64_t topK) {
    double given = attr.getFloat("capacity_factor"), first = given > 0 ? given : static_cast<double>(topK);
    SmallVector<Stage> stages{{0, first}};
    int64_t at = attr.getInt("then.at"), over = attr.getInt("then.over");
    int64_t count = over > 0 ? attr.getInt("then.stages") : 1;
    double last = attr.getFloat("then.capacity_factor");
    for (int64_t i = 1; at > 0 && i <= count; ++i) {
      int64_t from = at - 1 + over * (i - 1) / count;
      if (stages.back().from == from) // jumps at one step are one jump; before the first step there is no stage
        stages.pop_back();
      double factor = first + (last - first) * static_cast<double>(i) / count;
      if (stages.empty() || stages.back().factor != factor)
        stages.push_back({from, factor});
    }
    return stages;
  }
  static int64_t numGroups(exp::MethodAttr attr, const RoutingSizes &r) {
    switch (kScope.in(attr)) {
    case Scope::Batch:
      return 1;
    case Scope::Sequence:
      return r.numTokens / r.seqLen;
    case Scope::Position:
      return std::min(r.seqLen, r.numTokens);
    }
    llvm_unreachable("all scopes are above");
  }
  static int64_t capacity(exp::MethodAttr attr, const RoutingSizes &r, double factor) {
    int64_t tokens = r.numTokens / numGroups(attr, r);
    // In generation there is a single sequence, so a position has one token, and each expert would take none.
    return std::clamp<int64_t>(static_cast<int64_t>(tokens * factor / r.numExperts), 1, tokens);
  }
  // The same for the text alone, which is the beginning of one sequence or several whole sequences; i64 [1, 1].
  static Value buildTextCapacity(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r) {
    Scope scope = kScope.in(attr);
    return b.mapTo(b.b.getI64Type(), {r.textTokens, r.step}, 1, 1, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value tokens = x[0], length = s.integer(r.seqLen);
      if (scope == Scope::Sequence)
        tokens = s.min(tokens, length);
      if (scope == Scope::Position)
        tokens = s.quotient(s.add(tokens, s.integer(r.seqLen - 1)), length);
      Value share;
      for (const Stage &stage : getStages(attr, r.topK)) {
        Value each = buildShare(s, tokens, stage.factor / r.numExperts, r.numTokens, /*up=*/false);
        share = share ? s.select(s.less(x[1], s.integer(stage.from)), share, each) : each;
      }
      return s.max(s.min(share, tokens), s.integer(1));
    });
  }
};

std::vector<exp::Conflict> ExpertChoice::findConflicts(exp::MethodAttr attr, Operation *section,
                                                       exp::ExperimentOp experiment) const {
  std::vector<exp::Conflict> conflicts;
  auto router = cast<exp::RouterOp>(section);
  auto moe = experiment.section<exp::MoeOp>();
  auto batch = experiment.section<exp::BatchOp>();
  auto data = experiment.section<exp::DataOp>();
  Scope scope = kScope.in(attr);
  if (scope != Scope::Position && !attr.getBool("see_future"))
    conflicts.push_back(
        {.field = "scope",
         .text = "with scope \"" + std::string(kScope.textOf(scope)) +
                 "\" later tokens decide on the routes of earlier ones, so the model sees a little of what "
                 "it has to predict; use scope \"position\", or set see_future to true"});
  if (scope == Scope::Sequence && attr.getBool("see_future"))
    conflicts.push_back({.field = "scope",
                         .text =
                             "with scope \"sequence\" every route depends on later tokens of its own sequence: losses "
                             "are not those of a causal model",
                         .isWarning = true});
  if (attr.getInt("then.over") > 0 && attr.getInt("then.at") == 0)
    conflicts.push_back(
        {.field = "then.over",
         .text = "over says how long the change takes, not when it begins; give then.at, or remove then.over"});
  SmallVector<Stage> all = getStages(attr, moe ? moe.getTopK() : 1);
  int64_t steps = experiment.section<exp::DurationOp>().getSteps();
  if (all.back().from >= steps && attr.getInt("then.at") <= steps)
    conflicts.push_back({.field = "then.over",
                         .text = "the last jump would be at step " + std::to_string(all.back().from + 1) +
                                 ", after the end of the run; shorten then.over or begin earlier",
                         .other = experiment.section<exp::DurationOp>(),
                         .otherField = "steps",
                         .otherText = "the run is " + std::to_string(steps) + " steps"});
  if (router.getBalance())
    conflicts.push_back({.field = "balance",
                         .text = "expert_choice has equal loads by itself; set balance to null",
                         .other = router,
                         .otherField = "method",
                         .otherText = "experts choose"});
  if (router.getGroups() > 0)
    conflicts.push_back(
        {.field = "groups",
         .text = "groups limit what a token chooses from, and here experts choose; set groups to null"});
  if (!moe)
    return conflicts;
  if (!moe.getTopKPerLayer().empty() || !experiment.sections<exp::ChangeOp>().empty())
    conflicts.push_back({.field = "method",
                         .text = "top_k_per_layer, here or under changes, says how many experts a token chooses, and "
                                 "here experts choose; remove "
                                 "it",
                         .other = moe,
                         .otherField = "top_k_per_layer",
                         .otherText = "the mixture is here"});
  if (moe.getCapacityFactor().convertToDouble() != 0)
    conflicts.push_back({.field = "method",
                         .text = "expert_choice takes exactly its own capacity_factor; set model.moe.capacity to null",
                         .other = moe,
                         .otherField = "capacity_factor",
                         .otherText = "capacity is given"});
  int64_t tokens = scope == Scope::Sequence ? data.getSeqLen()
                   : scope == Scope::Batch  ? data.getSeqLen() * batch.getMicroSequences()
                                            : batch.getMicroSequences();
  int64_t outputs = moe.getNumExperts() + moe.getZeroExperts();
  auto isLess = [](const Stage &a, const Stage &b) { return a.factor < b.factor; };
  SmallVector<Stage> stages = getStages(attr, moe.getTopK());
  double least = llvm::min_element(stages, isLess)->factor;
  if (static_cast<double>(tokens) * least < static_cast<double>(outputs))
    conflicts.push_back(
        {.field = "scope",
         .text = "an expert would take less than one of the " + std::to_string(tokens) +
                 " tokens of a group; raise capacity_factor or batch.micro_sequences, or widen the scope",
         .other = moe,
         .otherField = "num_experts",
         .otherText = "num_experts is " + std::to_string(moe.getNumExperts())});
  llvm::append_range(conflicts, findBalanceLosses(experiment, "with expert_choice they are equal already; remove it",
                                                  /*isWarning=*/false, "method"));
  return conflicts;
}

} // namespace

void registerExpertChoice(exp::MethodRegistry &registry) { registry.add(std::make_unique<ExpertChoice>()); }

} // namespace moec
