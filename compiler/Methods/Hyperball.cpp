#include "compiler/Methods/Hyperball.h"

#include "compiler/Methods/MatrixBatch.h"

using namespace mlir;

namespace moec {

void buildStepOnSphere(TensorBuilder &b, const OptimizerMethod::Update &update, OptimizerStates &states,
                       Value direction) {
  MatrixBatch batch(b, update.traits.matrices, update.rowAlign);
  moe::StateOp state = states.declare("radius", b.type(update.traits.matrices / update.traits.copies, 1));
  Value w = b.readRows(update.parameter);
  Value radius =
      b.map({b.readRows(state), batch.norms(w), update.step}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
        return s.select(s.less(x[2], s.constant(1.5)), x[1], x[0]);
      });
  b.writeRows(state, radius);
  // The bound keeps a direction of zeros from becoming 0 / 0.
  Value step = b.map({update.lr, radius, batch.norms(direction)}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
    return s.div(s.mul(x[0], x[1]), s.max(x[2], s.constant(1e-30)));
  });
  Value moved = b.map({w, step, direction},
                      [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.sub(x[0], s.mul(x[1], x[2])); });
  Value back = b.div(radius, batch.norms(moved));
  b.writeRows(update.parameter, b.mul(moved, back));
}

std::string refuseZero(const ParameterTraits &traits) {
  if (traits.initialStd && *traits.initialStd == 0)
    return "its initial values are all zero, and so would its norm be forever; give model.init.std a value above 0, or "
           "the parameter to a group of another kind";
  return "";
}

std::vector<exp::Conflict> findZeroConflicts(exp::ExperimentOp experiment) {
  auto model = experiment.section<exp::ModelOp>();
  if (!model.getInitStd().isZero())
    return {};
  return {{.field = "method",
           .text = "steps that keep the norm of a matrix cannot leave zero, and model.init.std is 0; give it a value "
                   "above 0, or use another kind",
           .other = model,
           .otherField = "init_std",
           .otherText = "init.std is 0"}};
}

} // namespace moec
