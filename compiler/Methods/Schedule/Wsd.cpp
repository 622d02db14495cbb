// Warm-up, stable, decay.
#include "compiler/Methods/ScheduleSupport.h"

using namespace mlir;

namespace moec {
namespace {

enum class Shape { Linear, RootOfProgress, Cosine };
constexpr exp::Choice<Shape> kShape = {
    "shape", {{Shape::Linear, "linear"}, {Shape::RootOfProgress, "1-sqrt"}, {Shape::Cosine, "cosine"}}};

class Wsd : public ScheduleMethod {
public:
  std::string kind() const override { return "wsd"; }
  std::string summary() const override { return "The full rate, then a decay to the floor over the last steps"; }
  std::string source() const override { return "Hu et al. 2024 (MiniCPM); 1-sqrt: Haegele et al. 2024"; }
  std::vector<exp::Field> fields() const override {
    return {getWarmupField(), getFloorField(),
            exp::stepsField("decay", exp::StepsKind::Length, "{\"fraction\": 0.2}", "length of the decay at the end"),
            kShape.field(Shape::Linear, "how the rate falls with progress r: 1 - r, 1 - sqrt(r), (1 + cos(pi r)) / 2")};
  }

  Traits traits(exp::MethodAttr attr) const override { return {attr.getInt("warmup"), attr.getFloat("floor"), true}; }

  Value buildFactor(TensorBuilder &b, exp::MethodAttr attr, Value step, int64_t totalSteps) const override {
    return buildWithWarmup(b, attr, step, [&](ScalarBuilder &s, Value x) {
      int64_t decay = attr.getInt("decay");
      if (decay == 0 || attr.getFloat("floor") == 1)
        return s.constant(1.0);
      Value r = buildProgress(s, x, totalSteps - decay, totalSteps);
      return raiseToFloor(s, buildShape(s, r, kShape.in(attr)), attr.getFloat("floor"));
    });
  }

private:
  static Value buildShape(ScalarBuilder &s, Value r, Shape shape) {
    if (shape == Shape::Cosine)
      return buildHalfCosine(s, r);
    return s.sub(s.constant(1.0), shape == Shape::RootOfProgress ? s.sqrt(r) : r);
  }
};

} // namespace

void registerWsd(exp::MethodRegistry &registry) { registry.add(std::make_unique<Wsd>()); }

} // namespace moec
