// A straight line from the full rate to the floor.
#include "compiler/Methods/ScheduleSupport.h"

using namespace mlir;

namespace moec {
namespace {

class Linear : public ScheduleMethod {
public:
  std::string kind() const override { return "linear"; }
  std::string summary() const override { return "A straight line from the full rate to the floor"; }
  std::string source() const override { return "common practice"; }
  std::vector<exp::Field> fields() const override { return {getWarmupField(), getFloorField()}; }

  Value buildFactor(TensorBuilder &b, exp::MethodAttr attr, Value step, int64_t totalSteps) const override {
    return buildWithWarmup(b, attr, step, [&](ScalarBuilder &s, Value x) {
      Value r = buildProgress(s, x, attr.getInt("warmup"), totalSteps);
      return raiseToFloor(s, s.sub(s.constant(1.0), r), attr.getFloat("floor"));
    });
  }
};

} // namespace

void registerLinear(exp::MethodRegistry &registry) { registry.add(std::make_unique<Linear>()); }

} // namespace moec
