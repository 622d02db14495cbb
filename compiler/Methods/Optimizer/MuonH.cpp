// MuonH: Muon on the sphere, so only the initialisation decides the norm of a matrix.
#include "compiler/Methods/Hyperball.h"
#include "compiler/Methods/MuonSupport.h"

using namespace mlir;

namespace moec {
namespace {

class MuonH : public OptimizerMethod {
public:
  std::string kind() const override { return "muonh"; }
  std::string summary() const override { return "Muon with steps that keep the norm of each matrix"; }
  std::string source() const override { return "HyperP, arXiv 2603.28743"; }
  std::vector<exp::Field> fields() const override { return getMuonFields(Polynomials::Polar5); }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr, Operation *, exp::ExperimentOp experiment) const override {
    return findZeroConflicts(experiment);
  }
  double widthExponent(exp::MethodAttr) const override { return 0; }
  std::string refuses(const ParameterTraits &traits) const override {
    std::string why = refuseOutsideLayers(traits);
    return why.empty() ? refuseZero(traits) : why;
  }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                   OptimizerStates &states) const override {
    MatrixBatch batch(b, update.traits.matrices, update.rowAlign);
    Value momentum = buildMomentum(b, attr, update, states);
    NewtonSchulz ns = getNewtonSchulz(attr);
    buildStepOnSphere(b, update, states, batch.newtonSchulz(momentum, ns.steps, ns.eps * ns.share));
  }
};

} // namespace

void registerMuonH(exp::MethodRegistry &registry) { registry.add(std::make_unique<MuonH>()); }

} // namespace moec
