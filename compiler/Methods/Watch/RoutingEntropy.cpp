// The entropy of the router's distribution for a token.
#include "compiler/Methods/Methods.h"

using namespace mlir;

namespace moec {
namespace {

class RoutingEntropy : public WatchMethod {
public:
  std::string kind() const override { return "routing_entropy"; }
  std::string summary() const override {
    return "Mean over tokens of the entropy of the normalised scores, in nats: 0 to ln E";
  }
  std::string source() const override { return "common"; }

  Value buildLayer(TensorBuilder &b, exp::MethodAttr, const LayerValues &r, StateDeclarer &) const override {
    Value terms = b.map({r.rowScores}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.mul(x[0], s.log(s.max(x[0], s.constant(1e-30))));
    });
    return b.scale(b.sumAll(terms), -1.0 / r.numTokens);
  }
};

} // namespace

void registerRoutingEntropy(exp::MethodRegistry &registry) { registry.add(std::make_unique<RoutingEntropy>()); }

} // namespace moec
