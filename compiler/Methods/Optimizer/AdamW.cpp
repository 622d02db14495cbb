// Adam with decoupled weight decay, one pass over the parameter.
#include "compiler/Methods/AdamSupport.h"

using namespace mlir;

namespace moec {
namespace {

class AdamW : public OptimizerMethod {
public:
  std::string kind() const override { return "adamw"; }
  std::string summary() const override { return "Adam with decoupled weight decay"; }
  std::string source() const override { return "Kingma and Ba 2014; Loshchilov and Hutter 2017"; }
  std::vector<exp::Field> fields() const override {
    std::vector<exp::Field> fields = getAdamFields();
    fields.push_back(getDecayField());
    return fields;
  }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                   OptimizerStates &states) const override {
    double beta1 = attr.getFloats("betas")[0], beta2 = attr.getFloats("betas")[1];
    double eps = attr.getFloat("eps"), decay = attr.getFloat("weight_decay");
    moe::StateOp mState = states.declare("m"), vState = states.declare("v");
    SmallVector<Value> bias = buildBiasCorrections(b, attr, update.step);

    SmallVector<Value> inputs{readElements(b, update.parameter),
                              readElements(b, update.gradient),
                              readElements(b, mState),
                              readElements(b, vState),
                              update.gradientScale,
                              update.lr,
                              bias[0],
                              bias[1]};
    SmallVector<Value> next = b.mapMany(inputs, 3, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value p = x[0], g = s.mul(x[1], x[4]), lr = x[5];
      Value m = s.add(s.mul(s.constant(beta1), x[2]), s.mul(s.constant(1 - beta1), g));
      Value v = s.add(s.mul(s.constant(beta2), x[3]), s.mul(s.constant(1 - beta2), s.mul(g, g)));
      Value change = s.div(s.div(m, x[6]), buildAdamRoot(s, v, x[7], eps, EpsPlace::CorrectedRoot));
      if (decay != 0)
        change = s.add(change, s.mul(s.constant(decay), p));
      return SmallVector<Value>{s.sub(p, s.mul(lr, change)), m, v};
    });
    b.writeRows(update.parameter, next[0]);
    b.writeRows(mState, next[1]);
    b.writeRows(vState, next[2]);
  }
};

} // namespace

void registerAdamW(exp::MethodRegistry &registry) { registry.add(std::make_unique<AdamW>()); }

} // namespace moec
