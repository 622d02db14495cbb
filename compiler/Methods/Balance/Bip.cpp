// Prices of experts from the dual of the assignment problem, computed again for every micro-batch, so that loads are
// equal from the first steps on.
#include "compiler/Methods/BalanceSupport.h"

using namespace mlir;

namespace moec {
namespace {

enum class Scope { Micro, Global };
constexpr exp::Choice<Scope> kScope = {"scope", {{Scope::Micro, "micro"}, {Scope::Global, "global"}}};
enum class Inference { Last, None };
constexpr exp::Choice<Inference> kInference = {"inference", {{Inference::Last, "last"}, {Inference::None, "none"}}};

class Bip : public BalanceMethod {
public:
  std::string kind() const override { return "bip"; }
  std::string summary() const override {
    return "Prices of experts from a few rounds of dual coordinate descent on the assignment problem";
  }
  std::string source() const override { return "Yuan Sun 2025 (arXiv 2502.15451); scope \"global\" is ours"; }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {{.key = "iterations",
             .type = FieldType::Integer,
             .fallback = "4",
             .minimum = 1,
             .maximum = 64,
             .doc = "rounds; each computes the prices of tokens, then those of experts"},
            {.key = "warm_start",
             .type = FieldType::Boolean,
             .fallback = "true",
             .doc = "whether rounds begin at the last prices, or at 0"},
            {.key = "clip",
             .type = FieldType::Boolean,
             .fallback = "true",
             .doc = "whether prices stay at 0 or above: loads at most equal; "
                    "false: loads exactly equal, which converges faster"},
            kScope.field(Scope::Micro,
                         "micro: each micro-batch is routed by its own prices; global: a step by the mean "
                         "of the prices of the step before"),
            kInference.field(Inference::Last, "prices outside of training")};
  }

  Value buildSelection(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r,
                       StateDeclarer &states) const override {
    moe::StateOp state = declareBias(b, r.numExperts, states);
    if (!r.training)
      return kInference.in(attr) == Inference::None ? r.scores : buildChosenBy(b, r, state);
    bool isGlobal = kScope.in(attr) == Scope::Global;
    Value prices = buildPrices(b, attr, r, state);
    auto symbol = [](moe::StateOp of) { return FlatSymbolRefAttr::get(of.getSymNameAttr()); };
    if (isGlobal)
      moe::AccumulateOp::create(b.b, symbol(declareSums(b, r.numExperts, states)), r.layer,
                                b.scale(prices, 1.0 / r.microBatches));
    else
      moe::WriteOp::create(b.b, symbol(state), r.layer, prices);
    return buildChosenBy(b, r, state);
  }

  std::string describeFuture(exp::MethodAttr attr) const override {
    if (kScope.in(attr) == Scope::Global)
      return "";
    return "bip of scope \"micro\": in training the prices that route a token come from all tokens of the micro-batch";
  }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const StepLoad &load, StateDeclarer &states) const override {
    if (kScope.in(attr) == Scope::Global)
      b.writeRows(declareBias(b, load.numExperts, states), b.readRows(declareSums(b, load.numExperts, states)));
  }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr, Operation *, exp::ExperimentOp experiment) const override {
    return findPriceConflicts(experiment, "bip");
  }

private:
  static moe::StateOp declareSums(TensorBuilder &b, int64_t numExperts, StateDeclarer &states) {
    return states.perLayer("prices", moe::StateKind::counter, b.type(1, numExperts), /*resetEachStep=*/true);
  }

  // s - q, rounded to multiples of 2^-20 (f32) or 2^-40 (f64) for numbers of the size of scores. A price is the score
  // of some token minus that token's price. So a few tokens lie exactly between two experts, and the last bit of a sum
  // would decide where they go. Rounded numbers are equal, and the lowest expert is taken.
  static Value buildChosenBy(TensorBuilder &b, const RoutingValues &r, moe::StateOp state) {
    double shift = b.element.isF64() ? 0x1.8p12 : 0x1.8p3; // whose neighbours lie that far apart
    return b.map({r.scores, b.read(state, r.layer)}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.sub(s.add(s.sub(x[0], x[1]), s.constant(shift)), s.constant(shift));
    });
  }
  // p_t = (k+1)-th largest over e of s_te - q_e, q_e = (C+1)-th largest over t of s_te - p_t; both at least 0 if
  // clipped.
  static Value buildPrices(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r, moe::StateOp state) {
    auto clip = [&](Value x) {
      if (!attr.getBool("clip"))
        return x;
      return b.map({x}, [](ScalarBuilder &s, TensorBuilder::Scalars v) { return s.max(v[0], s.constant(0.0)); });
    };
    Value scores = b.detach(r.scores);
    Value prices = attr.getBool("warm_start") ? b.read(state, r.layer) : b.fill(0.0, 1, r.numExperts);
    for (int64_t i = 0; i < attr.getInt("iterations"); ++i) {
      Value tokens = clip(buildTokenPrices(b, r, b.sub(scores, prices)));
      prices = clip(buildExpertPrices(b, r, b.sub(scores, tokens)));
    }
    return prices;
  }
};

} // namespace

void registerBip(exp::MethodRegistry &registry) { registry.add(std::make_unique<Bip>()); }

} // namespace moec
