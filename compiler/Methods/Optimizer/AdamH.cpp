// AdamH: Adam on the sphere.
#include "compiler/Methods/AdamSupport.h"
#include "compiler/Methods/Hyperball.h"

using namespace mlir;

namespace moec {
namespace {

class AdamH : public OptimizerMethod {
public:
  std::string kind() const override { return "adamh"; }
  std::string summary() const override { return "Adam with steps that keep the norm of each matrix"; }
  std::string source() const override { return "HyperP, arXiv 2603.28743"; }
  std::vector<exp::Field> fields() const override { return getAdamFields(); }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr, Operation *, exp::ExperimentOp experiment) const override {
    return findZeroConflicts(experiment);
  }
  double widthExponent(exp::MethodAttr) const override { return 0; }
  std::string refuses(const ParameterTraits &traits) const override {
    if (traits.role == ParameterTraits::Role::Vector)
      return "it is no matrix; give it to a group of kind \"adamw\" that stands before this one";
    return refuseZero(traits);
  }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                   OptimizerStates &states) const override {
    buildStepOnSphere(b, update, states, buildAdam(b, attr, update, states).direction);
  }
};

} // namespace

void registerAdamH(exp::MethodRegistry &registry) { registry.add(std::make_unique<AdamH>()); }

} // namespace moec
