// Code shared by the schedules: the warm-up, and progress between two steps.
#ifndef MOEC_COMPILER_METHODS_SCHEDULESUPPORT_H
#define MOEC_COMPILER_METHODS_SCHEDULESUPPORT_H

#include "compiler/Methods/Methods.h"

namespace moec {

inline exp::Field getWarmupField() {
  return exp::stepsField("warmup", exp::StepsKind::Length, "null", "the rate rises linearly over this many steps");
}
inline exp::Field getFloorField() {
  return {.key = "floor",
          .type = exp::FieldType::Number,
          .fallback = "0.0",
          .minimum = 0,
          .maximum = 1,
          .doc = "factor that the decay ends at"};
}

/// (step - from) / (to - from), kept within [0, 1]; 1 for an empty span.
inline mlir::Value buildProgress(ScalarBuilder &s, mlir::Value step, double from, double to) {
  if (to <= from)
    return s.constant(1.0);
  mlir::Value r = s.div(s.sub(step, s.constant(from)), s.constant(to - from));
  return s.max(s.constant(0.0), s.min(s.constant(1.0), r));
}

/// floor + (1 - floor) * shape.
inline mlir::Value raiseToFloor(ScalarBuilder &s, mlir::Value shape, double floor) {
  return s.add(s.constant(floor), s.mul(s.constant(1.0 - floor), shape));
}

/// (step + 1) / warmup before `warmup`, `formula(s, step)` from there on.
inline mlir::Value buildWithWarmup(TensorBuilder &b, exp::MethodAttr attr, mlir::Value step,
                                   llvm::function_ref<mlir::Value(ScalarBuilder &, mlir::Value)> formula) {
  int64_t warmup = attr.getInt("warmup");
  return b.map({step}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
    mlir::Value after = formula(s, x[0]);
    if (warmup == 0)
      return after;
    mlir::Value rising = s.div(s.add(x[0], s.constant(1.0)), s.constant(warmup));
    return s.select(s.less(x[0], s.constant(warmup)), rising, after);
  });
}

/// (1 + cos(pi r)) / 2.
inline mlir::Value buildHalfCosine(ScalarBuilder &s, mlir::Value progress) {
  mlir::Value angle = s.mul(progress, s.constant(3.14159265358979323846));
  return s.mul(s.constant(0.5), s.add(s.constant(1.0), s.cos(angle)));
}

} // namespace moec

#endif
