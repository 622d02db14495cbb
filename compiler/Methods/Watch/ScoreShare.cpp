// The mean score of each expert: P of the balance loss.
#include "compiler/Methods/Methods.h"

using namespace mlir;

namespace moec {
namespace {

class ScoreShare : public WatchMethod {
public:
  std::string kind() const override { return "score_share"; }
  std::string summary() const override { return "Mean over tokens of the normalised score of each expert"; }
  std::string source() const override { return "Lepikhin et al. 2020, as P"; }

  Value buildLayer(TensorBuilder &b, exp::MethodAttr, const LayerValues &r, StateDeclarer &) const override {
    return b.scale(b.sumRows(r.rowScores), 1.0 / r.numTokens);
  }
};

} // namespace

void registerScoreShare(exp::MethodRegistry &registry) { registry.add(std::make_unique<ScoreShare>()); }

} // namespace moec
