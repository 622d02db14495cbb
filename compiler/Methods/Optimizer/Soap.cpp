// SOAP: Adam in the eigenbases of Shampoo's factors.
#include "compiler/Methods/AdamSupport.h"
#include "compiler/Methods/Lite.h"
#include "compiler/Methods/MatrixBatch.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec {
namespace {

/// One side of a matrix: the factor, which is a mean of squared gradients, and the basis in which the factor is
/// diagonal. A side that is too long has no states, and its basis is the unit matrix.
struct Side {
  moe::StateOp factor, basis;
  bool isLeft;
  explicit operator bool() const { return static_cast<bool>(factor); }
};

class Soap : public OptimizerMethod {
public:
  std::string kind() const override { return "soap"; }
  std::string summary() const override { return "Adam in the eigenbases of Shampoo's factors"; }
  std::string source() const override { return "Vyas et al. 2024, arXiv 2409.11321"; }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    std::vector<exp::Field> fields = getAdamFields("[0.95, 0.95]");
    fields.push_back(getDecayField("0.01"));
    fields.push_back({.key = "factor_beta",
                      .type = FieldType::Number,
                      .fallback = "=betas[1]",
                      .minimum = 0,
                      .maximum = 1,
                      .doc = "decay of the factors, means of g g^T and g^T g",
                      .openMaximum = true});
    fields.push_back({.key = "every",
                      .type = FieldType::Integer,
                      .fallback = "10",
                      .minimum = 1,
                      .maximum = 1 << 20,
                      .unit = "steps",
                      .doc = "how often the bases are renewed"});
    fields.push_back({.key = "max_side",
                      .type = FieldType::Integer,
                      .fallback = "10000",
                      .minimum = 1,
                      .maximum = 1 << 24,
                      .unit = "elements",
                      .doc = "a longer side keeps the standard basis"});
    for (exp::Field &field : getLiteFields("weight of the gradient itself"))
      fields.push_back(std::move(field));
    fields.push_back(getSmoothField("lite."));
    return fields;
  }
  std::vector<exp::Conflict> findConflicts(exp::MethodAttr attr, Operation *,
                                           exp::ExperimentOp experiment) const override {
    return findRampConflicts(attr, "lite.", experiment);
  }
  // Whitened steps have full rank, and their elements have a fixed size.
  double widthExponent(exp::MethodAttr) const override { return 0.5; }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                   OptimizerStates &states) const override {
    MatrixBatch batch(b, update.traits.matrices, update.rowAlign);
    batch.keepWide();
    SmallVector<Side> sides = declareSides(b, attr, update, states);
    moe::StateOp mState = states.declare("m"), vState = states.declare("v");
    Value g = b.mul(b.readRows(update.gradient), update.gradientScale);
    // The first step only makes the bases; the second is Adam's first.
    Value later = b.map({update.step}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.select(s.less(x[0], s.constant(1.5)), s.constant(0.0), s.constant(1.0));
    });
    Value adamStep = b.map({update.step}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.max(s.constant(1.0), s.sub(x[0], s.constant(1.0)));
    });

    Value rotated = rotate(b, batch, sides, g);
    Value oldM = b.readRows(mState), oldV = b.readRows(vState);
    AdamMoments adam = buildAdam(b, attr, rotated, oldM, oldV, adamStep, EpsPlace::Root);
    Value direction = buildLite(b, attr, update, states, rotated, adam, adamStep, later);
    step(b, attr, update, later, rotateBack(b, batch, sides, direction));
    Value m = choose(b, later, adam.m, oldM), v = choose(b, later, adam.v, oldV);

    for (const Side &side : sides)
      if (side)
        gather(b, attr, batch, side, g);
    renew(b, attr, update, batch, sides, later, m, v);
    b.writeRows(mState, m);
    b.writeRows(vState, v);
  }

private:
  static SmallVector<Side> declareSides(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                                        OptimizerStates &states) {
    SmallVector<Side> sides;
    ArrayRef<int64_t> shape = moe::StateOp(update.parameter).getTensorType().getShape();
    for (bool isLeft : {true, false}) {
      int64_t size = isLeft ? update.traits.rows : update.traits.cols;
      Side side{{}, {}, isLeft};
      bool isVector = update.traits.role == ParameterTraits::Role::Vector;
      if (!isVector && size > 1 && size <= attr.getInt("max_side")) {
        SmallVector<int64_t> square(shape.drop_back(2));
        square.append({size, size});
        auto type = RankedTensorType::get(square, b.element);
        side.factor = states.declare(isLeft ? "left" : "right", type);
        side.basis = states.declare(isLeft ? "left_basis" : "right_basis", type);
      }
      sides.push_back(side);
    }
    return sides;
  }

  /// L^T X R, and its inverse L X R^T.
  static Value rotate(TensorBuilder &b, MatrixBatch batch, ArrayRef<Side> sides, Value x) {
    for (const Side &side : sides)
      if (side)
        x = side.isLeft ? batch.outer(b.readRows(side.basis), x) : batch.multiply(x, b.readRows(side.basis));
    return x;
  }
  static Value rotateBack(TensorBuilder &b, MatrixBatch batch, ArrayRef<Side> sides, Value x) {
    for (const Side &side : sides)
      if (side)
        x = side.isLeft ? batch.multiply(b.readRows(side.basis), x)
                        : batch.multiply(x, b.readRows(side.basis), /*tb=*/true);
    return x;
  }

  /// x if the condition [1, 1] is not 0, otherwise y.
  static Value choose(TensorBuilder &b, Value condition, Value x, Value y) {
    return b.map({condition, x, y}, [](ScalarBuilder &s, TensorBuilder::Scalars v) {
      return s.select(s.less(s.constant(0.5), v[0]), v[1], v[2]);
    });
  }

  /// W = (W - lr U) (1 - lr weight_decay), from the second step on.
  static void step(TensorBuilder &b, exp::MethodAttr attr, const Update &update, Value later, Value direction) {
    double decay = attr.getFloat("weight_decay");
    Value next = b.map({b.readRows(update.parameter), direction, update.lr, later},
                       [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
                         Value moved = s.sub(x[0], s.mul(x[2], x[1]));
                         if (decay != 0)
                           moved = s.sub(moved, s.mul(s.mul(x[2], s.constant(decay)), moved));
                         return s.select(s.less(s.constant(0.5), x[3]), moved, x[0]);
                       });
    b.writeRows(update.parameter, next);
  }

  /// factor = beta factor + (1 - beta) g g^T, or g^T g.
  static void gather(TensorBuilder &b, exp::MethodAttr attr, MatrixBatch batch, const Side &side, Value g) {
    double beta = attr.has("factor_beta") ? attr.getFloat("factor_beta") : attr.getFloats("betas")[1];
    Value square = side.isLeft ? batch.multiply(g, g, /*tb=*/true) : batch.outer(g, g);
    Value mean = b.map({b.readRows(side.factor), square}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.add(s.mul(s.constant(beta), x[0]), s.mul(s.constant(1 - beta), x[1]));
    });
    b.writeRows(side.factor, mean);
  }

  /// LITE in the bases: where v is small, the direction is flat.
  static Value buildLite(TensorBuilder &b, exp::MethodAttr attr, const Update &update, OptimizerStates &states, Value g,
                         const AdamMoments &adam, Value adamStep, Value later) {
    double beta1 = attr.getFloat("lite.beta1"), beta2 = attr.getFloat("lite.beta2"), eps = attr.getFloat("eps");
    if (!hasFlat(attr, "lite."))
      beta2 = beta1;
    bool mixes = beta1 != beta2, hasChi = attr.getFloat("lite.chi") != 1 && hasFlat(attr, "lite.");
    if (beta1 == 0 && !mixes && !hasChi)
      return adam.direction;
    Value sharp = b.constant(1.0), ramp = b.constant(0.0), chi = b.constant(1.0);
    if (mixes || hasChi)
      sharp = buildSharpMask(b, attr, "lite.", update.traits, states, adam.v, later);
    if (mixes)
      ramp = buildRamp(b, attr, "lite.", update);
    if (hasChi)
      chi = buildChi(b, attr, "lite.", update);
    Value bias = buildBiasCorrections(b, attr, adamStep)[1];
    return b.map({adam.direction, g, adam.v, bias, sharp, ramp, chi}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value flat = s.sub(s.constant(1.0), x[4]);
      Value weight = s.add(s.constant(beta1), s.mul(flat, s.mul(s.constant(beta2 - beta1), x[5])));
      Value root = buildAdamRoot(s, x[2], x[3], eps, EpsPlace::Root);
      Value mixed = s.add(x[0], s.div(s.mul(weight, x[1]), root));
      return s.mul(mixed, s.add(s.constant(1.0), s.mul(flat, s.sub(x[6], s.constant(1.0)))));
    });
  }

  /// The first bases are eigenvectors. Later ones come from one step of orthogonal iteration, after the columns were
  /// sorted by diag(Q^T A Q). The moments are rotated with them.
  static void renew(TensorBuilder &b, exp::MethodAttr attr, const Update &update, MatrixBatch batch,
                    ArrayRef<Side> sides, Value later, Value &m, Value &v) {
    if (!sides[0] && !sides[1])
      return;
    Value isFirst =
        b.map({later}, [](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.sub(s.constant(1.0), x[0]); });
    Value isDue = b.map({update.step}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value done = s.sub(x[0], s.constant(1.0));
      Value multiple = s.select(s.isMultiple(done, attr.getInt("every")), s.constant(1.0), s.constant(0.0));
      return s.select(s.less(done, s.constant(0.5)), s.constant(0.0), multiple);
    });
    MatrixBatch ifDue = batch.onlyIf(isDue);
    Value away = rotateBack(b, ifDue, sides, m), sorted = v;
    for (const Side &side : sides) {
      if (!side)
        continue;
      Value old = b.readRows(side.basis), factor = b.readRows(side.factor);
      Value image = ifDue.multiply(factor, old);
      Value order = buildOrder(b, b.sumRows(b.mul(old, image), update.traits.matrices));
      sorted = side.isLeft ? ifDue.outer(order, sorted) : ifDue.multiply(sorted, order);
      Value target = ifDue.multiply(image, order);
      auto first = moe::EighOp::create(b.b, TypeRange{batch.asStack(old).getType(), sizesType(b, batch, old)},
                                       ValueRange{batch.asStack(factor), batch.asStack(old), isFirst});
      Value next =
          moe::QrOp::create(b.b, first.getVectors().getType(), batch.asStack(target), first.getVectors(), isDue);
      b.writeRows(side.basis, batch.asRows(next));
    }
    m = choose(b, isDue, rotate(b, ifDue, sides, away), m);
    v = choose(b, isDue, sorted, v);
  }

  static Type sizesType(TensorBuilder &b, MatrixBatch batch, Value x) {
    auto type = cast<RankedTensorType>(batch.asStack(x).getType());
    return b.type(type.getDimSize(0), type.getDimSize(1));
  }

  /// The permutation matrices that sort columns by their sizes [count, n], largest first, ties in the old order: [count
  /// * n, n], with a 1 in row j and column r if column j goes to place r.
  static Value buildOrder(TensorBuilder &b, Value sizes) {
    int64_t count = TensorBuilder::rows(sizes), n = TensorBuilder::cols(sizes);
    // precedes[i, j]: column i comes before column j.
    Value precedes =
        mapWithPlace(b, {b.reshape(sizes, count * n, 1), sizes}, count * n, n, [&](ScalarBuilder &s, ValueRange x) {
          Value row = arith::RemSIOp::create(s.b, s.loc, x[2], index(s, n));
          Value larger = s.less(x[1], x[0]), smaller = s.less(x[0], x[1]), earlier = s.less(row, x[3]);
          return s.select(larger, s.constant(1.0),
                          s.select(smaller, s.constant(0.0), s.select(earlier, s.constant(1.0), s.constant(0.0))));
        });
    Value place = b.reshape(b.sumRows(precedes, count), count * n, 1);
    return mapWithPlace(b, {place}, count * n, n, [&](ScalarBuilder &s, ValueRange x) {
      Value away = s.sub(x[0], s.toElement(x[2]));
      return s.select(s.less(s.mul(away, away), s.constant(0.25)), s.constant(1.0), s.constant(0.0));
    });
  }
  static Value index(ScalarBuilder &s, int64_t value) {
    return arith::ConstantOp::create(s.b, s.loc, s.b.getI64IntegerAttr(value));
  }
  /// A map whose formula gets row and column after the scalars of its operands.
  static Value mapWithPlace(TensorBuilder &b, ValueRange inputs, int64_t rows, int64_t cols,
                            function_ref<Value(ScalarBuilder &, ValueRange)> formula) {
    auto body = [&](OpBuilder &builder, Location loc, ValueRange all) {
      ScalarBuilder s(builder, loc, b.element);
      return SmallVector<Value>{formula(s, all)};
    };
    return moe::MapOp::create(b.b, TypeRange{b.type(rows, cols)}, inputs, body, /*position=*/true)->getResult(0);
  }
};

} // namespace

void registerSoap(exp::MethodRegistry &registry) { registry.add(std::make_unique<Soap>()); }

} // namespace moec
