// AdamW with larger steps where the second moment is small.
#include "compiler/Methods/AdamSupport.h"
#include "compiler/Methods/Lite.h"

using namespace mlir;

namespace moec {
namespace {

class AdamWLite : public OptimizerMethod {
public:
  std::string kind() const override { return "adamw_lite"; }
  std::string summary() const override { return "AdamW with larger steps along flat directions"; }
  std::string source() const override { return "LITE, see docs/methods/lite.md"; }
  std::vector<exp::Field> fields() const override {
    std::vector<exp::Field> fields = getAdamFields();
    fields.push_back(getDecayField());
    for (exp::Field &field : getChiFields("", "4"))
      fields.push_back(std::move(field));
    fields.push_back(
        {"smooth", exp::FieldType::Number, "0.1", 0, 1, {}, "", "share of elements between sharp and flat"});
    return fields;
  }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                   OptimizerStates &states) const override {
    AdamMoments adam = buildAdam(b, attr, update, states);
    Value sharp = buildMask(b, attr, update, states, adam.v);
    double decay = attr.getFloat("weight_decay");
    Value chi = buildChi(b, attr, "", update);
    Value next = b.map({b.readRows(update.parameter), adam.direction, sharp, update.lr, chi},
                       [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
                         Value change = x[1];
                         if (decay != 0)
                           change = s.add(change, s.mul(s.constant(decay), x[0]));
                         Value one = s.constant(1.0);
                         Value factor = s.add(one, s.mul(s.sub(x[4], one), s.sub(one, x[2])));
                         return s.sub(x[0], s.mul(x[3], s.mul(factor, change)));
                       });
    b.writeRows(update.parameter, next);
  }

private:
  /// 1 where v is at least high * mean(v), 0 below low * mean(v), linear between. Then moves both bounds towards the
  /// shares that are wanted above them. Each copy of the parameter has bounds of its own.
  static Value buildMask(TensorBuilder &b, exp::MethodAttr attr, const Update &update, OptimizerStates &states,
                         Value v) {
    MatrixBatch copies(b, update.traits.copies, /*align=*/1);
    double elements = static_cast<double>(TensorBuilder::rows(v) * TensorBuilder::cols(v)) / update.traits.copies;
    double sharp = attr.getFloat("sharp_fraction"), smooth = attr.getFloat("smooth");
    moe::StateOp highState = states.declare("high", b.type(1, 1), 2.0);
    moe::StateOp lowState = states.declare("low", b.type(1, 1), 1.0);
    Value high = b.readRows(highState), low = b.readRows(lowState);
    Value mean = b.scale(copies.sums(v), 1 / elements);

    Value mask = b.map({v, mean, high, low}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value from = s.mul(x[3], x[1]), to = s.mul(x[2], x[1]);
      Value span = s.max(s.sub(to, from), s.constant(1e-30));
      Value between = s.max(s.constant(0.0), s.min(s.constant(1.0), s.div(s.sub(x[0], from), span)));
      return s.select(s.less(x[0], to), between, s.constant(1.0));
    });
    auto adapt = [&](moe::StateOp state, Value bound, double share) {
      Value above = b.map({v, mean, bound}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
        return s.select(s.less(x[0], s.mul(x[2], x[1])), s.constant(0.0), s.constant(1.0));
      });
      Value next = b.map({bound, copies.sums(above)}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
        Value tooMany = s.less(s.constant(share * elements), x[1]);
        return s.mul(x[0], s.select(tooMany, s.constant(1.05), s.constant(0.95)));
      });
      b.writeRows(state, next);
    };
    adapt(highState, high, sharp);
    adapt(lowState, low, sharp + smooth);
    return mask;
  }
};

} // namespace

void registerAdamWLite(exp::MethodRegistry &registry) { registry.add(std::make_unique<AdamWLite>()); }

} // namespace moec
