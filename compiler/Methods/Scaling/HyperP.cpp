// HyperP: a law for the learning rate of optimizers on the sphere, and the initial values that go with it.
#include "compiler/Methods/Methods.h"

#include <cmath>

namespace moec {
namespace {

enum class Parameters { All, Hidden };
constexpr exp::Choice<Parameters> kDataExponentOf = {"data_exponent_of",
                                                     {{Parameters::All, "all"}, {Parameters::Hidden, "hidden"}}};

class HyperP : public ScalingMethod {
public:
  std::string kind() const override { return "hyperp"; }
  std::string summary() const override { return "Rates carry over between depths, batches and lengths of training"; }
  std::string source() const override { return "HyperP, arXiv 2603.28743"; }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {{.key = "base_layers",
             .type = FieldType::Integer,
             .fallback = "8",
             .minimum = 1,
             .maximum = 4096,
             .unit = "layers",
             .doc = "num_layers of the run in which lr was found"},
            {.key = "base_batch",
             .type = FieldType::Number,
             .fallback = "2097152",
             .minimum = 1,
             .maximum = 1e15,
             .unit = "tokens",
             .doc = "tokens of a step of that run"},
            {.key = "base_tokens",
             .type = FieldType::Number,
             .fallback = "10.4e9",
             .minimum = 1,
             .maximum = 1e18,
             .unit = "tokens",
             .doc = "tokens of that run"},
            {.key = "depth_exponent",
             .type = FieldType::Number,
             .fallback = "-0.5",
             .minimum = -2,
             .maximum = 2,
             .doc = "power of num_layers / base_layers"},
            {.key = "batch_exponent",
             .type = FieldType::Number,
             .fallback = "0.5",
             .minimum = -2,
             .maximum = 2,
             .doc = "power of the step's tokens / base_batch"},
            {.key = "data_exponent",
             .type = FieldType::Number,
             .fallback = "-0.32",
             .minimum = -2,
             .maximum = 2,
             .doc = "power of the run's tokens / base_tokens"},
            kDataExponentOf.field(Parameters::All,
                                  "whether the last factor is on every parameter or on the matrices of layers"),
            {.key = "embedding_std",
             .type = FieldType::Number,
             .fallback = "1e-4",
             .minimum = 0,
             .maximum = 100,
             .doc = "standard deviation of the initial embedding"}};
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
    if (kDataExponentOf.in(attr) == Parameters::All || traits.isHidden())
      rate *= std::pow(run.tokens / attr.getFloat("base_tokens"), attr.getFloat("data_exponent"));
    return rate;
  }
};

} // namespace

void registerHyperP(exp::MethodRegistry &registry) { registry.add(std::make_unique<HyperP>()); }

} // namespace moec
