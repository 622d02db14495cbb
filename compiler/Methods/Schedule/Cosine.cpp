// Half a cosine from the full rate to the floor.
#include "compiler/Methods/ScheduleSupport.h"

using namespace mlir;

namespace moec {
namespace {

class Cosine : public ScheduleMethod {
public:
  std::string kind() const override { return "cosine"; }
  std::string summary() const override { return "Half a cosine from the full rate to the floor"; }
  std::string source() const override { return "Loshchilov and Hutter 2016 (SGDR), without restarts"; }
  std::vector<exp::Field> fields() const override { return {getWarmupField(), getFloorField()}; }

  Value buildFactor(TensorBuilder &b, exp::MethodAttr attr, Value step, int64_t totalSteps) const override {
    return buildWithWarmup(b, attr, step, [&](ScalarBuilder &s, Value x) {
      Value r = buildProgress(s, x, attr.getInt("warmup"), totalSteps);
      return raiseToFloor(s, buildHalfCosine(s, r), attr.getFloat("floor"));
    });
  }
};

} // namespace

void registerCosine(exp::MethodRegistry &registry) { registry.add(std::make_unique<Cosine>()); }

} // namespace moec
