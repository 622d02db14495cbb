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
    fields.push_back(getSmoothField(""));
    return fields;
  }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr attr, Operation *,
                                           exp::ExperimentOp experiment) const override {
    return findRampConflicts(attr, "", experiment);
  }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                   OptimizerStates &states) const override {
    AdamMoments adam = buildAdam(b, attr, update, states, EpsPlace::Root);
    double decay = attr.getFloat("weight_decay");
    SmallVector<Value> inputs{b.readRows(update.parameter), adam.direction, update.lr};
    bool hasChi = attr.getFloat("chi") != 1 && hasFlat(attr, "");
    if (hasChi)
      inputs.append({buildSharpMask(b, attr, "", update.traits, states, adam.v), buildChi(b, attr, "", update)});
    Value next = b.map(inputs, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value change = x[1];
      if (decay != 0)
        change = s.add(change, s.mul(s.constant(decay), x[0]));
      if (hasChi) {
        Value one = s.constant(1.0);
        change = s.mul(s.add(one, s.mul(s.sub(x[4], one), s.sub(one, x[3]))), change);
      }
      return s.sub(x[0], s.mul(x[2], change));
    });
    b.writeRows(update.parameter, next);
  }
};

} // namespace

void registerAdamWLite(exp::MethodRegistry &registry) { registry.add(std::make_unique<AdamWLite>()); }

} // namespace moec
