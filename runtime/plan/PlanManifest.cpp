#include "runtime/plan/PlanManifest.h"

#include "runtime/base/CheckedMath.h"
#include "runtime/base/Hash.h"
#include "runtime/plan/LineKeys.h"
#include "runtime/plan/PlanFormat.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

namespace moec::rt {

/// Calls read(fields, row) for every object of an array of objects.
template <typename Row, typename Read>
static void readRows(Fields &parent, std::string_view key, std::vector<Row> &rows, Read read) {
  const Json &array = parent.array(key);
  for (size_t i = 0; i < array.items().size() && !parent.failed(); ++i) {
    Fields fields(array.items()[i], parent.pointerTo(key) + "/" + std::to_string(i), parent.errors());
    Row row;
    read(fields, row);
    fields.finish();
    rows.push_back(std::move(row));
  }
}

static DType readDType(Fields &fields, std::string_view key) {
  std::string name = fields.string(key);
  std::optional<DType> type = dtypeFromName(name);
  if (!type)
    fields.errors().fail(fields.pointerTo(key), "unknown element type \"", name, "\"");
  return type.value_or(DType::F32);
}

/// Bytes of a tensor; a failure when they overflow.
static uint64_t tensorBytes(Fields &fields, const std::vector<uint64_t> &shape, DType type) {
  std::optional<uint64_t> bytes = checkedBytes(shape, dtypeInfo(type).bytes);
  if (!bytes)
    fields.errors().fail(fields.pointerTo("shape"), "size overflows");
  return bytes.value_or(0);
}

static bool isHash(const std::string &text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string hashOfSpec(Json spec) {
  spec.remove("parallel");
  return hashHex(spec.dump());
}

static void readIdentity(Fields &root, Plan &plan) {
  root.integer("format", kPlanVersion, kPlanVersion);
  plan.compiler = root.string("compiler");
  plan.name = root.string("name");
  if (plan.name.empty() || plan.name.front() == '.' || plan.name.find('/') != std::string::npos)
    root.errors().fail("/name", "must be usable as a folder name, is \"", plan.name, "\"");
  plan.spec = root.object("spec").dump();
  plan.specHash = root.string("spec_hash");
  if (std::string hash = hashOfSpec(root.object("spec")); hash != plan.specHash)
    root.errors().fail("/spec_hash", "is \"", plan.specHash, "\", but the hash of the spec is ", hash);
  plan.specFile = root.string("spec_file");
  plan.elementType = readDType(root, "element_type");
  if (plan.elementType != DType::F32 && plan.elementType != DType::F64)
    root.errors().fail("/element_type", "must be f32 or f64");
  plan.seed = root.size("seed");
  plan.locations = root.strings("locations");
}

static void readTarget(Fields &root, PlanTarget &target) {
  Fields fields(root.object("target"), "/target", root.errors());
  std::string kind = fields.string("kind");
  if (kind == targetKindName(TargetKind::Cuda)) {
    target.kind = TargetKind::Cuda;
    target.arch = fields.string("arch");
    if (!target.arch.starts_with("sm_"))
      root.errors().fail("/target/arch", "must be like \"sm_90a\", is \"", target.arch, "\"");
    std::vector<uint64_t> capability = fields.sizes("compute_capability");
    if (capability.size() != 2 || capability[0] < 1 || capability[0] > 99 || capability[1] > 9)
      root.errors().fail("/target/compute_capability", "must be [major, minor]");
    capability.resize(2);
    target.major = static_cast<uint32_t>(capability[0]);
    target.minor = static_cast<uint32_t>(capability[1]);
    target.sharedBytes = fields.size("shared_bytes", 1 << 24);
  } else {
    if (kind != targetKindName(TargetKind::Cpu))
      root.errors().fail("/target/kind", "this runtime has no driver for \"", kind,
                         "\", only for \"cpu\" and \"cuda\"");
    target.triple = fields.string("triple");
    target.cpu = fields.string("cpu");
    target.features = fields.strings("features");
    target.vectorBytes = fields.size("vector_bytes", 4096);
  }
  fields.finish();
}

static void readMemory(Fields &root, const PlanTarget &target, PlanMemory &memory) {
  // 2^60: sums of a few such sizes cannot overflow.
  constexpr int64_t kMaxMemory = int64_t{1} << 60;
  Fields fields(root.object("memory"), "/memory", root.errors());
  memory.stateBytes = fields.size("state_bytes", kMaxMemory);
  memory.arenaBytes = fields.size("arena_bytes", kMaxMemory);
  memory.scratchBytes = fields.size("scratch_bytes", int64_t{1} << 40);
  fields.finish();
  if (target.kind == TargetKind::Cuda && memory.scratchBytes < kPlanCudaCounterBytes)
    root.errors().fail("/memory/scratch_bytes", "is ", memory.scratchBytes, ", the counters of kernels alone take ",
                       kPlanCudaCounterBytes);
  if (memory.stateBytes > memory.arenaBytes)
    root.errors().fail("/memory/state_bytes", "is ", memory.stateBytes, ", more than arena_bytes ", memory.arenaBytes);
}

static void readMesh(Fields &root, Plan &plan) {
  readRows(root, "mesh", plan.mesh, [&](Fields &fields, PlanAxis &axis) {
    axis.name = fields.string("axis");
    axis.size = static_cast<uint64_t>(fields.integer("size", 1, kMaxRanks));
    axis.dealsBatches = fields.boolean("batches");
    for (const PlanAxis &other : plan.mesh) {
      if (other.name == axis.name)
        root.errors().fail(fields.pointerTo("axis"), "there are two axes \"", axis.name, "\"");
      if (other.dealsBatches && axis.dealsBatches)
        root.errors().fail(fields.pointerTo("batches"), "\"", other.name, "\" deals out batches already");
    }
  });
  if (plan.mesh.size() > kMaxAxes)
    root.errors().fail("/mesh", "has ", plan.mesh.size(), " axes, at most ", kMaxAxes, " are allowed");
  else if (plan.numRanks() > kMaxRanks)
    root.errors().fail("/mesh", "has ", plan.numRanks(), " ranks, at most ", kMaxRanks, " are allowed");
}

/// "types" and "writes" may be left out, together.
static void readOperandInfo(Fields &fields, PlanKernel &kernel) {
  const Json *types = fields.optional("types");
  if (!types && !fields.optional("writes"))
    return;
  for (const std::string &name : fields.strings("types")) {
    std::optional<DType> type = dtypeFromName(name);
    if (!type)
      fields.errors().fail(fields.pointerTo("types"), "unknown element type \"", name, "\"");
    kernel.types.push_back(type.value_or(DType::F32));
  }
  kernel.writes = fields.sizes("writes");
  if (kernel.types.size() != kernel.params)
    fields.errors().fail(fields.pointerTo("types"), "has ", kernel.types.size(), " types for ", kernel.params,
                         " operands");
  for (uint64_t position : kernel.writes)
    if (position >= kernel.params)
      fields.errors().fail(fields.pointerTo("writes"), "names operand ", position, " of ", kernel.params);
}

static void readTables(Fields &root, Plan &plan) {
  readRows(root, "blobs", plan.blobs, [&](Fields &fields, PlanBlob &blob) {
    blob.name = fields.string("name");
    blob.offset = fields.size("offset");
    blob.size = fields.size("size");
    blob.hash = fields.string("hash");
    if (!isHash(blob.hash))
      root.errors().fail(fields.pointerTo("hash"), "must be 32 hex digits");
    if (plan.findBlob(blob.name))
      root.errors().fail(fields.pointerTo("name"), "there are two blobs \"", blob.name, "\"");
  });
  readRows(root, "kernels", plan.kernels, [&](Fields &fields, PlanKernel &kernel) {
    kernel.name = fields.string("name");
    kernel.symbol = fields.string("symbol");
    kernel.params = fields.size("params", 4096);
    kernel.flops = fields.number("flops");
    kernel.bytes = fields.number("bytes");
    kernel.summary = fields.string("summary");
    kernel.loc = fields.string("loc");
    readOperandInfo(fields, kernel);
    if (plan.target.kind == TargetKind::Cuda)
      parseLaunch(fields, plan, kernel);
  });
  readRows(root, "buffers", plan.buffers, [&](Fields &fields, PlanBuffer &buffer) {
    buffer.name = fields.string("name");
    buffer.function = fields.string("function");
    buffer.offset = fields.size("offset");
    buffer.bytes = fields.size("bytes");
    buffer.dtype = readDType(fields, "dtype");
    buffer.shape = fields.sizes("shape");
    buffer.first = fields.integer("first", -1);
    buffer.last = fields.integer("last", buffer.first);
    buffer.loc = fields.string("loc");
    if (tensorBytes(fields, buffer.shape, buffer.dtype) > buffer.bytes)
      root.errors().fail(fields.pointerTo("bytes"), "is ", buffer.bytes, ", less than the shape needs");
  });
}

static std::optional<StateRole> readRole(Fields &fields) {
  const Json *json = fields.optional("role");
  if (!json)
    fields.errors().fail(fields.pointerTo("role"), "field is missing; null says that the runtime only keeps the state");
  if (!json || json->kind() == Json::Kind::Null)
    return std::nullopt;
  std::string name = fields.string("role");
  std::optional<StateRole> role = stateRoleFromName(name);
  if (!role)
    fields.errors().fail(fields.pointerTo("role"), "unknown role \"", name, "\"");
  return role;
}

static void readState(Fields &root, Plan &plan) {
  std::unordered_set<std::string> names;
  readRows(root, "state", plan.state, [&](Fields &fields, PlanState &state) {
    state.name = fields.string("name");
    state.offset = fields.size("offset");
    state.dtype = readDType(fields, "dtype");
    state.shape = fields.sizes("shape");
    state.copyBytes = tensorBytes(fields, state.shape, state.dtype);
    state.count = static_cast<uint64_t>(fields.integer("count", 1, 1 << 20));
    state.first = fields.integer("first", 0, 1 << 30);
    state.step = fields.integer("step", 0, 1 << 20);
    std::string kind = fields.string("kind");
    std::optional<StateKind> known = stateKindFromName(kind);
    if (!known)
      root.errors().fail(fields.pointerTo("kind"), "unknown kind \"", kind, "\"");
    state.kind = known.value_or(StateKind::Parameter);
    state.role = readRole(fields);
    state.checkpoint = fields.boolean("checkpoint");
    for (uint64_t axis : fields.sizes("axes")) {
      bool isNew = std::find(state.axes.begin(), state.axes.end(), axis) == state.axes.end();
      if (axis >= plan.mesh.size() || !isNew) {
        root.errors().fail(fields.pointerTo("axes"), "has ", axis, ", expected numbers of axes of the mesh, each once");
        break;
      }
      state.axes.push_back(static_cast<uint32_t>(axis));
      state.runs *= plan.mesh[axis].size;
    }
    state.each = fields.boolean("each");
    if (state.each && (state.shape.empty() || state.shape[0] % state.runs != 0))
      root.errors().fail(fields.pointerTo("each"), "is true, but ", state.runs, " runs do not divide the shape");
    if (uint64_t elements = state.copyBytes / dtypeInfo(state.dtype).bytes; elements * state.count % state.runs != 0)
      root.errors().fail(fields.pointerTo("axes"), "divide ", state.count, " copies of ", elements, " elements into ",
                         state.runs, " runs, expected equal ones");
    if (state.runs > 1 && state.role)
      root.errors().fail(fields.pointerTo("axes"), "must be empty: the runtime uses all of this state");
    if (state.name.empty() || state.name.size() > 512)
      root.errors().fail(fields.pointerTo("name"), "must have 1 to 512 bytes");
    for (uint64_t copy = 0; copy < state.count && !fields.failed(); ++copy)
      if (!names.insert(state.copyName(copy)).second)
        root.errors().fail(fields.pointerTo("name"), "two tensors are called \"", state.copyName(copy), "\"");
  });
}

static void readDataSets(Fields &fields, std::string_view key, bool mayBeEmpty, std::vector<PlanDataSet> &sets) {
  double total = 0;
  readRows(fields, key, sets, [&](Fields &row, PlanDataSet &set) {
    set.name = row.string("name");
    set.path = row.string("path");
    set.weight = row.number("weight");
    if (!std::isfinite(set.weight) || set.weight < 0)
      row.errors().fail(row.pointerTo("weight"), "must be >= 0");
    total += set.weight;
  });
  if (!(total > 0) && !(mayBeEmpty && sets.empty()))
    fields.errors().fail(fields.pointerTo(key), "needs at least one data set with a weight above 0");
}

static void readData(Fields &root, Plan &plan) {
  Fields fields(root.object("data"), "/data", root.errors());
  Fields tokenizer(fields.object("tokenizer"), "/data/tokenizer", root.errors());
  plan.data.tokenizer = tokenizer.string("kind");
  if (plan.data.tokenizer != "byte")
    root.errors().fail("/data/tokenizer/kind", "unknown tokenizer \"", plan.data.tokenizer, "\", expected \"byte\"");
  tokenizer.finish();
  plan.data.seqLen = static_cast<uint64_t>(fields.integer("seq_len", 1, 1 << 30));
  plan.data.sequences = static_cast<uint64_t>(fields.integer("sequences", 1, 1 << 20));
  plan.data.baseDir = fields.string("base_dir");
  readDataSets(fields, "train", /*mayBeEmpty=*/false, plan.data.train);
  readDataSets(fields, "validation", /*mayBeEmpty=*/true, plan.data.validation);
  fields.finish();
}

/// What a state with a role must be: its elements are those that the runtime reads or writes.
struct RoleRule {
  StateRole role;
  StateKind kind;
  std::vector<DType> types;
  uint64_t elements; // 0: any number
};

static std::vector<RoleRule> roleRules(const Plan &plan) {
  using enum StateRole;
  uint64_t rows = plan.data.sequences, tokens = rows * plan.data.seqLen;
  std::vector<DType> floats = {DType::F32, DType::F64};
  return {{StepCounter, StateKind::Counter, {DType::I64}, 1},
          {BatchTokens, StateKind::Batch, {DType::I32}, tokens + rows},
          {BatchSources, StateKind::Batch, {DType::I32}, rows},
          {GenerateTokens, StateKind::Batch, {DType::I32}, 0},
          {GeneratePosition, StateKind::Batch, {DType::I32}, 1},
          {GenerateLogits, StateKind::Output, {plan.elementType}, 0},
          {TokenLosses, StateKind::Output, {plan.elementType}, tokens},
          {Loss, StateKind::Metric, floats, 1},
          {TotalLoss, StateKind::Metric, floats, 1},
          {GradientNorm, StateKind::Metric, floats, 1},
          {ExpertTokens, StateKind::Metric, {DType::I64}, 0}};
}

static void checkRole(const PlanState &state, const RoleRule &rule, const std::string &pointer, FieldErrors &errors) {
  std::string_view role = stateRoleName(rule.role);
  if (state.kind != rule.kind)
    errors.fail(pointer + "/kind", "is \"", stateKindName(state.kind), "\"; the role ", role, " asks for \"",
                stateKindName(rule.kind), "\"");
  if (std::find(rule.types.begin(), rule.types.end(), state.dtype) == rule.types.end())
    errors.fail(pointer + "/dtype", "is ", dtypeInfo(state.dtype).name, "; the role ", role, " asks for ",
                dtypeInfo(rule.types.front()).name);
  if (rule.elements > 0 ? state.elements() != rule.elements : state.elements() == 0 || state.shape.empty())
    errors.fail(pointer + "/shape", "has ", state.elements(), " elements; the role ", role, " asks for ",
                rule.elements > 0 ? std::to_string(rule.elements) : "rows of one or more");
  if (rule.role == StateRole::StepCounter && !state.checkpoint)
    errors.fail(pointer + "/checkpoint", "is false; the step counter goes into checkpoints");
}

/// Which states the runtime works with: their roles say so, and nothing else.
static void readRoles(Fields &root, Plan &plan) {
  std::vector<RoleRule> rules = roleRules(plan);
  for (size_t i = 0; i < plan.state.size(); ++i) {
    const PlanState &state = plan.state[i];
    if (!state.role)
      continue;
    std::string pointer = "/state/" + std::to_string(i);
    checkRole(state, rules[static_cast<size_t>(*state.role)], pointer, root.errors());
    if (*state.role != StateRole::ExpertTokens && plan.findState(*state.role) != &state)
      root.errors().fail(pointer + "/role", "\"", plan.findState(*state.role)->name, "\" has the role ",
                         stateRoleName(*state.role), " already");
  }
}

/// The state with a role that the plan cannot do without.
static PlanState requireRole(const Plan &plan, StateRole role, const std::string &pointer, FieldErrors &errors) {
  const PlanState *state = plan.findState(role);
  if (!state)
    errors.fail(pointer, "no state has the role ", stateRoleName(role));
  return state ? *state : PlanState();
}

static void readGenerate(Fields &root, Plan &plan) {
  const Json *json = root.optional("generate");
  if (!json)
    root.errors().fail("/generate", "field is missing; null says that the plan cannot generate");
  if (!json || json->kind() == Json::Kind::Null)
    return;
  Fields fields(*json, "/generate", root.errors());
  PlanGenerate generate;
  generate.function = findFunction(plan, fields.string("function"), "/generate/function", root.errors());
  fields.finish();
  PlanState tokens = requireRole(plan, StateRole::GenerateTokens, "/generate", root.errors());
  PlanState logits = requireRole(plan, StateRole::GenerateLogits, "/generate", root.errors());
  generate.tokensOffset = tokens.offset;
  generate.window = tokens.elements();
  generate.positionOffset = requireRole(plan, StateRole::GeneratePosition, "/generate", root.errors()).offset;
  generate.logitsOffset = logits.offset;
  generate.vocabulary = logits.elements();
  plan.generate = generate;
}

static void readEvaluation(Fields &root, Plan &plan) {
  const Json *json = root.optional("evaluate");
  if (!json)
    root.errors().fail("/evaluate", "field is missing; null says that the plan cannot evaluate");
  if (!json || json->kind() == Json::Kind::Null)
    return;
  Fields fields(*json, "/evaluate", root.errors());
  PlanEvaluation evaluation;
  evaluation.function = findFunction(plan, fields.string("function"), "/evaluate/function", root.errors());
  evaluation.batches = static_cast<uint64_t>(fields.integer("batches", 1, 1 << 20));
  fields.finish();
  evaluation.lossesOffset = requireRole(plan, StateRole::TokenLosses, "/evaluate", root.errors()).offset;
  uint64_t sources = 0;
  for (const PlanDataSet &set : plan.data.validation)
    sources += set.weight > 0;
  if (evaluation.batches * plan.data.sequences < sources)
    root.errors().fail("/evaluate/batches", evaluation.batches, " batches of ", plan.data.sequences,
                       " windows cannot hold one of each of ", sources, " validation sources");
  plan.evaluation = evaluation;
}

static void readMetrics(Fields &root, Plan &plan) {
  static const std::unordered_set<std::string> reserved(std::begin(line_key::all), std::end(line_key::all));
  readRows(root, "metrics", plan.metrics, [&](Fields &fields, PlanMetric &metric) {
    metric.name = fields.string("name");
    if (reserved.count(metric.name))
      root.errors().fail(fields.pointerTo("name"), "\"", metric.name, "\" is a field of every line of metrics");
    std::string name = fields.string("state");
    auto state =
        std::find_if(plan.state.begin(), plan.state.end(), [&](const PlanState &other) { return other.name == name; });
    if (state == plan.state.end() || state->kind != StateKind::Metric)
      return root.errors().fail(fields.pointerTo("state"), "no state of kind metric is called \"", name, "\"");
    metric.offset = state->offset;
    metric.dtype = state->dtype;
    metric.role = state->role;
    metric.shape = fields.sizes("shape");
    metric.elements = tensorBytes(fields, metric.shape, metric.dtype) / dtypeInfo(metric.dtype).bytes;
    if (metric.dtype == DType::F16 || metric.dtype == DType::BF16 || metric.dtype == DType::F8E4M3)
      root.errors().fail(fields.pointerTo("state"), "\"", name, "\" is ", dtypeInfo(metric.dtype).name,
                         "; metrics are f32, f64 or integers");
    if (metric.elements < 1 || metric.elements > (1 << 20))
      root.errors().fail(fields.pointerTo("shape"), "must have 1 to 1048576 elements");
    if (metric.elements != state->elements())
      root.errors().fail(fields.pointerTo("shape"), "has ", metric.elements, " elements, and the state \"", name, "\" ",
                         state->elements());
  });
}

Status parseManifest(const Json &manifest, Plan &plan) {
  FieldErrors errors{"MOEC-P006", plan.path, Status::ok()};
  Fields root(manifest, "", errors);
  readIdentity(root, plan);
  readTarget(root, plan.target);
  readMemory(root, plan.target, plan.memory);
  readMesh(root, plan);
  readTables(root, plan);
  readState(root, plan);
  readData(root, plan);
  readRoles(root, plan);
  plan.stepCounterOffset = requireRole(plan, StateRole::StepCounter, "/state", errors).offset;
  plan.batchOffset = requireRole(plan, StateRole::BatchTokens, "/state", errors).offset;
  plan.domainsOffset = requireRole(plan, StateRole::BatchSources, "/state", errors).offset;
  parseFunctions(root, plan);
  readGenerate(root, plan);
  readEvaluation(root, plan);
  readMetrics(root, plan);
  parsePrograms(root, plan);
  Fields checkpoint(root.object("checkpoint"), "/checkpoint", errors);
  plan.keepLast = checkpoint.integer("keep_last", 0, 1 << 30);
  checkpoint.finish();
  root.finish();
  for (size_t i = 0; i < plan.buffers.size(); ++i)
    if (!plan.buffers[i].function.empty())
      findFunction(plan, plan.buffers[i].function, "/buffers/" + std::to_string(i) + "/function", errors);
  return errors.first;
}

} // namespace moec::rt
