// How similar the experts are that work on the same token.
#include "compiler/Methods/ActivationSupport.h"

using namespace mlir;

namespace moec {
namespace {

class CoactivationCosine : public WatchMethod {
public:
  std::string kind() const override { return "coactivation_cosine"; }
  std::string summary() const override {
    return "Mean cosine between the inputs of the last products of one token's experts";
  }
  std::string source() const override { return "arXiv 2602.14159; as the loss specialization"; }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr, Operation *, exp::ExperimentOp experiment) const override {
    return findSingleExperts(experiment, kind(), "measure");
  }

  Value buildLayer(TensorBuilder &b, exp::MethodAttr, const LayerValues &r, StateDeclarer &) const override {
    return buildMeanCosine(b, buildTokenActivations(b, r, /*every=*/1));
  }
};

} // namespace

void registerCoactivationCosine(exp::MethodRegistry &registry) { registry.add(std::make_unique<CoactivationCosine>()); }

} // namespace moec
