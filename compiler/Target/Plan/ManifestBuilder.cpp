#include "compiler/Target/Plan/ManifestBuilder.h"

#include "runtime/plan/PlanFormat.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Config/llvm-config.h"
#include <nlohmann/json.hpp>

using namespace mlir;
using Json = nlohmann::ordered_json;

namespace moec {

namespace {

std::string dtypeName(Type element) {
  if (element.isF32())
    return "f32";
  if (element.isF64())
    return "f64";
  if (element.isBF16())
    return "bf16";
  if (isa<Float8E4M3FNType>(element))
    return "f8e4m3";
  return element.isInteger(32) ? "i32" : "i64";
}

/// Integers, strings, and arrays and dictionaries of such.
Json toJson(Attribute attribute) {
  if (auto integer = dyn_cast<IntegerAttr>(attribute))
    return integer.getInt();
  if (auto text = dyn_cast<StringAttr>(attribute))
    return text.str();
  if (auto numbers = dyn_cast<DenseI64ArrayAttr>(attribute))
    return std::vector<int64_t>(numbers.asArrayRef());
  if (auto list = dyn_cast<ArrayAttr>(attribute)) {
    Json json = Json::array();
    for (Attribute element : list)
      json.push_back(toJson(element));
    return json;
  }
  Json json = Json::object();
  for (NamedAttribute entry : cast<DictionaryAttr>(attribute))
    json[entry.getName().str()] = toJson(entry.getValue());
  return json;
}

/// A place in the arena: constant offset plus a stride for each enclosing repeat.
struct Place {
  int64_t offset = 0;
  SmallVector<int64_t> strides;
};

/// JSON pointer of the section of the spec that a location names first; empty in IR written by hand.
std::string pointerIn(Location loc) {
  std::string pointer;
  loc->walk([&](Location part) {
    auto name = dyn_cast<NameLoc>(part);
    if (!name)
      return WalkResult::advance();
    pointer = name.getName().str();
    return WalkResult::interrupt();
  });
  return pointer;
}

class ManifestBuilder {
public:
  ManifestBuilder(ModuleOp module, const ManifestInputs &inputs)
      : module(module), inputs(inputs), experiment(inputs.experiment), symbols(module) {}

  FailureOr<std::string> build();

private:
  Json kernels();
  Json buffers();
  Json states();
  Json metrics();
  Json data();
  Json functions();
  Json functionBody(Block &block, SmallVectorImpl<Value> &indices);
  Json programBody(Block &block);
  int64_t locationOf(Operation &op);
  Json operand(Value buffer, ArrayRef<Value> indices);
  std::string elementOf(Value buffer);
  Place resolve(Value buffer, ArrayRef<Value> indices);
  plan::StateOp state(StringRef name);

  ModuleOp module;
  const ManifestInputs &inputs;
  exp::ExperimentOp experiment;
  SymbolTable symbols;
  llvm::StringMap<int64_t> kernelNumbers;
  std::vector<std::string> locations;
  bool incomplete = false;
};

plan::StateOp ManifestBuilder::state(StringRef name) {
  auto found = symbols.lookup<plan::StateOp>(name);
  if (!found) {
    module.emitError("internal: the plan has no state @") << name;
    incomplete = true;
  }
  return found;
}

Place ManifestBuilder::resolve(Value buffer, ArrayRef<Value> indices) {
  if (auto slice = buffer.getDefiningOp<plan::SliceOp>()) {
    Place place = resolve(slice.getSource(), indices);
    place.offset += slice.getOffset();
    if (slice.getIndex())
      for (auto [depth, index] : llvm::enumerate(indices))
        if (index == slice.getIndex())
          place.strides[depth] += slice.getStride();
    return place;
  }
  Place place;
  place.strides.assign(indices.size(), 0);
  if (auto address = buffer.getDefiningOp<plan::AddressOp>())
    place.offset = symbols.lookup<plan::StateOp>(address.getState()).getOffset().value();
  else
    place.offset = buffer.getDefiningOp<plan::AllocOp>().getOffset().value();
  return place;
}

Json ManifestBuilder::operand(Value buffer, ArrayRef<Value> indices) {
  Place place = resolve(buffer, indices);
  while (!place.strides.empty() && place.strides.back() == 0)
    place.strides.pop_back();
  Json result = Json::array({place.offset});
  for (int64_t stride : place.strides)
    result.push_back(stride);
  return result;
}

int64_t bytesOf(Value buffer) { return cast<plan::BufferType>(buffer.getType()).getBytes(); }

/// The element type of what a buffer is a part of.
std::string ManifestBuilder::elementOf(Value buffer) {
  while (auto slice = buffer.getDefiningOp<plan::SliceOp>())
    buffer = slice.getSource();
  auto address = buffer.getDefiningOp<plan::AddressOp>();
  Type type = address ? symbols.lookup<plan::StateOp>(address.getState()).getType()
                      : buffer.getDefiningOp<plan::AllocOp>().getType();
  return dtypeName(cast<RankedTensorType>(type).getElementType());
}

Json ManifestBuilder::kernels() {
  // All launches of a kernel have operands of the same types.
  llvm::StringMap<plan::LaunchOp> launches;
  module.walk([&](plan::LaunchOp launch) { launches.try_emplace(launch.getKernel(), launch); });
  Json list = Json::array();
  for (auto kernel : module.getOps<plan::KernelOp>()) {
    kernelNumbers[kernel.getSymName()] = list.size();
    Json record = {{"name", kernel.getSymName().drop_front(StringRef("moec_").size()).str()},
                   {"symbol", kernel.getSymName().str()},
                   {"params", kernel.getParams()},
                   {"flops", kernel.getFlops()},
                   {"bytes", kernel.getBytes()},
                   {"summary", kernel.getSummary().str()},
                   {"loc", describeLocation(kernel.getLoc())}};
    if (plan::LaunchOp launch = launches.lookup(kernel.getSymName())) {
      Json types = Json::array();
      for (Value buffer : launch.getOperands())
        types.push_back(elementOf(buffer));
      record["types"] = types;
      record["writes"] = launch.getWrites().vec();
    }
    if (DictionaryAttr launch = kernel.getLaunchAttr()) {
      Json json = toJson(launch);
      for (const CodeBlob &blob : inputs.code)
        for (const CodeBlob::Kernel &code : blob.kernels)
          if (code.symbol == kernel.getSymName()) {
            json["module"] = blob.name;
            record["symbol"] = code.entry;
          }
      record["launch"] = json;
    }
    list.push_back(std::move(record));
  }
  return list;
}

Json ManifestBuilder::buffers() {
  Json list = Json::array();
  auto add = [&](StringRef name, StringRef function, int64_t offset, int64_t bytes, RankedTensorType type,
                 int64_t first, int64_t last, Location loc) {
    list.push_back({{"name", name.str()},
                    {"function", function.str()},
                    {"offset", offset},
                    {"bytes", bytes},
                    {"dtype", dtypeName(type.getElementType())},
                    {"shape", std::vector<int64_t>(type.getShape())},
                    {"first", first},
                    {"last", last},
                    {"loc", describeLocation(loc)}});
  };
  for (auto state : module.getOps<plan::StateOp>())
    add(state.getSymName(), "", *state.getOffset(), state.getBytes(), state.getTensorType(), 0, 0, state.getLoc());
  for (auto function : module.getOps<plan::FuncOp>())
    function.walk([&](plan::AllocOp alloc) {
      add(alloc.getName(), function.getSymName(), *alloc.getOffset(), alloc.getResult().getType().getBytes(),
          cast<RankedTensorType>(alloc.getType()), *alloc.getFirst(), *alloc.getLast(), alloc.getLoc());
    });
  return list;
}

Json ManifestBuilder::states() {
  Json list = Json::array();
  for (auto state : module.getOps<plan::StateOp>()) {
    StringRef kind = state.getKind();
    bool saved =
        kind == "parameter" || kind == "optimizer" || kind == "balance" || state.getSymName() == "counter.step";
    ArrayRef<int64_t> layers = state.getLayers().value_or(ArrayRef<int64_t>{0, 1});
    // Copies that are not named by layer are one tensor.
    std::vector<int64_t> shape(state.getTensorType().getShape());
    int64_t count = state.getCount();
    if (count > 1 && !state.getSymName().contains("{}")) {
      shape.insert(shape.begin(), count);
      count = 1;
    }
    // `#n` tells symbols of layers that take turns apart; first and step already do so for names.
    list.push_back({{"name", state.getSymName().split('#').first.str()},
                    {"offset", *state.getOffset()},
                    {"dtype", dtypeName(state.getTensorType().getElementType())},
                    {"shape", shape},
                    {"count", count},
                    {"first", layers[0]},
                    {"step", layers[1]},
                    {"kind", kind.str()},
                    {"checkpoint", saved}});
  }
  return list;
}

Json ManifestBuilder::metrics() {
  Json list = Json::array();
  for (auto state : module.getOps<plan::StateOp>()) {
    if (state.getKind() != "metric")
      continue;
    StringRef name = state.getSymName();
    name.consume_front("metric.");
    std::vector<int64_t> shape(state.getTensorType().getShape());
    if (state.getCount() > 1 || name.starts_with("expert_tokens"))
      shape = {static_cast<int64_t>(state.getCount()), state.getTensorType().getNumElements()};
    list.push_back({{"name", name.str()},
                    {"offset", *state.getOffset()},
                    {"dtype", dtypeName(state.getTensorType().getElementType())},
                    {"shape", shape}});
  }
  return list;
}

Json ManifestBuilder::data() {
  auto section = experiment.section<exp::DataOp>();
  Json train = Json::array(), validation = Json::array();
  for (auto data : experiment.sections<exp::DatasetOp>())
    (data.getSplit() == "train" ? train : validation)
        .push_back({{"name", data.getName().str()},
                    {"path", data.getPath().str()},
                    {"weight", data.getWeight().convertToDouble()}});
  return {{"tokenizer", {{"kind", section.getTokenizer().str()}}},
          {"seq_len", section.getSeqLen()},
          {"sequences", experiment.section<exp::BatchOp>().getMicroSequences()},
          {"base_dir", inputs.baseDir},
          {"train", train},
          {"validation", validation}};
}

/// The number in the manifest of the section of the spec that an instruction comes from.
int64_t ManifestBuilder::locationOf(Operation &op) {
  std::string pointer = pointerIn(op.getLoc());
  auto found = llvm::find(locations, pointer);
  if (found == locations.end())
    found = locations.insert(locations.end(), pointer);
  return found - locations.begin();
}

Json ManifestBuilder::functionBody(Block &block, SmallVectorImpl<Value> &indices) {
  Json list = Json::array();
  for (Operation &op : block) {
    if (auto launch = dyn_cast<plan::LaunchOp>(op)) {
      auto kernel = symbols.lookup<plan::KernelOp>(launch.getKernel());
      Json args = Json::array(), sizes = Json::array();
      for (Value buffer : launch.getOperands()) {
        args.push_back(operand(buffer, indices));
        sizes.push_back(bytesOf(buffer));
      }
      list.push_back({{"op", "launch"},
                      {"kernel", kernelNumbers.lookup(launch.getKernel())},
                      {"grid", kernel.getGrid()},
                      {"args", args},
                      {"sizes", sizes},
                      {"at", locationOf(op)}});
    } else if (auto fill = dyn_cast<plan::FillOp>(op)) {
      list.push_back({{"op", "fill"},
                      {"dst", operand(fill.getDst(), indices)},
                      {"bytes", bytesOf(fill.getDst())},
                      {"at", locationOf(op)}});
    } else if (auto copy = dyn_cast<plan::CopyOp>(op)) {
      list.push_back({{"op", "copy"},
                      {"dst", operand(copy.getDst(), indices)},
                      {"src", operand(copy.getSrc(), indices)},
                      {"bytes", bytesOf(copy.getDst())},
                      {"at", locationOf(op)}});
    } else if (auto repeat = dyn_cast<plan::RepeatOp>(op)) {
      Block &body = repeat.getBody().front();
      indices.push_back(body.getArgument(0));
      Json inner = functionBody(body, indices);
      indices.pop_back();
      list.push_back(
          {{"op", "repeat"}, {"count", repeat.getCount()}, {"reverse", repeat.getReverse()}, {"body", inner}});
    }
  }
  return list;
}

Json ManifestBuilder::functions() {
  Json list = Json::array();
  for (auto function : module.getOps<plan::FuncOp>()) {
    SmallVector<Value> indices;
    list.push_back(
        {{"name", function.getSymName().str()}, {"body", functionBody(function.getBody().front(), indices)}});
  }
  return list;
}

Json ManifestBuilder::programBody(Block &block) {
  Json list = Json::array();
  for (Operation &op : block) {
    if (auto call = dyn_cast<plan::CallOp>(op))
      list.push_back({{"op", "call"}, {"function", call.getCallee().str()}});
    else if (auto repeat = dyn_cast<plan::RepeatOp>(op))
      list.push_back({{"op", "repeat"}, {"count", repeat.getCount()}, {"body", programBody(repeat.getBody().front())}});
    else if (auto steps = dyn_cast<plan::StepsOp>(op))
      list.push_back({{"op", "steps"}, {"count", steps.getCount()}, {"body", programBody(steps.getBody().front())}});
    else if (isa<plan::NextBatchOp>(op))
      list.push_back({{"op", "next_batch"}});
    else if (auto log = dyn_cast<plan::LogOp>(op))
      list.push_back({{"op", "log"}, {"every", log.getEvery()}});
    else if (auto every = dyn_cast<plan::EveryOp>(op))
      list.push_back({{"op", "every"}, {"steps", every.getSteps()}, {"body", programBody(every.getBody().front())}});
    else if (isa<plan::EvaluateOp>(op))
      list.push_back({{"op", "evaluate"}});
    else if (isa<plan::SaveOp>(op))
      list.push_back({{"op", "save"}});
  }
  return list;
}

FailureOr<std::string> ManifestBuilder::build() {
  auto tokens = state("generate.tokens"), position = state("generate.position"), logits = state("generate.logits");
  auto losses = state("evaluate.losses");
  auto batch = state("batch.tokens"), domains = state("batch.domains"), step = state("counter.step");
  auto arena = module->getAttrOfType<IntegerAttr>("plan.arena_bytes");
  auto stateBytes = module->getAttrOfType<IntegerAttr>("plan.state_bytes");
  if (incomplete || !arena || !stateBytes)
    return failure();
  auto place = [](plan::StateOp state) {
    return Json{{"offset", *state.getOffset()}, {"shape", std::vector<int64_t>(state.getTensorType().getShape())}};
  };
  // Counters are there even when no kernel counts.
  int64_t scratch = inputs.target->kind() == "cuda" ? static_cast<int64_t>(rt::kPlanCudaCounterBytes) : 0;
  for (auto kernel : module.getOps<plan::KernelOp>())
    scratch = std::max<int64_t>(scratch, kernel.getScratch());
  Json programs = Json::object();
  for (auto program : module.getOps<plan::ProgramOp>())
    programs[program.getName().str()] = programBody(program.getBody().front());

  Json manifest;
  manifest["format"] = 1;
  manifest["compiler"] = "moec " MOEC_VERSION ", LLVM " LLVM_VERSION_STRING;
  manifest["name"] = experiment.getSymName().str();
  manifest["spec"] = Json::parse(inputs.effectiveSpec);
  manifest["spec_file"] = inputs.specFile;
  manifest["element_type"] = dtypeName(logits.getTensorType().getElementType());
  manifest["seed"] = experiment.getSeed();
  manifest["target"] = Json::parse(inputs.target->describe());
  manifest["memory"] = {
      {"state_bytes", stateBytes.getInt()}, {"arena_bytes", arena.getInt()}, {"scratch_bytes", plan::alignUp(scratch)}};
  manifest["kernels"] = kernels();
  manifest["buffers"] = buffers();
  manifest["state"] = states();
  manifest["step_counter"] = {{"offset", *step.getOffset()}};
  manifest["data"] = data();
  manifest["batch"] = {{"offset", *batch.getOffset()}, {"domains_offset", *domains.getOffset()}};
  manifest["generate"] = {{"function", "logits"},
                          {"tokens", place(tokens)},
                          {"position", {{"offset", *position.getOffset()}}},
                          {"logits", place(logits)}};
  manifest["evaluate"] = {{"function", "evaluate"},
                          {"batches", experiment.section<exp::EvaluateOp>().getBatches()},
                          {"losses", {{"offset", *losses.getOffset()}}}};
  manifest["metrics"] = metrics();
  manifest["functions"] = functions();
  manifest["programs"] = programs;
  manifest["checkpoint"] = {{"keep_last", experiment.section<exp::CheckpointOp>().getKeepLast()}};
  manifest["locations"] = locations;
  return manifest.dump();
}

} // namespace

std::string describeLocation(Location loc) {
  std::string pointer = pointerIn(loc), file;
  loc->walk([&](Location part) {
    if (auto place = dyn_cast<FileLineColLoc>(part); place && file.empty())
      file = (place.getFilename().getValue() + ":" + Twine(place.getLine()) + ":" + Twine(place.getColumn())).str();
    return WalkResult::advance();
  });
  if (pointer.empty())
    return file;
  return file.empty() ? pointer : pointer + " (" + file + ")";
}

FailureOr<std::string> buildManifest(ModuleOp plan, const ManifestInputs &inputs) {
  return ManifestBuilder(plan, inputs).build();
}

} // namespace moec
