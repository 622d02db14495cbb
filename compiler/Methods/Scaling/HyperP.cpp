// HyperP: a law for the learning rate of optimizers on the sphere, and the initial values that go with it.
#include "compiler/Methods/Methods.h"

#include <cmath>

namespace moec {
namespace {

class HyperP : public ScalingMethod {
public:
  std::string kind() const override { return "hyperp"; }
  std::string summary() const override { return "Rates carry over between depths, batches and lengths of training"; }
  std::string source() const override { return "HyperP, arXiv 2603.28743"; }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {
        {"base_layers", FieldType::Integer, "8", 1, 4096, {}, "layers", "num_layers of the run in which lr was found"},
        {"base_batch", FieldType::Number, "2097152", 1, 1e15, {}, "tokens", "tokens of its steps"},
        {"base_tokens", FieldType::Number, "10.4e9", 1, 1e18, {}, "tokens", "tokens of that run"},
        {"depth_exponent", FieldType::Number, "-0.5", -2, 2, {}, "", "power of num_layers / base_layers"},
        {"batch_exponent", FieldType::Number, "0.5", -2, 2, {}, "", "power of the step's tokens / base_batch"},
        {"data_exponent", FieldType::Number, "-0.32", -2, 2, {}, "", "power of the run's tokens / base_tokens"},
        {"data_exponent_of",
         FieldType::Choice,
         "\"all\"",
         0,
         0,
         {"all", "hidden"},
         "",
         "whether the last factor is on every parameter or on the matrices of layers"},
        {"embedding_std", FieldType::Number, "1e-4", 0, 100, {}, "", "standard deviation of the initial embedding"}};
  }

  // 1 / sqrt(3 fan-in): the standard deviation of a uniform distribution within +-1 / sqrt(fan-in).
  double getInitialStd(exp::MethodAttr attr, const Run &, const ParameterTraits &traits, double given) const override {
    if (traits.isHidden())
      return 1 / std::sqrt(3.0 * static_cast<double>(traits.rows));
    return traits.role == ParameterTraits::Role::Embedding ? attr.getFloat("embedding_std") : given;
  }
  double getRate(exp::MethodAttr attr, const Run &run, const ParameterTraits &traits, double) const override {
    double layers = run.numLayers / static_cast<double>(attr.getInt("base_layers"));
    double rate = std::pow(layers, attr.getFloat("depth_exponent")) *
                  std::pow(run.tokensPerStep / attr.getFloat("base_batch"), attr.getFloat("batch_exponent"));
    if (attr.getString("data_exponent_of") == "all" || traits.isHidden())
      rate *= std::pow(run.tokens / attr.getFloat("base_tokens"), attr.getFloat("data_exponent"));
    return rate;
  }
};

} // namespace

void registerHyperP(exp::MethodRegistry &registry) { registry.add(std::make_unique<HyperP>()); }

} // namespace moec
