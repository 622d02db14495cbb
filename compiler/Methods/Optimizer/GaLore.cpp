// GaLore: Adam on gradients projected to few directions.
#include "compiler/Methods/AdamSupport.h"
#include "compiler/Methods/MatrixBatch.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec {
namespace {

class GaLore : public OptimizerMethod {
public:
  std::string kind() const override { return "galore"; }
  std::string summary() const override { return "AdamW with moments of gradients projected to few directions"; }
  std::string source() const override { return "Zhao et al. 2024, arXiv 2403.03507"; }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    std::vector<exp::Field> fields = getAdamFields();
    fields.push_back(getDecayField("0"));
    fields.push_back({.key = "rank",
                      .type = FieldType::Integer,
                      .fallback = "128",
                      .minimum = 1,
                      .maximum = 1 << 20,
                      .unit = "directions",
                      .doc = "directions that are kept"});
    fields.push_back({.key = "every",
                      .type = FieldType::Integer,
                      .fallback = "200",
                      .minimum = 1,
                      .maximum = 1 << 30,
                      .unit = "steps",
                      .doc = "steps from one choice of directions to the next"});
    fields.push_back({.key = "scale",
                      .type = FieldType::Number,
                      .fallback = "0.25",
                      .minimum = 0,
                      .maximum = 1e6,
                      .doc = "factor on the update",
                      .openMinimum = true});
    return fields;
  }

  std::string refuses(const ParameterTraits &traits) const override {
    if (traits.role == ParameterTraits::Role::Vector)
      return "it is no matrix; give it to a group of kind \"adamw\" that stands before this one";
    return "";
  }

  void buildUpdate(TensorBuilder &b, exp::MethodAttr attr, const Update &update,
                   OptimizerStates &states) const override {
    MatrixBatch batch(b, update.traits.matrices, update.rowAlign);
    batch.keepWide();
    // The shorter side is projected.
    int64_t rows = update.traits.rows, cols = update.traits.cols;
    bool left = rows <= cols;
    int64_t side = std::min(rows, cols), rank = std::min(attr.getInt("rank"), side);
    moe::StateOp basisState = states.declare("basis", typeOf(b, update, side, rank));
    RankedTensorType small = left ? typeOf(b, update, rank, cols) : typeOf(b, update, rows, rank);
    moe::StateOp mState = states.declare("m", small), vState = states.declare("v", small);

    Value g = b.mul(b.readRows(update.gradient), update.gradientScale);
    Value basis = buildBasis(b, attr, update, batch, left, rank, g, b.readRows(basisState));
    b.writeRows(basisState, basis);
    Value projected = left ? batch.outer(basis, g) : batch.multiply(g, basis);
    AdamMoments adam =
        buildAdam(b, attr, projected, b.readRows(mState), b.readRows(vState), update.step, EpsPlace::Root);
    b.writeRows(mState, adam.m);
    b.writeRows(vState, adam.v);
    Value direction = left ? batch.multiply(basis, adam.direction) : batch.multiply(adam.direction, basis, /*tb=*/true);

    double scale = attr.getFloat("scale"), decay = attr.getFloat("weight_decay");
    Value next =
        b.map({b.readRows(update.parameter), direction, update.lr}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
          Value moved = s.sub(x[0], s.mul(x[2], s.mul(s.constant(scale), x[1])));
          if (decay != 0)
            moved = s.sub(moved, s.mul(s.mul(x[2], s.constant(decay)), moved));
          return moved;
        });
    b.writeRows(update.parameter, next);
  }

private:
  /// The type of a state with one matrix [rows, cols] for each matrix of the parameter.
  static RankedTensorType typeOf(TensorBuilder &b, const Update &update, int64_t rows, int64_t cols) {
    ArrayRef<int64_t> shape = moe::StateOp(update.parameter).getTensorType().getShape();
    SmallVector<int64_t> own(shape.drop_back(2));
    own.append({rows, cols});
    return RankedTensorType::get(own, b.element);
  }

  /// The first `rank` singular vectors of the gradient on its shorter side, in steps that need new ones: eigenvectors
  /// of its smaller Gram matrix. The sign of a vector is chosen to agree with the vector that it replaces, so that the
  /// signs of the moments stay right.
  static Value buildBasis(TensorBuilder &b, exp::MethodAttr attr, const Update &update, MatrixBatch batch, bool left,
                          int64_t rank, Value g, Value old) {
    Value isDue = b.map({update.step}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value done = s.sub(x[0], s.constant(1.0));
      return s.select(s.isMultiple(done, attr.getInt("every")), s.constant(1.0), s.constant(0.0));
    });
    MatrixBatch ifDue = batch.onlyIf(isDue);
    Value gram = batch.asStack(left ? ifDue.multiply(g, g, /*tb=*/true) : ifDue.outer(g, g));
    auto stack = cast<RankedTensorType>(gram.getType());
    int64_t count = stack.getDimSize(0), side = stack.getDimSize(1);
    Value nothing = batch.asStack(b.fill(0.0, count * side, side));
    auto eigen = moe::EighOp::create(b.b, TypeRange{stack, b.type(count, side)}, ValueRange{gram, nothing, isDue});
    Value vectors = ifDue.multiply(batch.asRows(eigen.getVectors()), buildFirst(b, count, side, rank));
    Value along = b.sumRows(b.mul(vectors, old), count);
    return b.map({isDue, vectors, old, along}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      Value turned = s.select(s.less(x[3], s.constant(0.0)), s.neg(x[1]), x[1]);
      return s.select(s.less(s.constant(0.5), x[0]), turned, x[2]);
    });
  }

  /// The first columns of unit matrices: [count * side, rank].
  static Value buildFirst(TensorBuilder &b, int64_t count, int64_t side, int64_t rank) {
    return b
        .mapPosition(count * side, rank, 1,
                     [&](ScalarBuilder &s, TensorBuilder::Scalars place) {
                       Value size = arith::ConstantOp::create(s.b, s.loc, s.b.getI64IntegerAttr(side));
                       Value row = arith::RemSIOp::create(s.b, s.loc, place[0], size);
                       Value same = arith::CmpIOp::create(s.b, s.loc, arith::CmpIPredicate::eq, row, place[1]);
                       return SmallVector<Value>{s.select(same, s.constant(1.0), s.constant(0.0))};
                     })
        .front();
  }
};

} // namespace

void registerGaLore(exp::MethodRegistry &registry) { registry.add(std::make_unique<GaLore>()); }

} // namespace moec
