// How much the choice of experts depends on the source of a text.
#include "compiler/Methods/LogNames.h"
#include "compiler/Methods/WatchSupport.h"

using namespace mlir;

namespace moec {
namespace {

class DomainInformation : public WatchMethod {
public:
  std::string kind() const override { return "domain_information"; }
  std::string summary() const override {
    return std::string("Mutual information between a token's source of text and its experts, in nats; also logs ") +
           kExpertTokensBySource;
  }
  std::string source() const override { return "as measured in arXiv 2501.11873; over the choices of a step: ours"; }

  Value buildLayer(TensorBuilder &b, exp::MethodAttr, const LayerValues &r, StateDeclarer &states) const override {
    int64_t cells = r.numSources * r.numExperts;
    Value ids = b.mapTo(b.b.getI32Type(), {r.ids, r.readSources()}, r.numTokens, TensorBuilder::cols(r.ids),
                        [&](ScalarBuilder &s, TensorBuilder::Scalars x) {
                          Value expert = s.toInteger(x[0], 64), source = s.toInteger(x[1], 64);
                          Value cell = s.add(s.mul(source, s.integer(r.numExperts)), expert);
                          Value isEmpty = s.less(expert, s.integer(0));
                          return s.toInteger(s.select(isEmpty, expert, cell), 32);
                        });
    moe::StateOp state =
        states.perLayerMetric(kExpertTokensBySource, RankedTensorType::get({1, cells}, b.b.getI64Type()));
    b.accumulate(state, moe::CountIdsOp::create(b.b, state.getTensorType(), ids), r.layer);
    return {};
  }

  // I = H(source) + H(expert) - H(both).
  Value buildStep(TensorBuilder &b, exp::MethodAttr, const StepLoad &load, StateDeclarer &states) const override {
    int64_t layers = TensorBuilder::rows(load.counts), n = load.numExperts;
    // buildLayer has declared the state, with its type.
    moe::StateOp state = states.perLayerMetric(kExpertTokensBySource, {});
    Value both = b.toElement(b.readRows(state));
    int64_t sources = TensorBuilder::cols(both) / n;
    Value bySource = b.reshape(both, layers * sources, n);
    Value source = b.reshape(b.sumCols(bySource), layers, sources), expert = b.sumRows(bySource, layers);
    return b.sub(b.add(buildRowEntropy(b, source), buildRowEntropy(b, expert)), buildRowEntropy(b, both));
  }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr, Operation *section,
                                           exp::ExperimentOp experiment) const override {
    auto isOther = [&](exp::WatchOp watch) {
      return watch.getMethod().getKind() == kind() && watch->isBeforeInBlock(section);
    };
    auto watches = experiment.sections<exp::WatchOp>();
    auto other = llvm::find_if(watches, isOther);
    if (other != watches.end())
      return {{.field = "",
               .text = std::string("domain_information is given twice, and both would count into ") +
                       kExpertTokensBySource + "; leave one out",
               .other = *other,
               .otherText = "the first is here"}};
    return {};
  }
};

} // namespace

void registerDomainInformation(exp::MethodRegistry &registry) { registry.add(std::make_unique<DomainInformation>()); }

} // namespace moec
