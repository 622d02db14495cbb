// Muon: the momentum of each matrix, made orthogonal.
#include "compiler/Methods/MuonSupport.h"

#include <cmath>

using namespace mlir;

namespace moec {
namespace {

class Muon : public OptimizerMethod {
public:
  std::string kind() const override { return "muon"; }
  std::string summary() const override { return "The momentum of each matrix, made orthogonal by Newton-Schulz"; }
  std::string source() const override { return "Jordan et al. 2024; scale moonlight: Liu et al. 2025"; }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    std::vector<exp::Field> fields = getMuonFields("\"keller\"");
    fields.push_back({"scale",
                      FieldType::Choice,
                      "\"moonlight\"",
                      0,
                      0,
                      {"keller", "spectral", "moonlight", "none"},
                      "",
                      "factor on the update: sqrt(max(1, out / in)), sqrt(out / in), 0.2 sqrt(max(in, out)) (lr and "
                      "weight_decay of AdamW carry over), 1"});
    fields.push_back({"weight_decay",
                      FieldType::Number,
                      "0.1",
                      0,
                      1e3,
                      {},
                      "",
                      "share of the parameter taken off in a step, times the learning rate"});
    return fields;
  }

  std::string refuses(const ParameterTraits &traits) const override { return refuseOutsideLayers(traits); }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                   OptimizerStates &states) const override {
    MatrixBatch batch(b, update.traits.matrices, update.rowAlign);
    Value momentum = buildMomentum(b, attr, update, states);
    Value direction = batch.newtonSchulz(momentum, getQuintics(attr));
    double scale = getScale(attr.getString("scale"), update.traits), decay = attr.getFloat("weight_decay");
    Value next =
        b.map({b.readRows(update.parameter), direction, update.lr}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
          Value change = s.mul(s.constant(scale), x[1]);
          if (decay != 0)
            change = s.add(change, s.mul(s.constant(decay), x[0]));
          return s.sub(x[0], s.mul(x[2], change));
        });
    b.writeRows(update.parameter, next);
  }

private:
  // Weights are [in, out].
  static double getScale(StringRef name, const ParameterTraits &traits) {
    double in = static_cast<double>(traits.rows), out = static_cast<double>(traits.cols);
    if (name == "keller")
      return std::sqrt(std::max(1.0, out / in));
    if (name == "spectral")
      return std::sqrt(out / in);
    return name == "moonlight" ? 0.2 * std::sqrt(std::max(in, out)) : 1.0;
  }
};

} // namespace

void registerMuon(exp::MethodRegistry &registry) { registry.add(std::make_unique<Muon>()); }

} // namespace moec
