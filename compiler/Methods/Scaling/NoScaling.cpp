// Rates and initial values as the spec gives them.
#include "compiler/Methods/Methods.h"

namespace moec {
namespace {

class NoScaling : public ScalingMethod {
public:
  std::string kind() const override { return "none"; }
  std::string summary() const override { return "Rates and initial weights as they are given"; }
  std::string source() const override { return "common practice"; }
  double getRate(exp::MethodAttr, const Run &, const ParameterTraits &, double) const override { return 1; }
};

} // namespace

void registerNoScaling(exp::MethodRegistry &registry) { registry.add(std::make_unique<NoScaling>()); }

} // namespace moec
