#include "runtime/plan/Plan.h"

#include "runtime/base/CheckedMath.h"
#include "runtime/plan/PlanFormat.h"

namespace moec::rt {

static constexpr std::string_view kStateKinds[] = {"parameter", "optimizer", "balance", "counter",  "gradient",
                                                   "metric",    "batch",     "output",  "constant", "copy"};

static constexpr std::string_view kStateRoles[] = {
    "step_counter", "batch_tokens", "batch_sources", "generate_tokens", "generate_position", "generate_logits",
    "token_losses", "loss",         "total_loss",    "grad_norm",       "expert_tokens"};

template <typename E, size_t N>
static std::optional<E> findName(const std::string_view (&names)[N], std::string_view name) {
  for (size_t i = 0; i < N; ++i)
    if (names[i] == name)
      return static_cast<E>(i);
  return std::nullopt;
}

std::string_view stateKindName(StateKind kind) { return kStateKinds[static_cast<size_t>(kind)]; }

std::optional<StateKind> stateKindFromName(std::string_view name) { return findName<StateKind>(kStateKinds, name); }

std::string_view stateRoleName(StateRole role) { return kStateRoles[static_cast<size_t>(role)]; }

std::optional<StateRole> stateRoleFromName(std::string_view name) { return findName<StateRole>(kStateRoles, name); }

uint64_t PlanState::elements() const { return copyBytes / dtypeInfo(dtype).bytes * count; }

std::string PlanState::copyName(uint64_t copy) const {
  size_t hole = name.find("{}");
  if (hole == std::string::npos)
    return name;
  return name.substr(0, hole) + std::to_string(first + step * static_cast<int64_t>(copy)) + name.substr(hole + 2);
}

const PlanBlob *Plan::findBlob(const std::string &wanted) const {
  for (const PlanBlob &blob : blobs)
    if (blob.name == wanted)
      return &blob;
  return nullptr;
}

const PlanState *Plan::findState(StateRole role) const {
  for (const PlanState &found : state)
    if (found.role == role)
      return &found;
  return nullptr;
}

static constexpr std::string_view kExchanges[] = {"all_gather", "all_to_all", "rows"};

std::string_view exchangeName(ExchangeOp exchange) { return kExchanges[static_cast<size_t>(exchange)]; }

std::optional<ExchangeOp> exchangeFromName(std::string_view name) { return findName<ExchangeOp>(kExchanges, name); }

std::string_view targetKindName(TargetKind kind) { return kind == TargetKind::Cuda ? "cuda" : "cpu"; }

uint64_t mapElementBytes(MapElement element) {
  switch (element) {
  case MapElement::F32:
    return 4;
  case MapElement::BF16:
  case MapElement::F16:
    return 2;
  case MapElement::F8E4M3:
    return 1;
  }
  return 0;
}

uint64_t PlanTensorMap::extent() const {
  uint64_t bytes = dims[0] * mapElementBytes(element);
  for (size_t i = 1; i < dims.size(); ++i)
    bytes += (dims[i] - 1) * strides[i - 1];
  return bytes;
}

uint64_t Plan::peakBytes(uint64_t threads) const {
  if (target.kind == TargetKind::Cuda)
    return alignUp(memory.arenaBytes, kPlanCudaAlignment) + alignUp(memory.scratchBytes, kPlanCudaAlignment);
  return alignUp(memory.arenaBytes, kPlanMemoryAlignment) +
         threads * alignUp(memory.scratchBytes, kPlanMemoryAlignment);
}

uint64_t Plan::sequencesPerStep() const {
  for (const ProgramOp &op : train)
    if (op.kind == ProgramOp::Kind::Steps)
      return countBatches(op.body) * data.sequences * numBatchRanks();
  return 0;
}

uint64_t Plan::numRanks() const {
  uint64_t ranks = 1;
  for (const PlanAxis &axis : mesh)
    ranks *= axis.size;
  return ranks;
}

uint64_t Plan::numBatchRanks() const {
  for (const PlanAxis &axis : mesh)
    if (axis.dealsBatches)
      return axis.size;
  return 1;
}

std::vector<int64_t> Plan::coordinatesOf(uint64_t rank) const {
  std::vector<int64_t> coordinates(mesh.size());
  for (size_t i = mesh.size(); i-- > 0; rank /= mesh[i].size)
    coordinates[i] = static_cast<int64_t>(rank % mesh[i].size);
  return coordinates;
}

uint64_t Plan::runOf(const PlanState &state, uint64_t rank) const {
  std::vector<int64_t> coordinates = coordinatesOf(rank);
  uint64_t run = 0;
  for (uint32_t axis : state.axes)
    run = run * mesh[axis].size + static_cast<uint64_t>(coordinates[axis]);
  return run;
}

uint64_t Plan::batchShareOf(uint64_t rank) const {
  std::vector<int64_t> coordinates = coordinatesOf(rank);
  for (size_t i = 0; i < mesh.size(); ++i)
    if (mesh[i].dealsBatches)
      return static_cast<uint64_t>(coordinates[i]);
  return 0;
}

static uint64_t bytesSentBy(const Plan &plan, const std::vector<Instruction> &body) {
  uint64_t bytes = 0;
  for (const Instruction &op : body) {
    uint64_t ranks = 1;
    for (uint32_t axis : op.axes)
      ranks *= plan.mesh[axis].size;
    if (op.kind == Instruction::Kind::Start && op.exchange != ExchangeOp::Rows)
      bytes += op.pieceBytes * (ranks - 1);
    if (op.kind == Instruction::Kind::Repeat)
      bytes += static_cast<uint64_t>(op.count) * bytesSentBy(plan, op.body);
  }
  return bytes;
}

static uint64_t bytesSentBy(const Plan &plan, const std::vector<ProgramOp> &body) {
  uint64_t bytes = 0;
  for (const ProgramOp &op : body) {
    if (op.kind == ProgramOp::Kind::Call)
      bytes += bytesSentBy(plan, plan.functions[op.function].body);
    if (op.kind == ProgramOp::Kind::Repeat)
      bytes += static_cast<uint64_t>(op.count) * bytesSentBy(plan, op.body);
  }
  return bytes;
}

uint64_t Plan::bytesSentPerStep() const {
  for (const ProgramOp &op : train)
    if (op.kind == ProgramOp::Kind::Steps)
      return bytesSentBy(*this, op.body);
  return 0;
}

uint64_t countBatches(const std::vector<ProgramOp> &body) {
  uint64_t total = 0;
  for (const ProgramOp &op : body) {
    if (op.kind == ProgramOp::Kind::NextBatch)
      ++total;
    if (op.kind == ProgramOp::Kind::Repeat)
      total += static_cast<uint64_t>(op.count) * countBatches(op.body);
  }
  return total;
}

} // namespace moec::rt
