// Square roots of softmax weights: the size of a mixture's result does not depend on the number of chosen experts.
#include "compiler/Methods/ScoreSupport.h"

#include <cmath>

using namespace mlir;

namespace moec {
namespace {

class SqrtSoftmax : public ScoreMethod {
public:
  std::string kind() const override { return "sqrt_softmax"; }
  std::string summary() const override { return "Square root of the softmax over the k chosen logits (SqrtGate)"; }
  std::string source() const override { return "arXiv 2603.28743 (HyperP)"; }

  // As softmax with order "post": softmax keeps the order within a row.
  Value buildScores(TensorBuilder &, exp::MethodAttr, Value logits) const override { return logits; }

  // The bound keeps the derivative 1 / (2 sqrt(w)) finite for weights that have vanished.
  Value buildWeights(TensorBuilder &b, exp::MethodAttr, const RoutingValues &r, bool) const override {
    return b.map({buildSoftmaxOfChosen(b, r), r.ids}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value root = s.sqrt(s.max(x[0], s.constant(1e-12)));
      Value isEmpty = s.less(s.toInteger(x[1], 64), s.integer(0));
      return r.hasEmptySlots ? s.select(isEmpty, s.constant(0.0), root) : root;
    });
  }

  Value buildRowScores(TensorBuilder &b, exp::MethodAttr, Value scores) const override { return b.softmax(scores); }

  // The weights are always normalised over the chosen experts.
  std::string findConstantWeight(exp::MethodAttr, bool) const override { return "score"; }

  double branchScale() const override { return std::sqrt(0.5); }
};

} // namespace

void registerSqrtSoftmax(exp::MethodRegistry &registry) { registry.add(std::make_unique<SqrtSoftmax>()); }

} // namespace moec
