// Makes the experts of a token in the next layer predictable from those in this layer.
#include "compiler/Methods/CarriedSupport.h"

using namespace mlir;

namespace moec {
namespace {

enum class Pairs { All, Largest };
constexpr exp::Choice<Pairs> kPairs = {"pairs", {{Pairs::All, "topk_x_topk"}, {Pairs::Largest, "largest_k"}}};

class Coupling : public LossMethod {
public:
  std::string kind() const override { return "coupling"; }
  std::string summary() const override {
    return "Minus the mean over tokens of the products of probabilities of the experts chosen in adjacent mixtures";
  }
  std::string source() const override {
    return "arXiv 2602.14159; the sign, the mean over layers and tokens, `largest_k` and `detach_hidden` are ours";
  }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {kPairs.field(Pairs::All,
                         "topk_x_topk: all products of a token's experts in this mixture and in the one "
                         "before; largest_k: only the largest, as many as a token has experts in this mixture"),
            {.key = "detach_hidden",
             .type = FieldType::Boolean,
             .fallback = "false",
             .doc = "whether only routers learn from it, not the layers before them"}};
  }

  Value buildLayer(TensorBuilder &b, exp::MethodAttr attr, const LayerValues &r, StateDeclarer &) const override {
    Value here = buildChosen(b, attr, r), products;
    int64_t k = TensorBuilder::cols(here);
    if (k == 1) {
      products = b.mul(here, r.carried);
    } else {
      // Row n * k + j of the first operand is slot j of token n; the second is read k times.
      products = b.reshape(b.mul(b.reshape(here, r.numTokens * k, 1), r.carried), r.numTokens, k * k);
      auto ids = RankedTensorType::get({r.numTokens, k}, b.b.getI32Type());
      products = b.take(products, moe::TopKOp::create(b.b, ids, products));
      if (r.layerTopK) // a layer with fewer experts per token uses fewer products, largest first
        products =
            b.mapTo(b.element, {products, r.layerTopK}, r.numTokens, k, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
              return s.select(s.less(s.toElement(x[3]), x[1]), x[0], s.constant(0.0));
            });
    }
    return b.scale(b.sumAll(products), -1.0 / r.numTokens);
  }

  int64_t carriedColumns(exp::MethodAttr attr, const RoutingSizes &r) const override {
    return kPairs.in(attr) == Pairs::Largest ? r.topK : 1;
  }
  Value buildCarried(TensorBuilder &b, exp::MethodAttr attr, const LayerValues &r) const override {
    return buildChosen(b, attr, r);
  }

  bool isMean(exp::MethodAttr) const override { return true; }
  int64_t numTerms(exp::MethodAttr, int64_t moeLayers) const override { return moeLayers - 1; }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr, Operation *, exp::ExperimentOp experiment) const override {
    return findSingleMixture(experiment, kind(), "loss");
  }

private:
  // The factors of the products: the sum over the chosen experts, since the sum over all pairs is the product of sums;
  // or the probability of each chosen expert.
  static Value buildChosen(TensorBuilder &b, exp::MethodAttr attr, const LayerValues &r) {
    Value p = attr.getBool("detach_hidden") ? r.buildProbabilities(b.detach(r.routerInput)) : r.probabilities;
    Value chosen = b.take(p, r.ids);
    if (kPairs.in(attr) == Pairs::All)
      return TensorBuilder::cols(chosen) > 1 ? b.sumCols(chosen) : chosen;
    if (TensorBuilder::cols(chosen) == r.topK)
      return chosen;
    auto ids = RankedTensorType::get({r.numTokens, r.topK}, b.b.getI32Type());
    return b.take(chosen, moe::TopKOp::create(b.b, ids, chosen));
  }
};

} // namespace

void registerCoupling(exp::MethodRegistry &registry) { registry.add(std::make_unique<Coupling>()); }

} // namespace moec
