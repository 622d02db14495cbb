#include "compiler/Model/Parameters.h"

#include "compiler/Methods/FindMethod.h"
#include "compiler/Methods/Methods.h"

#include <cmath>

using namespace mlir;

namespace moec {

int64_t ParameterInfo::getElements() const {
  int64_t elements = getCopies();
  for (int64_t size : shape)
    elements *= size;
  return elements;
}

std::vector<Segment> formSegments(exp::ExperimentOp experiment) {
  int64_t numLayers = experiment.section<exp::ModelOp>().getNumLayers();
  auto moe = experiment.section<exp::MoeOp>();
  if (!moe)
    return formSegments(numLayers, {numLayers, 1});
  return formSegments(numLayers, {static_cast<int64_t>(moe.getFirstLayer()), static_cast<int64_t>(moe.getEvery())});
}

namespace {

/// Collects the list; one function for each block of the model.
class ParameterLister {
public:
  explicit ParameterLister(exp::ExperimentOp experiment)
      : experiment(experiment), model(experiment.section<exp::ModelOp>()), width(model.getHiddenSize()),
        std(model.getInitStd().convertToDouble()) {
    residual =
        model.getResidualScale() == exp::ResidualScale::inverse_root ? 1 / std::sqrt(2.0 * model.getNumLayers()) : 1;
  }

  std::vector<ParameterInfo> list() {
    int64_t vocabulary = model.getVocabSize();
    add("embed", {vocabulary, width}, exp::fieldLoc(model, "vocab_size"), {.role = Role::Embedding});
    for (const Segment &segment : formSegments(experiment))
      for (const LayerStack &current : segment.stacks)
        addLayer(current);
    stack.reset();
    addNorm("final_norm", width, model.getLoc());
    if (!model.getTieEmbeddings())
      add("head", {width, vocabulary}, exp::fieldLoc(model, "vocab_size"), {.role = Role::Head});
    if (auto multiToken = experiment.section<exp::MultiTokenOp>())
      for (int64_t i = 0; i < static_cast<int64_t>(multiToken.getDepth()); ++i)
        addModule(getMultiTokenPrefix(i), multiToken.getLoc());
    return std::move(parameters);
  }

private:
  using Role = ParameterTraits::Role;
  struct About {
    Role role = Role::Hidden;
    double activeShare = 1;
    double residual = 1;
  };
  void add(const std::string &name, std::vector<int64_t> shape, Location loc, About about) {
    std::string logicalName = stack ? getNameInLayers(name) : name;
    std::string symbol = getSymbol(logicalName, stack ? &*stack : nullptr);
    std::optional<double> stddev;
    if (about.role != Role::Vector)
      stddev = std;
    parameters.push_back({logicalName, symbol, name, std::move(shape), about.role, stddev, about.residual, stack,
                          about.activeShare, loc});
  }
  void add(const std::string &name, std::vector<int64_t> shape, Location loc) { add(name, std::move(shape), loc, {}); }
  void addNorm(const std::string &name, int64_t size, Location loc) {
    add(name + ".scale", {1, size}, loc, {.role = Role::Vector});
  }

  // The norm before a block and, for peri, the one after it.
  void addBlockNorms(const std::string &block, Location loc) {
    addNorm(block + ".norm", width, loc);
    if (model.getNormPlacement() == exp::NormPlacement::peri)
      addNorm(block + ".out_norm", width, loc);
  }

  void addLayer(const LayerStack &current) {
    stack = current;
    addAttention("");
    if (!current.isMoe)
      return addFeedForward("ffn", experiment.section<exp::FfnOp>());
    auto moe = experiment.section<exp::MoeOp>();
    if (moe.getBlock() != exp::LayerShape::shortcut) {
      addBlockNorms("moe", moe.getLoc());
      return addMoe(moe);
    }
    addFeedForward("ffn", experiment.section<exp::FfnOp>());
    addMoe(moe); // after the norm of the first dense block
    if (model.getNormPlacement() == exp::NormPlacement::peri)
      addNorm("moe.out_norm", width, moe.getLoc());
    addAttention(kSecondHalf);
    addFeedForward(std::string(kSecondHalf) + "ffn", experiment.section<exp::FfnOp>());
  }

  void addModule(const std::string &prefix, Location loc) {
    size_t first = parameters.size();
    for (const char *input : {"hidden", "embed"}) {
      addNorm(prefix + input + "_norm", width, loc);
      add(prefix + "from_" + input, {width, width}, loc);
    }
    addAttention(prefix);
    addBlockNorms(prefix + "ffn", loc);
    addSwiglu(prefix + "ffn", getMultiTokenInner(experiment), loc);
    addNorm(prefix + "out_norm", width, loc);
    // Trained, but met by no token that is generated.
    for (ParameterInfo &info : llvm::drop_begin(parameters, first))
      info.activeShare = 0;
  }

  void addAttention(const std::string &prefix) {
    auto attention = experiment.section<exp::AttentionOp>();
    Location loc = attention.getLoc();
    int64_t head = attention.getHeadDim();
    int64_t queries = attention.getNumHeads() * head, keys = attention.getNumKvHeads() * head;
    addBlockNorms(prefix + "attention", loc);
    add(prefix + "attention.q", {width, queries}, loc);
    add(prefix + "attention.k", {width, keys}, loc);
    add(prefix + "attention.v", {width, keys}, loc);
    if (attention.getQkNorm() != exp::QkNorm::none) {
      bool perHead = attention.getQkNorm() == exp::QkNorm::head;
      addNorm(prefix + "attention.q_norm", perHead ? head : queries, loc);
      addNorm(prefix + "attention.k_norm", perHead ? head : keys, loc);
    }
    add(prefix + "attention.o", {queries, width}, loc, {.residual = residual});
  }

  void addFeedForward(const std::string &name, exp::FfnOp ffn) {
    addBlockNorms(name, ffn.getLoc());
    addSwiglu(name, ffn.getInnerSize(), ffn.getLoc());
  }

  void addSwiglu(const std::string &name, int64_t inner, Location loc) {
    add(name + ".gate", {width, inner}, loc);
    add(name + ".up", {width, inner}, loc);
    add(name + ".down", {inner, width}, loc, {.residual = residual});
  }

  // Experts with weights that a token meets, on average over tokens and the stack's layers, when loads are equal.
  double meanExperts(exp::MoeOp moe) {
    double topK = static_cast<double>(moe.getTopK());
    if (ArrayRef<double> list = moe.getTopKPerLayer(); !list.empty()) {
      topK = 0;
      for (int64_t i = 0; i < stack->count; ++i) {
        int64_t mixture = (stack->first + stack->step * i - static_cast<int64_t>(moe.getFirstLayer())) / moe.getEvery();
        topK += list[mixture] / static_cast<double>(stack->count);
      }
    }
    auto router = experiment.section<exp::RouterOp>();
    if (router.getBalance()) {
      const auto *balance = findMethod<BalanceMethod>(router, *router.getBalance());
      if (double given = balance ? balance->meanExperts(*router.getBalance()) : 0; given > 0)
        return given;
    }
    const auto *routing = findMethod<RoutingMethod>(router, router.getMethod());
    if (!routing) // reported
      return topK;
    double outputs = static_cast<double>(moe.getNumExperts() + moe.getZeroExperts());
    return routing->meanChosen(router.getMethod(), topK) * static_cast<double>(moe.getNumExperts()) / outputs;
  }

  void addMoe(exp::MoeOp moe) {
    Location loc = moe.getLoc();
    int64_t experts = moe.getNumExperts(), inner = moe.getExpertInnerSize();
    double share = meanExperts(moe) / static_cast<double>(experts);
    add("moe.router", {width, experts + static_cast<int64_t>(moe.getZeroExperts())},
        experiment.section<exp::RouterOp>().getLoc(), {.role = Role::Router});
    add("moe.experts.gate", {experts, width, inner}, loc, {.activeShare = share});
    add("moe.experts.up", {experts, width, inner}, loc, {.activeShare = share});
    add("moe.experts.down", {experts, inner, width}, loc, {.activeShare = share, .residual = residual});
    if (moe.getSharedExperts() > 0)
      addSwiglu("moe.shared", moe.getSharedExperts() * inner, exp::fieldLoc(moe, "shared_experts"));
  }

  exp::ExperimentOp experiment;
  exp::ModelOp model;
  int64_t width;
  double std, residual;
  std::optional<LayerStack> stack;
  std::vector<ParameterInfo> parameters;
};

} // namespace

std::vector<ParameterInfo> listParameters(exp::ExperimentOp experiment) { return ParameterLister(experiment).list(); }

ParameterCounts countParameters(exp::ExperimentOp experiment) {
  ParameterCounts counts;
  for (const ParameterInfo &parameter : listParameters(experiment)) {
    counts.total += parameter.getElements();
    counts.active += std::llround(parameter.getElements() * parameter.activeShare);
  }
  return counts;
}

} // namespace moec
