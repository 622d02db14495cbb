// muP: rates and initial values that were found at a small width carry over to a large one.
#include "compiler/Methods/Methods.h"

#include <cmath>

namespace moec {
namespace {

class Mup : public ScalingMethod {
public:
  std::string kind() const override { return "mup"; }
  std::string summary() const override { return "Maximal update parametrisation: rates carry over between widths"; }
  std::string source() const override { return "Yang et al. 2022 (Tensor Programs V), table 3"; }
  std::vector<exp::Field> fields() const override {
    return {{.key = "base_width",
             .type = exp::FieldType::Integer,
             .fallback = "",
             .minimum = 1,
             .maximum = 1 << 20,
             .unit = "elements",
             .doc = "hidden_size at which lr and model.init.std apply unchanged"}};
  }

  // The number of the router's outputs does not grow with width, so the router is scaled like the head.
  double getInitialStd(exp::MethodAttr attr, const Run &run, const ParameterTraits &traits,
                       double given) const override {
    double width = run.hiddenSize / static_cast<double>(attr.getInt("base_width"));
    switch (traits.role) {
    case ParameterTraits::Role::Hidden:
      return given / std::sqrt(width);
    case ParameterTraits::Role::Head:
    case ParameterTraits::Role::Router:
      return given / width;
    default:
      return given;
    }
  }
  double getRate(exp::MethodAttr attr, const Run &run, const ParameterTraits &traits,
                 double widthExponent) const override {
    double width = run.hiddenSize / static_cast<double>(attr.getInt("base_width"));
    bool grows = traits.isHidden() || traits.role == ParameterTraits::Role::Head;
    return grows ? std::pow(width, -widthExponent) : 1.0;
  }
};

} // namespace

void registerMup(exp::MethodRegistry &registry) { registry.add(std::make_unique<Mup>()); }

} // namespace moec
