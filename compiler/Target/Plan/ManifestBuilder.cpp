// The manifest has two parts: tables that come from the plan alone (what an instruction becomes, where memory lies),
// and what the experiment adds to them. Every op of the plan dialect is known here by name; any other op is an error.
#include "compiler/Target/Plan/ManifestBuilder.h"

#include "dialects/Moe/IR/FunctionNames.h"
#include "runtime/plan/PlanFormat.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Config/llvm-config.h"

using namespace mlir;
using moec::rt::Json;

namespace moec {

namespace {

//===--- Values of JSON -------------------------------------------------------------------------------------------===//

Json number(int64_t value) { return Json::integer(value); }

Json text(StringRef value) { return Json::string(value.str()); }

Json numbers(ArrayRef<int64_t> values) {
  Json list = Json::array();
  for (int64_t value : values)
    list.append(number(value));
  return list;
}

Json record(std::initializer_list<Json::Member> members) {
  Json object = Json::object();
  for (const Json::Member &member : members)
    object.add(member.first, member.second);
  return object;
}

/// The name that plan files have for an element type; empty for a type that they do not hold.
StringRef dtypeName(Type element) {
  return llvm::TypeSwitch<Type, StringRef>(element)
      .Case<Float32Type>([](auto) { return "f32"; })
      .Case<Float64Type>([](auto) { return "f64"; })
      .Case<BFloat16Type>([](auto) { return "bf16"; })
      .Case<Float8E4M3FNType>([](auto) { return "f8e4m3"; })
      .Case<IntegerType>([](IntegerType type) { return type.isInteger(32)   ? "i32"
                                                       : type.isInteger(64) ? "i64"
                                                                            : ""; })
      .Default([](Type) { return ""; });
}

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

//===--- The plan's tables ----------------------------------------------------------------------------------------===//

/// A place in the arena: constant offset plus a stride for each axis of the mesh, then for each enclosing repeat.
struct Place {
  int64_t offset = 0;
  SmallVector<int64_t> strides;
};

class TableBuilder {
public:
  TableBuilder(ModuleOp module, ArrayRef<CodeBlob> code)
      : module(module), code(code), symbols(module), mesh(symbols.lookup<plan::MeshOp>(plan::MeshOp::symbol)) {}

  FailureOr<Json> build();

private:
  Json meshAxes();
  Json kernels();
  Json buffers();
  Json states();
  Json stateAxes(plan::StateOp state);
  Json metrics();
  Json functions();
  Json programs();
  Json functionBody(Block &block, SmallVectorImpl<Value> &indices);
  Json launch(plan::LaunchOp launch, ArrayRef<Value> indices);
  Json start(plan::StartOp start, ArrayRef<Value> indices);
  size_t numAxes() { return mesh ? mesh.getAxes().size() : 0; }
  Json programBody(Block &block);
  Json locationOf(Operation *op);
  Json operand(Value buffer, ArrayRef<Value> indices);
  Place resolve(Value buffer, ArrayRef<Value> indices);
  Json elementOf(Value buffer);
  Json dtype(Operation *op, Type tensor);
  Json toJson(Operation *op, Attribute attribute);
  Json fail(Operation *op, const Twine &why);

  ModuleOp module;
  ArrayRef<CodeBlob> code;
  SymbolTable symbols;
  plan::MeshOp mesh;                       // null: one rank
  llvm::DenseMap<Value, int64_t> requests; // numbers of the exchanges of a function
  llvm::StringMap<int64_t> kernelNumbers;
  std::vector<std::string> locations;
  bool failed = false;
};

/// Reports at `op` what the compiler should not have made. The value stands in its place until build() fails.
Json TableBuilder::fail(Operation *op, const Twine &why) {
  op->emitOpError("internal: ") << why;
  failed = true;
  return Json();
}

Json TableBuilder::dtype(Operation *op, Type tensor) {
  Type element = cast<RankedTensorType>(tensor).getElementType();
  StringRef name = dtypeName(element);
  if (!name.empty())
    return text(name);
  std::string spelled;
  llvm::raw_string_ostream(spelled) << element;
  return fail(op, "plan files have no element type " + spelled);
}

/// Integers, strings, and arrays and dictionaries of such.
Json TableBuilder::toJson(Operation *op, Attribute attribute) {
  return llvm::TypeSwitch<Attribute, Json>(attribute)
      .Case([](IntegerAttr integer) { return number(integer.getInt()); })
      .Case([](StringAttr string) { return text(string); })
      .Case([](DenseI64ArrayAttr list) { return numbers(list); })
      .Case([&](ArrayAttr list) {
        Json json = Json::array();
        for (Attribute element : list)
          json.append(toJson(op, element));
        return json;
      })
      .Case([&](DictionaryAttr entries) {
        Json json = Json::object();
        for (NamedAttribute entry : entries)
          json.add(entry.getName().str(), toJson(op, entry.getValue()));
        return json;
      })
      .Default([&](Attribute) { return fail(op, "a launch record holds what JSON does not"); });
}

Place TableBuilder::resolve(Value buffer, ArrayRef<Value> indices) {
  Operation *maker = buffer.getDefiningOp();
  if (auto slice = dyn_cast<plan::SliceOp>(maker)) {
    Place place = resolve(slice.getSource(), indices);
    place.offset += slice.getOffset();
    Value index = slice.getIndex();
    if (!index)
      return place;
    if (auto coordinate = index.getDefiningOp<plan::CoordinateOp>()) {
      int64_t stride = slice.getStride();
      for (Attribute axis : llvm::reverse(coordinate.getAxes())) {
        int64_t number = mesh.indexOf(cast<StringAttr>(axis));
        place.strides[number] += stride;
        stride *= mesh.getSizes()[number];
      }
    } else
      place.strides[numAxes() + (llvm::find(indices, index) - indices.begin())] += slice.getStride();
    return place;
  }
  Place place;
  place.strides.assign(numAxes() + indices.size(), 0);
  std::optional<int64_t> offset;
  if (auto address = dyn_cast<plan::AddressOp>(maker))
    offset = symbols.lookup<plan::StateOp>(address.getState()).getOffset();
  else
    offset = cast<plan::AllocOp>(maker).getOffset();
  if (!offset)
    fail(maker, "has no place yet; plan-place gives it one");
  place.offset = offset.value_or(0);
  return place;
}

Json TableBuilder::operand(Value buffer, ArrayRef<Value> indices) {
  Place place = resolve(buffer, indices);
  while (!place.strides.empty() && place.strides.back() == 0)
    place.strides.pop_back();
  Json result = Json::array();
  result.append(number(place.offset));
  for (int64_t stride : place.strides)
    result.append(number(stride));
  return result;
}

int64_t bytesOf(Value buffer) { return cast<plan::BufferType>(buffer.getType()).getBytes(); }

/// The element type of what a buffer is a part of.
Json TableBuilder::elementOf(Value buffer) {
  while (auto slice = buffer.getDefiningOp<plan::SliceOp>())
    buffer = slice.getSource();
  Operation *maker = buffer.getDefiningOp();
  if (auto address = dyn_cast<plan::AddressOp>(maker))
    return dtype(maker, symbols.lookup<plan::StateOp>(address.getState()).getType());
  return dtype(maker, cast<plan::AllocOp>(maker).getType());
}

Json TableBuilder::kernels() {
  // All launches of a kernel have operands of the same types.
  llvm::StringMap<plan::LaunchOp> launches;
  module.walk([&](plan::LaunchOp launch) { launches.try_emplace(launch.getKernel(), launch); });
  // Where the machine code of each kernel is; without code, kernels keep their own names.
  llvm::StringMap<std::pair<StringRef, StringRef>> entries; // symbol -> blob, entry
  for (const CodeBlob &blob : code)
    for (const CodeBlob::Kernel &kernel : blob.kernels)
      entries[kernel.symbol] = {blob.name, kernel.entry};
  Json list = Json::array();
  for (auto kernel : module.getOps<plan::KernelOp>()) {
    auto [blob, compiled] = entries.lookup(kernel.getSymName());
    kernelNumbers[kernel.getSymName()] = list.items().size();
    Json entry = record({{"name", text(kernel.getSymName().drop_front(StringRef("moec_").size()))},
                         {"symbol", text(compiled.empty() ? kernel.getSymName() : compiled)},
                         {"params", number(kernel.getParams())},
                         {"flops", number(kernel.getFlops())},
                         {"bytes", number(kernel.getBytes())},
                         {"summary", text(kernel.getSummary())},
                         {"loc", Json::string(describeLocation(kernel.getLoc()))}});
    if (plan::LaunchOp launch = launches.lookup(kernel.getSymName())) {
      Json types = Json::array();
      for (Value buffer : launch.getOperands())
        types.append(elementOf(buffer));
      entry.add("types", std::move(types));
      entry.add("writes", numbers(launch.getWrites()));
    }
    if (DictionaryAttr launch = kernel.getLaunchAttr()) {
      Json json = toJson(kernel, launch);
      if (!blob.empty())
        json.set("module", text(blob));
      entry.add("launch", std::move(json));
    }
    list.append(std::move(entry));
  }
  return list;
}

Json TableBuilder::buffers() {
  Json list = Json::array();
  auto add = [&](Operation *op, StringRef name, StringRef function, std::optional<int64_t> offset, int64_t bytes,
                 Type type, int64_t first, int64_t last) {
    if (!offset)
      fail(op, "has no place yet; plan-place gives it one");
    list.append(record({{"name", text(name)},
                        {"function", text(function)},
                        {"offset", number(offset.value_or(0))},
                        {"bytes", number(bytes)},
                        {"dtype", dtype(op, type)},
                        {"shape", numbers(cast<RankedTensorType>(type).getShape())},
                        {"first", number(first)},
                        {"last", number(last)},
                        {"loc", Json::string(describeLocation(op->getLoc()))}}));
  };
  for (auto state : module.getOps<plan::StateOp>()) {
    RankedTensorType type = state.getTensorType();
    if (state.getDivided() && !state.getEach()) // a run has no shape of its own
      type = RankedTensorType::get({state.getBytes() / (type.getElementTypeBitWidth() / 8)}, type.getElementType());
    add(state, state.getSymName(), "", state.getOffset(), state.getBytes(), type, 0, 0);
  }
  for (auto function : module.getOps<plan::FuncOp>())
    function.walk([&](plan::AllocOp alloc) {
      add(alloc, alloc.getName(), function.getSymName(), alloc.getOffset(), alloc.getResult().getType().getBytes(),
          alloc.getType(), alloc.getFirst().value_or(0), alloc.getLast().value_or(0));
    });
  return list;
}

/// The axes along which ranks keep a run of the elements each; empty: every rank has them all.
Json TableBuilder::stateAxes(plan::StateOp state) {
  Json list = Json::array();
  if (ArrayAttr axes = state.getAxesAttr())
    for (auto axis : axes.getAsRange<StringAttr>())
      list.append(number(mesh ? mesh.indexOf(axis) : -1));
  return list;
}

Json TableBuilder::states() {
  Json list = Json::array();
  llvm::SmallDenseMap<plan::StateRole, plan::StateOp> withRole;
  for (auto state : module.getOps<plan::StateOp>()) {
    std::optional<plan::StateRole> role = state.getRole();
    if (role && *role != plan::StateRole::expert_tokens && !withRole.try_emplace(*role, state).second)
      fail(state, "has the role " + stringifyEnum(*role) + ", as @" + withRole.lookup(*role).getSymName() + " has");
    ArrayRef<int64_t> layers = state.getLayers().value_or(ArrayRef<int64_t>{0, 1});
    // Copies that are not named by layer are one tensor.
    SmallVector<int64_t> shape(state.getTensorType().getShape());
    if (state.getEach()) // over all ranks
      shape.front() *= *state.getDivided();
    int64_t count = state.getCount();
    if (count > 1 && !state.hasCopyNames()) {
      shape.insert(shape.begin(), count);
      count = 1;
    }
    list.append(record({{"name", text(state.getName())},
                        {"offset", number(state.getOffset().value_or(0))},
                        {"dtype", dtype(state, state.getType())},
                        {"shape", numbers(shape)},
                        {"count", number(count)},
                        {"first", number(layers[0])},
                        {"step", number(layers[1])},
                        {"kind", text(stringifyEnum(state.getKind()))},
                        {"axes", stateAxes(state)},
                        {"each", Json::boolean(state.getEach())},
                        {"role", role ? text(stringifyEnum(*role)) : Json()},
                        {"checkpoint", Json::boolean(state.getSaved())}}));
  }
  return list;
}

Json TableBuilder::metrics() {
  Json list = Json::array();
  for (auto state : module.getOps<plan::StateOp>()) {
    if (!state.getLogName())
      continue;
    // Rows are layers.
    SmallVector<int64_t> shape(state.getTensorType().getShape());
    if (state.getCount() > 1)
      shape = {static_cast<int64_t>(state.getCount()), state.getTensorType().getNumElements()};
    list.append(
        record({{"name", text(*state.getLogName())}, {"state", text(state.getName())}, {"shape", numbers(shape)}}));
  }
  return list;
}

/// The number in the manifest of the section of the spec that an instruction comes from.
Json TableBuilder::locationOf(Operation *op) {
  std::string pointer = pointerIn(op->getLoc());
  auto found = llvm::find(locations, pointer);
  if (found == locations.end())
    found = locations.insert(locations.end(), pointer);
  return number(found - locations.begin());
}

Json TableBuilder::launch(plan::LaunchOp launch, ArrayRef<Value> indices) {
  auto kernel = symbols.lookup<plan::KernelOp>(launch.getKernel());
  Json args = Json::array(), sizes = Json::array();
  for (Value buffer : launch.getOperands()) {
    args.append(operand(buffer, indices));
    sizes.append(number(bytesOf(buffer)));
  }
  return record({{"op", text("launch")},
                 {"kernel", number(kernelNumbers.lookup(launch.getKernel()))},
                 {"grid", number(kernel.getGrid())},
                 {"args", std::move(args)},
                 {"sizes", std::move(sizes)},
                 {"at", locationOf(launch)}});
}

Json TableBuilder::start(plan::StartOp start, ArrayRef<Value> indices) {
  Json axes = Json::array();
  for (auto axis : start.getAxes().getAsRange<StringAttr>())
    axes.append(number(mesh.indexOf(axis)));
  int64_t request = requests.size();
  requests[start.getRequest()] = request;
  // Between two ranks.
  int64_t bytes = bytesOf(start.getSrc());
  if (start.getExchange() == plan::Exchange::all_to_all)
    bytes /= mesh.sizeAlong(start.getAxes());
  if (start.getExchange() == plan::Exchange::rows) {
    auto rowBytes = static_cast<int64_t>(*start.getRowBytes());
    auto counts = [&](size_t which) {
      Value buffer = start.getCounts()[which];
      return record({{"at", operand(buffer, indices)}, {"numbers", number(bytesOf(buffer) / 4)}});
    };
    return record({{"op", text("start")},
                   {"exchange", text(stringifyEnum(start.getExchange()))},
                   {"axes", std::move(axes)},
                   {"dst", operand(start.getDst(), indices)},
                   {"src", operand(start.getSrc(), indices)},
                   {"bytes", number(rowBytes)},
                   {"rows", numbers({bytesOf(start.getDst()) / rowBytes, bytes / rowBytes})},
                   {"sends", counts(0)},
                   {"receives", counts(1)},
                   {"request", number(request)},
                   {"at", locationOf(start)}});
  }
  return record({{"op", text("start")},
                 {"exchange", text(stringifyEnum(start.getExchange()))},
                 {"axes", std::move(axes)},
                 {"dst", operand(start.getDst(), indices)},
                 {"src", operand(start.getSrc(), indices)},
                 {"bytes", number(bytes)},
                 {"request", number(request)},
                 {"at", locationOf(start)}});
}

Json TableBuilder::meshAxes() {
  Json list = Json::array();
  for (size_t i = 0; i < numAxes(); ++i) {
    auto axis = cast<StringAttr>(mesh.getAxes()[i]);
    list.append(record({{"axis", text(axis)},
                        {"size", number(mesh.getSizes()[i])},
                        {"batches", Json::boolean(axis == mesh.getBatchesAttr())}}));
  }
  return list;
}

Json TableBuilder::functionBody(Block &block, SmallVectorImpl<Value> &indices) {
  Json list = Json::array();
  for (Operation &op : block)
    llvm::TypeSwitch<Operation *>(&op)
        .Case([&](plan::LaunchOp op) { list.append(launch(op, indices)); })
        .Case([&](plan::FillOp fill) {
          list.append(record({{"op", text("fill")},
                              {"dst", operand(fill.getDst(), indices)},
                              {"bytes", number(bytesOf(fill.getDst()))},
                              {"at", locationOf(fill)}}));
        })
        .Case([&](plan::CopyOp copy) {
          list.append(record({{"op", text("copy")},
                              {"dst", operand(copy.getDst(), indices)},
                              {"src", operand(copy.getSrc(), indices)},
                              {"bytes", number(bytesOf(copy.getDst()))},
                              {"at", locationOf(copy)}}));
        })
        .Case([&](plan::RepeatOp repeat) {
          Block &body = repeat.getBody().front();
          indices.push_back(body.getArgument(0));
          Json entry = record({{"op", text("repeat")},
                               {"count", number(repeat.getCount())},
                               {"reverse", Json::boolean(repeat.getReverse())}});
          entry.add("body", functionBody(body, indices));
          indices.pop_back();
          list.append(std::move(entry));
        })
        .Case([&](plan::StartOp op) { list.append(start(op, indices)); })
        .Case([&](plan::WaitOp wait) {
          list.append(record({{"op", text("wait")},
                              {"request", number(requests.lookup(wait.getRequest()))},
                              {"at", locationOf(wait)}}));
        })
        // Memory, which operands name by its place, and its indices.
        .Case<plan::AddressOp, plan::AllocOp, plan::SliceOp, plan::CoordinateOp>([](Operation *) {})
        .Default([&](Operation *unknown) { fail(unknown, "has no instruction in a function of a plan"); });
  return list;
}

Json TableBuilder::functions() {
  Json list = Json::array();
  for (auto function : module.getOps<plan::FuncOp>()) {
    SmallVector<Value> indices;
    requests.clear();
    Json entry = record({{"name", text(function.getSymName())}});
    entry.add("body", functionBody(function.getBody().front(), indices));
    list.append(std::move(entry));
  }
  return list;
}

Json TableBuilder::programBody(Block &block) {
  Json list = Json::array();
  auto add = [&](StringRef name, std::initializer_list<Json::Member> fields = {}, Region *body = nullptr) {
    Json entry = record(fields);
    entry.add("op", text(name));
    if (body)
      entry.add("body", programBody(body->front()));
    list.append(std::move(entry));
  };
  for (Operation &op : block)
    llvm::TypeSwitch<Operation *>(&op)
        .Case([&](plan::CallOp call) { add("call", {{"function", text(call.getCallee())}}); })
        .Case([&](plan::RepeatOp repeat) { add("repeat", {{"count", number(repeat.getCount())}}, &repeat.getBody()); })
        .Case([&](plan::StepsOp steps) { add("steps", {{"count", number(steps.getCount())}}, &steps.getBody()); })
        .Case([&](plan::NextBatchOp) { add("next_batch"); })
        .Case([&](plan::LogOp log) { add("log", {{"every", number(log.getEvery())}}); })
        .Case([&](plan::EveryOp every) { add("every", {{"steps", number(every.getSteps())}}, &every.getBody()); })
        .Case([&](plan::EvaluateOp) { add("evaluate"); })
        .Case([&](plan::SaveOp) { add("save"); })
        .Default([&](Operation *unknown) { fail(unknown, "has no instruction in a program of a plan"); });
  return list;
}

Json TableBuilder::programs() {
  Json all = Json::object();
  for (auto program : module.getOps<plan::ProgramOp>())
    all.add(program.getName().str(), programBody(program.getBody().front()));
  return all;
}

FailureOr<Json> TableBuilder::build() {
  Json tables = Json::object();
  for (Operation &op : *module.getBody())
    // Kernels are functions of dialects that the target knows; `exp` is what the plan was made from.
    if (op.getDialect() && isa<plan::PlanDialect>(op.getDialect()) &&
        !isa<plan::MeshOp, plan::StateOp, plan::KernelOp, plan::FuncOp, plan::ProgramOp>(op))
      fail(&op, "has no place in the manifest");
  tables.add("mesh", meshAxes());
  tables.add("kernels", kernels());
  tables.add("buffers", buffers());
  tables.add("state", states());
  tables.add("metrics", metrics());
  tables.add("functions", functions());
  tables.add("programs", programs());
  Json places = Json::array();
  for (const std::string &location : locations)
    places.append(Json::string(location));
  tables.add("locations", std::move(places));
  return failed ? FailureOr<Json>(failure()) : FailureOr<Json>(std::move(tables));
}

//===--- What the experiment adds ---------------------------------------------------------------------------------===//

Json dataOf(exp::ExperimentOp experiment, const std::string &baseDir) {
  Json train = Json::array(), validation = Json::array();
  for (auto data : experiment.sections<exp::DatasetOp>())
    (data.getSplit() == exp::Split::train ? train : validation)
        .append(record({{"name", text(data.getName())},
                        {"path", text(data.getPath())},
                        {"weight", Json::number(data.getWeight().convertToDouble())}}));
  auto section = experiment.section<exp::DataOp>();
  return record({{"tokenizer", record({{"kind", text(stringifyEnum(section.getTokenizer()))}})},
                 {"seq_len", number(section.getSeqLen())},
                 {"sequences", number(experiment.section<exp::BatchOp>().getMicroSequences())},
                 {"base_dir", Json::string(baseDir)},
                 {"train", std::move(train)},
                 {"validation", std::move(validation)}});
}

} // namespace

FailureOr<Json> buildPlanTables(ModuleOp plan, ArrayRef<CodeBlob> code) { return TableBuilder(plan, code).build(); }

FailureOr<Json> buildManifest(ModuleOp plan, const ManifestInputs &inputs) {
  // The type of what leaves the model is that of the run; the writer of the file asks for the other roles.
  auto states = plan.getOps<plan::StateOp>();
  auto logits =
      llvm::find_if(states, [](plan::StateOp state) { return state.getRole() == plan::StateRole::generate_logits; });
  if (logits == states.end())
    return plan.emitError("internal: the plan has no state with the role generate_logits");
  auto arena = plan->getAttrOfType<IntegerAttr>("plan.arena_bytes");
  auto stateBytes = plan->getAttrOfType<IntegerAttr>("plan.state_bytes");
  FailureOr<Json> tables = buildPlanTables(plan, inputs.code);
  rt::Result<Json> spec = Json::parse(inputs.effectiveSpec);
  if (!arena || !stateBytes || mlir::failed(tables) || !spec.isOk())
    return failure();
  // Counters are there even when no kernel counts.
  int64_t scratch = inputs.target->kind() == "cuda" ? static_cast<int64_t>(rt::kPlanCudaCounterBytes) : 0;
  for (auto kernel : plan.getOps<plan::KernelOp>())
    scratch = std::max<int64_t>(scratch, kernel.getScratch());
  exp::ExperimentOp experiment = inputs.experiment;

  Json manifest = std::move(*tables);
  manifest.add("compiler", text("moec " MOEC_VERSION ", LLVM " LLVM_VERSION_STRING));
  manifest.add("name", text(experiment.getSymName()));
  manifest.add("spec", std::move(spec).value());
  manifest.add("spec_file", Json::string(inputs.specFile));
  manifest.add("element_type", text(dtypeName((*logits).getTensorType().getElementType())));
  manifest.add("seed", number(experiment.getSeed()));
  manifest.add("target", inputs.target->describe());
  manifest.add("memory", record({{"state_bytes", number(stateBytes.getInt())},
                                 {"arena_bytes", number(arena.getInt())},
                                 {"scratch_bytes", number(plan::alignUp(scratch))}}));
  manifest.add("data", dataOf(experiment, inputs.baseDir));
  manifest.add("generate", record({{"function", text(moe::kLogitsFunction)}}));
  manifest.add("evaluate", record({{"function", text(moe::kEvaluateFunction)},
                                   {"batches", number(experiment.section<exp::EvaluateOp>().getBatches())}}));
  manifest.add("checkpoint", record({{"keep_last", number(experiment.section<exp::CheckpointOp>().getKeepLast())}}));
  return manifest;
}

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

} // namespace moec
