// Keeps router logits small.
#include "compiler/Methods/Methods.h"

using namespace mlir;

namespace moec {
namespace {

class RouterZ : public LossMethod {
public:
  std::string kind() const override { return "router_z"; }
  std::string summary() const override { return "Mean over tokens of log-sum-exp of the router logits, squared"; }
  std::string source() const override { return "Zoph et al. 2022 (ST-MoE)"; }

  Value buildLayer(TensorBuilder &b, exp::MethodAttr, const LayerValues &r, StateDeclarer &) const override {
    Value z = b.logSumExp(r.logits);
    return b.scale(b.sumAll(b.mul(z, z)), 1.0 / r.numTokens);
  }
};

} // namespace

void registerRouterZ(exp::MethodRegistry &registry) { registry.add(std::make_unique<RouterZ>()); }

} // namespace moec
