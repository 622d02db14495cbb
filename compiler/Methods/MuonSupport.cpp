#include "compiler/Methods/MuonSupport.h"

using namespace mlir;

namespace moec {

std::vector<exp::Field> getMuonFields(const char *coefficients) {
  using exp::FieldType;
  return {{"momentum", FieldType::Number, "0.95", 0, 1, {}, "", "decay of the mean of gradients", false, true},
          {"nesterov", FieldType::Boolean, "true", 0, 0, {}, "", "whether the gradient is weighed in once more"},
          {"ns.steps", FieldType::Integer, "5", 1, 32, {}, "steps", "Newton-Schulz steps"},
          {"ns.coefficients",
           FieldType::Choice,
           coefficients,
           0,
           0,
           {"keller", "polar5"},
           "",
           "keller: one polynomial for all steps, singular values end in 0.68..1.135; polar5: one for each of five, "
           "0.977..1.032 (further steps repeat the fifth)"}};
}

SmallVector<MatrixBatch::Quintic> getQuintics(exp::MethodAttr attr) {
  // Jordan et al. 2024: one polynomial with a steep slope at 0.
  static const MatrixBatch::Quintic keller[] = {{3.4445, -4.7750, 2.0315}};
  // Five polynomials whose composition is near 1 everywhere, as in the public code of Dion (2025).
  static const MatrixBatch::Quintic polar[] = {{4.0848, -6.8946, 2.9270},
                                               {3.9505, -6.3029, 2.6377},
                                               {3.7418, -5.5913, 2.3037},
                                               {2.8769, -3.1427, 1.2046},
                                               {2.8366, -3.0525, 1.2012}};
  ArrayRef<MatrixBatch::Quintic> table = polar;
  if (attr.getString("ns.coefficients") == "keller")
    table = keller;
  SmallVector<MatrixBatch::Quintic> steps;
  for (int64_t i = 0, count = attr.getInt("ns.steps"); i < count; ++i)
    steps.push_back(table[std::min<size_t>(i, table.size() - 1)]);
  return steps;
}

Value buildMomentum(TensorBuilder &b, exp::MethodAttr attr, const OptimizerMethod::Update &update,
                    OptimizerStates &states) {
  double beta = attr.getFloat("momentum");
  bool nesterov = attr.getBool("nesterov");
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
