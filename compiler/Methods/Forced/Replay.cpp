// Routes at random with the loads of a finished run.
#include "compiler/Methods/ForcedSupport.h"
#include "compiler/Methods/LogNames.h"

#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <cmath>

using namespace mlir;

namespace moec {
namespace {

/// Loads by mixture layer, then expert; `error` if the file does not hold them.
struct Loads {
  std::vector<std::vector<double>> layers;
  std::string error;
};

/// The counts of experts in a record of the log.
void addLayers(const llvm::json::Object &record, Loads &loads) {
  loads.layers.clear();
  for (auto &[key, value] : record) {
    const llvm::json::Array *layers = value.getAsArray();
    if (!layers || !isOfMetric(StringRef(key), kExpertTokens))
      continue;
    for (const llvm::json::Value &layer : *layers) {
      loads.layers.emplace_back();
      if (const llvm::json::Array *numbers = layer.getAsArray())
        for (const llvm::json::Value &number : *numbers)
          loads.layers.back().push_back(number.getAsNumber().value_or(0));
    }
  }
}

/// Relative paths start at the folder of the spec, which the location of the module around `inside` names. (The
/// location of the key may be in a file that the spec extends.)
Loads readLoads(exp::MethodAttr attr, Operation *inside) {
  Loads loads;
  llvm::SmallString<256> path(attr.getString("path"));
  while (Operation *parent = inside->getParentOp())
    inside = parent;
  auto place = inside->getLoc()->findInstanceOf<FileLineColLoc>();
  if (place && !llvm::sys::path::is_absolute(path)) {
    path = llvm::sys::path::parent_path(place.getFilename().getValue());
    llvm::sys::path::append(path, attr.getString("path"));
  }
  // Volatile: read, not mapped. The run may still be writing it.
  auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/true,
                                          /*IsVolatile=*/true);
  if (!file) {
    loads.error = "cannot read \"" + path.str().str() + "\": " + file.getError().message() +
                  "; expected the metrics.jsonl of a run";
    return loads;
  }
  int64_t wanted = attr.getInt("step");
  for (StringRef line : llvm::split((*file)->getBuffer(), '\n')) {
    llvm::Expected<llvm::json::Value> record = llvm::json::parse(line);
    if (!record) { // an empty line, or one that was cut off
      llvm::consumeError(record.takeError());
      continue;
    }
    const llvm::json::Object *fields = record->getAsObject();
    if (fields && fields->get(kExpertTokens) && (wanted == 0 || fields->getInteger("step") == wanted))
      addLayers(*fields, loads);
  }
  if (loads.layers.empty())
    loads.error = "\"" + path.str().str() + "\" has no record with " + kExpertTokens +
                  (wanted ? " of step " + std::to_string(wanted) : std::string());
  return loads;
}

class Replay : public ForcedMethod {
public:
  std::string kind() const override { return "replay"; }
  std::string summary() const override { return "Experts at random, with the loads that a finished run has logged"; }
  std::string source() const override { return "common practice"; }
  std::vector<exp::Field> fields() const override {
    using exp::FieldType;
    return {{.key = "path", .type = FieldType::Text, .fallback = "", .doc = "metrics.jsonl of the run"},
            {.key = "step",
             .type = FieldType::Integer,
             .fallback = "null",
             .minimum = 1,
             .maximum = 1e12,
             .doc = "step whose line is used; null: the last",
             .nullable = true}};
  }

  Value buildIds(TensorBuilder &b, exp::MethodAttr attr, const RoutingValues &r, StateDeclarer &states) const override {
    Loads loads = readLoads(attr, b.b.getInsertionBlock()->getParentOp());
    auto logChances = [&](int64_t layer) {
      std::vector<double> numbers(r.numExperts, -1e30);
      const std::vector<double> &load = loads.layers[layer];
      for (size_t i = 0; i < static_cast<size_t>(r.ffnExperts); ++i)
        numbers[i] = load[i] > 0 ? std::log(load[i]) : -1e30;
      return numbers;
    };
    return drawExperts(b, r, states.table("replay", r.layer, r.numExperts, logChances));
  }

  std::vector<exp::Conflict> findConflicts(exp::MethodAttr attr, Operation *section,
                                           exp::ExperimentOp experiment) const override {
    Loads loads = readLoads(attr, section);
    if (auto conflicts = ForcedMethod::findConflicts(attr, section, experiment); !conflicts.empty())
      return conflicts;
    if (!loads.error.empty())
      return {{.field = "forced.path", .text = loads.error}};
    auto moe = experiment.section<exp::MoeOp>();
    auto model = experiment.section<exp::ModelOp>();
    if (!moe || !model)
      return {};
    size_t layers = 0;
    for (int64_t i = 0; i < static_cast<int64_t>(model.getNumLayers()); ++i)
      layers += exp::isMoeLayer(moe, i);
    size_t experts = moe.getNumExperts() + moe.getZeroExperts();
    if (loads.layers.size() == layers && loads.layers.front().size() == experts)
      return {};
    return {{.field = "forced.path",
             .text = "the run has " + std::to_string(loads.layers.size()) + " mixture layers of " +
                     std::to_string(loads.layers.front().size()) + " experts, this experiment " +
                     std::to_string(layers) + " of " + std::to_string(experts) + "; replay a run of the same shape",
             .other = moe,
             .otherField = "num_experts",
             .otherText = "num_experts is " + std::to_string(moe.getNumExperts())}};
  }
};

} // namespace

void registerReplay(exp::MethodRegistry &registry) { registry.add(std::make_unique<Replay>()); }

} // namespace moec
