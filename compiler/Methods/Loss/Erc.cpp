// Couples routers and experts. Each expert has a row of the router. If this row is the input of all experts, its own
// expert must be the most active; and each expert must be more active for its own row than for others.
#include "compiler/Methods/MatrixBatch.h"
#include "compiler/Methods/Methods.h"

using namespace mlir;

namespace moec {
namespace {

enum class Noise { BoundedUniform, None };
constexpr exp::Choice<Noise> kNoise = {"noise", {{Noise::BoundedUniform, "bounded_uniform"}, {Noise::None, "none"}}};
enum class Activation { Gate, Up, SiluGate, Swiglu, Output };
constexpr exp::Choice<Activation> kActivation = {"activation",
                                                 {{Activation::Gate, "gate"},
                                                  {Activation::Up, "up"},
                                                  {Activation::SiluGate, "silu_gate"},
                                                  {Activation::Swiglu, "swiglu"},
                                                  {Activation::Output, "output"}}};
enum class LayerReduce { Sum, Mean };
constexpr exp::Choice<LayerReduce> kLayerReduce = {"layer_reduce",
                                                   {{LayerReduce::Sum, "sum"}, {LayerReduce::Mean, "mean"}}};

class Erc : public LossMethod {
public:
  std::string kind() const override { return "erc"; }
  std::string summary() const override {
    return "Expert-router coupling: how much more active other pairs of a router row and an expert are than an expert "
           "with its own row";
  }
  std::string source() const override {
    return "arXiv 2512.23447 (ERC); layer_reduce and the activations beside gate and output are ours";
  }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {
        {.key = "alpha",
         .type = FieldType::Number,
         .fallback = "1",
         .minimum = 0,
         .maximum = 16,
         .doc = "share of an expert's own activity that other pairs may reach; smaller is stricter"},
        kNoise.field(Noise::BoundedUniform,
                     "bounded_uniform: elements of router rows times numbers around 1, within half the distance to the "
                     "next row; the same for all micro-batches of a step"),
        kActivation.field(Activation::Gate, "the activation of an expert that is measured; silu_gate: silu(gate), "
                                            "swiglu: silu(gate) * up, output: the expert's result"),
        kLayerReduce.field(LayerReduce::Sum, "over layers")};
  }

  // M' [expert j, row i] = || f_j(R~_i) ||. The sum over i and j != i of max(M_ij - alpha M_ii, 0) +
  // max(M_ji - alpha M_ii, 0), M_ij = M'_ji, meets each entry off the diagonal twice: against the diagonal of its row
  // and of its column.
  Value buildLayer(TensorBuilder &b, exp::MethodAttr attr, const LayerValues &r, StateDeclarer &) const override {
    int64_t n = r.ffnExperts;
    double alpha = attr.getFloat("alpha");
    Value rows = b.transposeColumns(r.router, n); // [n, D]
    if (kNoise.in(attr) == Noise::BoundedUniform && n > 1)
      rows = b.mul(rows, buildNoise(b, r, rows));
    Value activity = buildActivity(b, kActivation.in(attr), r, rows);
    Value own = b.diagonal(activity);
    Value terms = b.mapTo(b.element, {activity, own, b.reshape(own, 1, n)}, n, n,
                          [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
                            Value zero = s.constant(0.0), share = s.constant(alpha);
                            Value above = s.max(s.sub(x[0], s.mul(share, x[1])), zero);
                            Value beside = s.max(s.sub(x[0], s.mul(share, x[2])), zero);
                            return s.select(s.equal(x[3], x[4]), zero, s.add(above, beside));
                          });
    return b.scale(b.sumAll(terms), 1.0 / static_cast<double>(n * n));
  }
  bool isMean(exp::MethodAttr attr) const override { return kLayerReduce.in(attr) == LayerReduce::Mean; }

private:
  // 1 - eps_i .. 1 + eps_i with eps_i = min over j of ||R_i - R_j|| / (2 ||R_i||), a constant. So a row stays nearer to
  // its old value than to any other row. A row of zeros does not change.
  static Value buildNoise(TensorBuilder &b, const LayerValues &r, Value rows) {
    int64_t n = TensorBuilder::rows(rows);
    Value x = b.detach(rows), gram = b.matmulExactly(x, x, /*tb=*/true), squares = b.diagonal(gram);
    Value nearness = b.mapTo(b.element, {gram, squares, b.reshape(squares, 1, n)}, n, n,
                             [](ScalarBuilder &s, TensorBuilder::Scalars v) {
                               Value distance = s.sub(s.add(v[1], v[2]), s.mul(s.constant(2.0), v[0]));
                               return s.select(s.equal(v[3], v[4]), s.constant(-1e30), s.neg(distance));
                             });
    Value nearest = moe::RowReduceOp::create(b.b, b.type(n, 1), moe::Reduction::max, nearness);
    Value numbers = r.noise->uniform(b, "erc", n, TensorBuilder::cols(rows), /*perToken=*/false);
    return b.detach(b.map({nearest, squares, numbers}, [](ScalarBuilder &s, TensorBuilder::Scalars v) {
      Value square = s.max(v[1], s.constant(1e-30));
      Value eps = s.mul(s.constant(0.5), s.sqrt(s.max(s.div(s.neg(v[0]), square), s.constant(0.0))));
      Value around = s.sub(s.mul(s.constant(2.0), v[2]), s.constant(1.0));
      return s.add(s.constant(1.0), s.mul(s.select(s.less(s.constant(1e-30), v[1]), eps, s.constant(0.0)), around));
    }));
  }

  // [expert, row]
  static Value buildActivity(TensorBuilder &b, Activation what, const LayerValues &r, Value rows) {
    int64_t n = r.ffnExperts;
    MatrixBatch experts(b, n, r.rowAlign, /*inLoss=*/true);
    Value u = experts.multiplyShared(rows, what == Activation::Up ? r.expertUp
                                                                  : r.expertGate); // [n * n, I], expert by expert
    auto silu = [](ScalarBuilder &s, Value x) { return s.mul(x, s.sigmoid(x)); };
    if (what == Activation::SiluGate)
      u = b.map({u}, [&](ScalarBuilder &s, TensorBuilder::Scalars x) { return silu(s, x[0]); });
    if (what == Activation::Swiglu || what == Activation::Output)
      u = b.map({u, experts.multiplyShared(rows, r.expertUp)},
                [&](ScalarBuilder &s, TensorBuilder::Scalars x) { return s.mul(silu(s, x[0]), x[1]); });
    if (what == Activation::Output)
      u = experts.multiply(u, r.expertDown);
    // Below the bound the norm counts as a constant: its derivative would be 0 / 0.
    Value norms = b.map({b.sumCols(b.mul(u, u))}, [](ScalarBuilder &s, TensorBuilder::Scalars x) {
      return s.sqrt(s.max(x[0], s.constant(1e-30)));
    });
    return b.reshape(norms, n, n);
  }
};

} // namespace

void registerErc(exp::MethodRegistry &registry) { registry.add(std::make_unique<Erc>()); }

} // namespace moec
