// Sizes of what goes through a mixture.
#include "compiler/Methods/Methods.h"

using namespace mlir;

namespace moec {
namespace {

enum class Of { Input, Experts };
constexpr exp::Choice<Of> kOf = {"of", {{Of::Input, "input"}, {Of::Experts, "experts"}}};

class ActivationRms : public WatchMethod {
public:
  std::string kind() const override { return "activation_rms"; }
  std::string summary() const override { return "Root mean square of a mixture's inputs or inner activations"; }
  std::string source() const override { return "common"; }
  std::vector<exp::Field> fields() const override {
    return {kOf.field(Of::Input, "input: the inputs of router and experts; experts: the inputs of their last product")};
  }

  Value buildLayer(TensorBuilder &b, exp::MethodAttr attr, const LayerValues &r, StateDeclarer &) const override {
    bool ofInput = kOf.in(attr) == Of::Input;
    Value x = ofInput ? r.hidden : r.activations;
    Value squares = b.sumAll(b.mul(x, x)), rows;
    if (ofInput)
      rows = b.constant(static_cast<double>(r.numTokens));
    else // rows of padding are zeros, and not counted
      rows = b.sumAll(
          b.mapTo(b.element, {r.rowSlot}, TensorBuilder::rows(x), 1, [](ScalarBuilder &s, TensorBuilder::Scalars v) {
            return s.select(s.less(s.toInteger(v[0], 64), s.integer(0)), s.constant(0.0), s.constant(1.0));
          }));
    double width = static_cast<double>(TensorBuilder::cols(x));
    return b.map({squares, rows}, [&](ScalarBuilder &s, TensorBuilder::Scalars v) {
      return s.sqrt(s.div(v[0], s.mul(s.max(v[1], s.constant(1.0)), s.constant(width))));
    });
  }
};

} // namespace

void registerActivationRms(exp::MethodRegistry &registry) { registry.add(std::make_unique<ActivationRms>()); }

} // namespace moec
