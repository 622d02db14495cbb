// Experts take turns, so every expert gets the same number of tokens.
#include "compiler/Methods/Methods.h"

using namespace mlir;

namespace moec {
namespace {

class Balanced : public ForcedMethod {
public:
  std::string kind() const override { return "balanced"; }
  std::string summary() const override {
    return "Experts take turns: token n has experts n * top_k, n * top_k + 1, ...";
  }
  std::string source() const override { return "common practice"; }

  Value buildIds(TensorBuilder &b, exp::MethodAttr, const RoutingValues &r, StateDeclarer &) const override {
    return b.mapTo(b.b.getI32Type(), {}, r.numTokens, r.topK, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value slot = s.add(s.mul(x[0], s.integer(r.topK)), x[1]);
      return s.toInteger(s.rem(slot, s.integer(r.ffnExperts)), 32);
    });
  }
};

} // namespace

void registerBalanced(exp::MethodRegistry &registry) { registry.add(std::make_unique<Balanced>()); }

} // namespace moec
