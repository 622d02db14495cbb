// Loads that fall as a power of the expert's number.
#include "compiler/Methods/ForcedSupport.h"

#include <cmath>

using namespace mlir;

namespace moec {
namespace {

class Skewed : public ForcedMethod {
public:
  std::string kind() const override { return "skewed"; }
  std::string summary() const override {
    return "Experts at random, expert e with a probability proportional to (e + 1)^-exponent (Zipf)";
  }
  std::string source() const override { return "common practice"; }
  std::vector<exp::Field> fields() const override {
    return {{.key = "exponent",
             .type = exp::FieldType::Number,
             .fallback = "1",
             .minimum = 0,
             .maximum = 100,
             .doc = "0: all experts are equally likely; a larger exponent sends more tokens to the first experts"}};
  }

  Value buildIds(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r, StateDeclarer &states) const override {
    double exponent = attr.getFloat("exponent");
    int64_t experts = r.ffnExperts;
    Value chances = b.mapPosition(1, r.numExperts, 1, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value log = s.log(s.add(s.toElement(x[1]), s.constant(1.0)));
      Value isExpert = s.less(x[1], s.integer(experts));
      return SmallVector<Value>{s.select(isExpert, s.mul(s.constant(-exponent), log), s.constant(-1e30))};
    })[0];
    return drawExperts(b, r, chances);
  }
};

} // namespace

void registerSkewed(exp::MethodRegistry &registry) { registry.add(std::make_unique<Skewed>()); }

} // namespace moec
