// Keeps the last hidden states small.
#include "compiler/Methods/Methods.h"

using namespace mlir;

namespace moec {
namespace {

class HiddenZ : public LossMethod {
public:
  std::string kind() const override { return "hidden_z"; }
  std::string summary() const override {
    return "Mean over tokens of log-sum-exp of the magnitudes of the last hidden state, squared";
  }
  std::string source() const override { return "LongCat-Flash (arXiv 2509.01322)"; }
  bool needsMixture() const override { return false; }

  Value buildHidden(TensorBuilder &b, exp::MethodAttr, Value hidden) const override {
    Value z = b.logSumExp(b.map({hidden}, [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.abs(x[0]); }));
    return b.scale(b.sumAll(b.mul(z, z)), 1.0 / TensorBuilder::rows(hidden));
  }
};

} // namespace

void registerHiddenZ(exp::MethodRegistry &registry) { registry.add(std::make_unique<HiddenZ>()); }

} // namespace moec
