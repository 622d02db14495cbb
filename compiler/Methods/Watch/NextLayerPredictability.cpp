// How well the experts of a token predict its experts in the next mixture.
#include "compiler/Methods/CarriedSupport.h"
#include "compiler/Methods/WatchSupport.h"

using namespace mlir;

namespace moec {
namespace {

class NextLayerPredictability : public WatchMethod {
public:
  std::string kind() const override { return "next_layer_predictability"; }
  std::string summary() const override {
    return "Entropy of a token's expert given its expert in the mixture before, in nats, over all pairs of the step";
  }
  std::string source() const override { return "arXiv 2602.14159; the joint distribution over pairs of slots is ours"; }

  int64_t carriedColumns(exp::MethodAttr, const RoutingSizes &r) const override { return r.numExperts; }
  Value buildCarried(TensorBuilder &b, exp::MethodAttr, const LayerValues &r) const override {
    return buildChosenMask(b, r.ids, r.numExperts);
  }

  // Counts of pairs are sums of products of zeros and ones. Up to 2^24 they are exact, whatever the order.
  Value buildLayer(TensorBuilder &b, exp::MethodAttr, const LayerValues &r, StateDeclarer &states) const override {
    int64_t n = r.numExperts;
    auto pairs = moe::MatmulOp::create(b.b, b.type(n, n), r.carried, buildChosenMask(b, r.ids, n), /*ta=*/true,
                                       /*tb=*/false);
    pairs->setAttr("moe.full_precision", b.b.getUnitAttr());
    moe::StateOp state = declare(b, n, states);
    b.accumulate(state, b.reshape(pairs, 1, n * n), r.layer);
    return {};
  }
  Value buildStep(TensorBuilder &b, exp::MethodAttr, const StepLoad &load, StateDeclarer &states) const override {
    int64_t n = load.numExperts, layers = TensorBuilder::rows(load.counts);
    Value pairs = b.readRows(declare(b, n, states)); // [L, E * E], the expert before first
    Value before = b.reshape(b.sumCols(b.reshape(pairs, layers * n, n)), layers, n);
    return b.sub(buildRowEntropy(b, pairs), buildRowEntropy(b, before));
  }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr, Operation *, exp::ExperimentOp experiment) const override {
    return findSingleMixture(experiment, kind(), "measure");
  }

private:
  static moe::StateOp declare(TensorBuilder &b, int64_t n, StateDeclarer &states) {
    return states.perLayer("pairs", moe::StateKind::counter, b.type(1, n * n), /*resetEachStep=*/true);
  }
};

} // namespace

void registerNextLayerPredictability(exp::MethodRegistry &registry) {
  registry.add(std::make_unique<NextLayerPredictability>());
}

} // namespace moec
