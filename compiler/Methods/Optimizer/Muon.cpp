// Muon: the momentum of each matrix, made orthogonal.
#include "compiler/Methods/AdamSupport.h"
#include "compiler/Methods/Lite.h"
#include "compiler/Methods/MuonSupport.h"

#include <cmath>
#include <optional>

using namespace mlir;

namespace moec {
namespace {

enum class Scale { Keller, Spectral, Moonlight, None };
constexpr exp::Choice<Scale> kScale = {
    "scale",
    {{Scale::Keller, "keller"}, {Scale::Spectral, "spectral"}, {Scale::Moonlight, "moonlight"}, {Scale::None, "none"}}};

class Muon : public OptimizerMethod {
public:
  std::string kind() const override { return "muon"; }
  std::string summary() const override { return "The momentum of each matrix, made orthogonal by Newton-Schulz"; }
  std::string source() const override {
    return "Jordan et al. 2024; scale moonlight: Liu et al. 2025; lite: see docs/methods/lite.md";
  }
  std::vector<exp::Field> fields() const override {
    std::vector<exp::Field> fields = getMuonFields(Polynomials::Keller);
    fields.push_back(kScale.field(
        Scale::Moonlight, "factor on the update. keller: sqrt(max(1, out / in)); spectral: sqrt(out / in); moonlight: "
                          "0.2 sqrt(max(in, out)), with which lr and weight_decay of AdamW carry over; none: 1"));
    fields.push_back(getDecayField());
    for (exp::Field &field : getLiteFields("weight of the gradient's own direction"))
      fields.push_back(std::move(field));
    return fields;
  }

  double widthExponent(exp::MethodAttr attr) const override { return kScale.in(attr) == Scale::Moonlight ? 0.5 : 0.0; }
  std::string refuses(const ParameterTraits &traits) const override { return refuseOutsideLayers(traits); }
  std::vector<exp::Conflict> findConflicts(exp::MethodAttr attr, Operation *,
                                           exp::ExperimentOp experiment) const override {
    std::vector<exp::Conflict> conflicts = findRampConflicts(attr, "lite.", experiment);
    if (usesFlatPart(attr) && getPolynomials(attr) == Polynomials::Keller)
      conflicts.push_back(
          {.field = "lite",
           .text = "flat directions are told by singular values that end at 1, and keller's end between 0.7 and 1.2; "
                   "set ns to {\"steps\": 6, \"coefficients\": \"polar_express\"}",
           .isWarning = true});
    return conflicts;
  }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                   OptimizerStates &states) const override {
    MatrixBatch batch(b, update.traits.matrices, update.rowAlign);
    Scale scaleOf = kScale.in(attr);
    NewtonSchulz ns = getNewtonSchulz(attr, /*sumsGradients=*/scaleOf == Scale::Moonlight);
    double scale = getScale(scaleOf, update.traits), decay = attr.getFloat("weight_decay");
    double beta1 = attr.getFloat("lite.beta1"), beta2 = attr.getFloat("lite.beta2"), chi = attr.getFloat("lite.chi");
    Value momentum = buildMomentum(b, attr, update, states);
    Value direction = batch.newtonSchulz(momentum, ns.steps, ns.eps * ns.share);
    std::optional<FlatProjector> flat;
    if (usesFlatPart(attr))
      flat.emplace(b, attr, update, states, ns, momentum, direction);

    if (beta1 != 0 || beta2 != 0) {
      Value own = batch.newtonSchulz(b.mul(b.readRows(update.gradient), update.gradientScale), ns.steps, ns.eps);
      direction = addScaled(b, direction, own, b.constant(beta1));
      if (beta1 != beta2)
        direction =
            addScaled(b, direction, flat->apply(own), b.scale(buildRamp(b, attr, "lite.", update), beta2 - beta1));
    }
    Value w = b.readRows(update.parameter);
    Value change = b.map({w, direction}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value scaled = s.mul(s.constant(scale), x[1]);
      return decay == 0 ? scaled : s.add(scaled, s.mul(s.constant(decay), x[0]));
    });
    if (chi != 1) {
      Value more = b.map({buildChi(b, attr, "lite.", update)},
                         [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.sub(x[0], s.constant(1.0)); });
      change = addScaled(b, change, flat->apply(change), more);
    }
    b.writeRows(update.parameter, b.map({w, change, update.lr}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.sub(x[0], s.mul(x[2], x[1]));
    }));
  }

private:
  static bool usesFlatPart(exp::MethodAttr attr) {
    return attr.getFloat("lite.chi") != 1 || attr.getFloat("lite.beta1") != attr.getFloat("lite.beta2");
  }
  /// x + factor y; factor [1, 1].
  static Value addScaled(TensorBuilder &b, Value x, Value y, Value factor) {
    return b.map({x, y, factor},
                 [](ScalarBuilder &s, TensorBuilder::Scalars v) { return s.add(v[0], s.mul(v[2], v[1])); });
  }

  // Weights are [in, out].
  static double getScale(Scale scale, const ParameterTraits &traits) {
    double in = static_cast<double>(traits.rows), out = static_cast<double>(traits.cols);
    switch (scale) {
    case Scale::Keller:
      return std::sqrt(std::max(1.0, out / in));
    case Scale::Spectral:
      return std::sqrt(out / in);
    case Scale::Moonlight:
      return 0.2 * std::sqrt(std::max(in, out));
    case Scale::None:
      return 1.0;
    }
    llvm_unreachable("all scales are above");
  }
};

} // namespace

void registerMuon(exp::MethodRegistry &registry) { registry.add(std::make_unique<Muon>()); }

} // namespace moec
