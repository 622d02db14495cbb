#include "compiler/Methods/MuonSupport.h"

#include <cmath>

using namespace mlir;

namespace moec {

namespace {

constexpr exp::Choice<Polynomials> kPolynomials = {
    "ns.coefficients",
    {{Polynomials::Keller, "keller"}, {Polynomials::Polar5, "polar5"}, {Polynomials::PolarExpress, "polar_express"}}};

} // namespace

Polynomials getPolynomials(exp::MethodAttr attr) { return kPolynomials.in(attr); }

std::vector<exp::Field> getMuonFields(Polynomials fallback) {
  using exp::FieldType;
  return {{.key = "momentum",
           .type = FieldType::Number,
           .fallback = "0.95",
           .minimum = 0,
           .maximum = 1,
           .doc = "decay of the mean of gradients",
           .openMaximum = true},
          {.key = "nesterov",
           .type = FieldType::Boolean,
           .fallback = "true",
           .doc = "whether the gradient is added to the momentum once more"},
          {.key = "ns.steps",
           .type = FieldType::Integer,
           .fallback = "5",
           .minimum = 1,
           .maximum = 32,
           .unit = "steps",
           .doc = "Newton-Schulz steps"},
          kPolynomials.field(fallback,
                             "keller: one polynomial for all steps, singular values end in 0.68..1.135; polar5: "
                             "one for each of five, 0.977..1.032; polar_express: one for each of eight, converges "
                             "(further steps repeat the last)")};
}

NewtonSchulz getNewtonSchulz(exp::MethodAttr attr, bool sumsGradients) {
  // Jordan et al. 2024: one polynomial with a steep slope at 0.
  static const MatrixBatch::Quintic keller[] = {{3.4445, -4.7750, 2.0315}};
  // Five polynomials whose composition is near 1 everywhere, as in the public code of Dion (2025).
  static const MatrixBatch::Quintic polar[] = {{4.0848, -6.8946, 2.9270},
                                               {3.9505, -6.3029, 2.6377},
                                               {3.7418, -5.5913, 2.3037},
                                               {2.8769, -3.1427, 1.2046},
                                               {2.8366, -3.0525, 1.2012}};
  // Amsel et al. 2025: each is the best polynomial for the interval that the previous one leaves. All except the last
  // take x / 1.01, so that a value that rounding has raised above 1 does no harm.
  static const MatrixBatch::Quintic express[] = {{8.28721201814563, -23.595886519098837, 17.300387312530933},
                                                 {4.107059111542203, -2.9478499167379106, 0.5448431082926601},
                                                 {3.9486908534822946, -2.908902115962949, 0.5518191394370137},
                                                 {3.3184196573706015, -2.488488024314874, 0.51004894012372},
                                                 {2.300652019954817, -1.6689039845747493, 0.4188073119525673},
                                                 {1.891301407787398, -1.2679958271945868, 0.37680408948524835},
                                                 {1.8750014808534479, -1.2500016453999487, 0.3750001645474248},
                                                 {1.875, -1.25, 0.375}};
  Polynomials name = getPolynomials(attr);
  ArrayRef<MatrixBatch::Quintic> table = keller;
  double momentum = attr.getFloat("momentum");
  // Jordan's code takes the mean, as buildMomentum does.
  NewtonSchulz result{{}, 1e-7, sumsGradients ? 1 - momentum : 1};
  if (name == Polynomials::Polar5) {
    table = polar;
    result.eps = 1e-8, result.share = 1 - momentum; // Dion's code sums
  } else if (name == Polynomials::PolarExpress) {
    table = express;
    // LITE's code: the mean + (1 / momentum - 1) g, over 1.01 times its norm + 1e-8.
    result.eps = 1e-8 / 1.01, result.share = attr.getBool("nesterov") && momentum > 0 ? momentum : 1;
  }
  for (size_t i = 0, count = attr.getInt("ns.steps"); i < count; ++i) {
    MatrixBatch::Quintic step = table[std::min(i, table.size() - 1)];
    if (name == Polynomials::PolarExpress && i + 1 < table.size()) {
      double slack =
          i == 0 ? 1.01 * 1.01 : 1.01; // of the step, and in the first step also of the norm that divided the matrix
      step.a /= slack;
      step.b /= std::pow(slack, 3);
      step.c /= std::pow(slack, 5);
    }
    result.steps.push_back(step);
  }
  return result;
}

Value buildMomentum(TensorBuilder &b, exp::MethodAttr attr, const OptimizerMethod::Update &update,
                    OptimizerStates &states) {
  double beta = attr.getFloat("momentum");
  bool nesterov = attr.getBool("nesterov") && beta != 0; // without momentum both are the gradient
  moe::StateOp state = states.declare("m");
  SmallVector<Value> inputs{b.readRows(update.gradient), b.readRows(state), update.gradientScale};
  auto mean = [&](ScalarBuilder &s, Value old, Value g) {
    return s.add(s.mul(s.constant(beta), old), s.mul(s.constant(1 - beta), g));
  };
  SmallVector<Value> next = b.mapMany(inputs, nesterov ? 2 : 1, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    Value g = s.mul(x[0], x[2]);
    Value m = mean(s, x[1], g);
    return nesterov ? SmallVector<Value>{m, mean(s, m, g)} : SmallVector<Value>{m};
  });
  b.writeRows(state, next.front());
  return next.back();
}

std::string refuseOutsideLayers(const ParameterTraits &traits) {
  if (traits.isHidden())
    return "";
  const char *what = traits.role == ParameterTraits::Role::Vector      ? "it is no matrix"
                     : traits.role == ParameterTraits::Role::Embedding ? "it is the embedding"
                                                                       : "it is the head";
  return std::string(what) + "; give it to a group of kind \"adamw\" that stands before this one, or match matrices of "
                             "layers only, such as \"layers.*.attention.{q,k,v,o}\"";
}

} // namespace moec
