// Adam with decoupled weight decay, one pass over the parameter.
#include "compiler/Methods/Methods.h"

#include <cmath>

using namespace mlir;

namespace moec {
namespace {

class AdamW : public OptimizerMethod {
public:
  std::string kind() const override { return "adamw"; }
  std::string summary() const override { return "Adam with decoupled weight decay"; }
  std::string source() const override { return "Kingma and Ba 2014; Loshchilov and Hutter 2017"; }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {{"betas",
             FieldType::NumberList,
             "[0.9, 0.95]",
             0,
             1,
             {},
             "",
             "decay of the first and of the second moment",
             false,
             true,
             2},
            {"eps", FieldType::Number, "1e-8", 0, 1, {}, "", "added to the root of the second moment"},
            {"weight_decay",
             FieldType::Number,
             "0.1",
             0,
             1e3,
             {},
             "",
             "share of the parameter taken off in a step, times the learning rate"}};
  }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                   OptimizerStates &states) const override {
    double beta1 = attr.getFloats("betas")[0], beta2 = attr.getFloats("betas")[1];
    double eps = attr.getFloat("eps"), decay = attr.getFloat("weight_decay");
    moe::StateOp mState = states.declare("m"), vState = states.declare("v");
    SmallVector<Value> bias = buildBiasCorrections(b, update.step, beta1, beta2);

    SmallVector<Value> inputs{b.readRows(update.parameter),
                              b.readRows(update.gradient),
                              b.readRows(mState),
                              b.readRows(vState),
                              update.gradientScale,
                              update.lr,
                              bias[0],
                              bias[1]};
    SmallVector<Value> next = b.mapMany(inputs, 3, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value p = x[0], g = s.mul(x[1], x[4]), lr = x[5];
      Value m = s.add(s.mul(s.constant(beta1), x[2]), s.mul(s.constant(1 - beta1), g));
      Value v = s.add(s.mul(s.constant(beta2), x[3]), s.mul(s.constant(1 - beta2), s.mul(g, g)));
      Value root = s.add(s.sqrt(s.div(v, x[7])), s.constant(eps));
      Value change = s.div(s.div(m, x[6]), root);
      if (decay != 0)
        change = s.add(change, s.mul(s.constant(decay), p));
      return SmallVector<Value>{s.sub(p, s.mul(lr, change)), m, v};
    });
    b.writeRows(update.parameter, next[0]);
    b.writeRows(mState, next[1]);
    b.writeRows(vState, next[2]);
  }

private:
  // 1 - beta^t. Written as -expm1(t ln beta): in f32, 1 - exp(...) would lose half the digits of 1 - 0.999 in the first
  // steps.
  static SmallVector<Value> buildBiasCorrections(TensorBuilder &b, Value step, double beta1, double beta2) {
    return b.mapMany({step}, 2, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      auto correction = [&](double beta) {
        return beta == 0 ? s.constant(1.0) : s.neg(s.expm1(s.mul(x[0], s.constant(std::log(beta)))));
      };
      Value first = correction(beta1);
      return SmallVector<Value>{first, correction(beta2)};
    });
  }
};

} // namespace

void registerAdamW(exp::MethodRegistry &registry) { registry.add(std::make_unique<AdamW>()); }

} // namespace moec
