// The full rate after the warm-up.
#include "compiler/Methods/ScheduleSupport.h"

using namespace mlir;

namespace moec {
namespace {

class Constant : public ScheduleMethod {
public:
  std::string kind() const override { return "constant"; }
  std::string summary() const override { return "The full rate after the warm-up"; }
  std::string source() const override { return "common practice"; }
  std::vector<exp::Field> fields() const override { return {getWarmupField()}; }
  Traits traits(exp::MethodAttr attr) const override { return {attr.getInt("warmup"), 1.0, true}; }

  Value buildFactor(TensorBuilder &b, exp::MethodAttr attr, Value step, int64_t totalSteps) const override {
    return buildWithWarmup(b, attr, step, [](ScalarBuilder &s, Value) { return s.constant(1.0); });
  }
};

} // namespace

void registerConstant(exp::MethodRegistry &registry) { registry.add(std::make_unique<Constant>()); }

} // namespace moec
