// The share of all choices that each expert got: f of the balance loss, which can be uneven while P is even.
#include "compiler/Methods/Methods.h"

using namespace mlir;

namespace moec {
namespace {

class LoadShare : public WatchMethod {
public:
  std::string kind() const override { return "load_share"; }
  std::string summary() const override { return "Share of the step's choices for each expert, before any drop"; }
  std::string source() const override { return "Lepikhin et al. 2020, as f"; }

  Value buildStep(TensorBuilder &b, exp::MethodAttr, const StepLoad &load, StateDeclarer &) const override {
    Value counts = b.toElement(load.counts);
    return b.div(counts, b.sumCols(counts));
  }
};

} // namespace

void registerLoadShare(exp::MethodRegistry &registry) { registry.add(std::make_unique<LoadShare>()); }

} // namespace moec
