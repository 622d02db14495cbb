#include "runtime/exec/Executor.h"

#include "runtime/exec/Devices.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace moec::rt {

Result<std::unique_ptr<Executor>> Executor::create(const Plan &plan, const ExecutorOptions &options) {
  MOEC_ASSIGN_OR_RETURN(std::unique_ptr<Device> device, createDevice(plan, options.threads));
  std::unique_ptr<Executor> made(new Executor(plan, std::move(device), options));
  if (options.ranks)
    MOEC_RETURN_IF_ERROR(made->joinGroups());
  return made;
}

Executor::Executor(const Plan &plan, std::unique_ptr<Device> device, const ExecutorOptions &options)
    : source(plan), hal(std::move(device)), poison(options.poison), recorded(plan.functions.size()),
      ranks(options.ranks) {
  if (ranks)
    for (size_t i = 0; i < plan.mesh.size(); ++i)
      indices[i] = plan.coordinatesOf(static_cast<uint64_t>(ranks->rank()))[i];
  if (!options.profile)
    return;
  times.emplace(plan, hal->limits());
  timer = std::make_unique<LaunchTimer>(*hal);
}

/// Calls see(op) for every exchange that `body` starts.
template <typename See> static void forEachStart(const std::vector<Instruction> &body, See see) {
  for (const Instruction &op : body) {
    if (op.kind == Instruction::Kind::Start)
      see(op);
    forEachStart(op.body, see);
  }
}

/// The groups that exchanges need, on all ranks in the order of the plan.
Status Executor::joinGroups() {
  if (!hal->address(0))
    return Status::error("MOEC-R010", source.path, "the plan divides its work over ", source.numRanks(),
                         " ranks, and this runtime cannot do that on target ", targetKindName(source.target.kind),
                         "; compile it for a CPU, or set parallel to null");
  Status status = Status::ok();
  auto join = [&](const std::vector<uint32_t> &axes) {
    if (status.isOk())
      status = joinGroup(axes);
  };
  for (const PlanFunction &function : source.functions)
    forEachStart(function.body, [&](const Instruction &op) { join(op.axes); });
  for (const PlanState &state : source.state)
    join(state.axes);
  return status;
}

/// The group of the ranks that differ from this one along `axes` alone, in row-major order of these axes.
Status Executor::joinGroup(const std::vector<uint32_t> &axes) {
  if (axes.empty() || groups.count(axes))
    return Status::ok();
  std::vector<int> members;
  auto placeOf = [&](int rank) { return source.coordinatesOf(static_cast<uint64_t>(rank)); };
  std::vector<int64_t> own = placeOf(ranks->rank());
  for (int rank = 0; rank < ranks->size(); ++rank) {
    std::vector<int64_t> other = placeOf(rank);
    bool isMember = true;
    for (uint32_t i = 0; i < other.size(); ++i)
      isMember = isMember && (other[i] == own[i] || std::find(axes.begin(), axes.end(), i) != axes.end());
    if (isMember)
      members.push_back(rank);
  }
  std::stable_sort(members.begin(), members.end(), [&](int a, int b) {
    std::vector<int64_t> left = placeOf(a), right = placeOf(b);
    for (uint32_t axis : axes)
      if (left[axis] != right[axis])
        return left[axis] < right[axis];
    return false;
  });
  MOEC_ASSIGN_OR_RETURN(uint32_t group, ranks->addGroup(members));
  groups.emplace(axes, group);
  return Status::ok();
}

Status Executor::assemble(const PlanState &state, std::vector<std::byte> &all) {
  uint64_t bytes = state.residentBytes();
  all.resize(bytes * state.runs);
  std::byte *own = all.data() + source.runOf(state, static_cast<uint64_t>(ranks->rank())) * bytes;
  hal->read(state.offset, own, bytes);
  MOEC_RETURN_IF_ERROR(hal->finish());
  MOEC_ASSIGN_OR_RETURN(CommRequest request,
                        ranks->allGather(groups.at(state.axes), own, all.data(), bytes, {state.name}));
  MOEC_RETURN_IF_ERROR(ranks->wait(request));
  if (!state.each || state.count == 1)
    return Status::ok();
  // [rank, copy, run] -> [copy, rank, run].
  std::vector<std::byte> byRank(all);
  uint64_t run = state.copyBytes / state.runs;
  for (uint64_t rank = 0; rank < state.runs; ++rank)
    for (uint64_t copy = 0; copy < state.count; ++copy)
      std::memcpy(all.data() + copy * state.copyBytes + rank * run, byRank.data() + (rank * state.count + copy) * run,
                  run);
  return Status::ok();
}

Status Executor::finish() {
  Status done = hal->finish();
  return failure.isOk() ? done : failure;
}

int64_t Executor::stepCounter() {
  int64_t steps = 0;
  hal->read(source.stepCounterOffset, &steps, sizeof steps);
  return steps;
}

void Executor::call(uint32_t function) {
  Recorded &known = recorded[function];
  // Walked once before it is recorded: many functions are called only once, and drivers load code at first use.
  if (!mayRecord() || !std::exchange(known.wasCalled, true))
    return walk(function);
  if (!known.recording) {
    hal->beginRecording();
    walk(function);
    known.recording = hal->endRecording(source.functions[function].name);
  }
  hal->replay(*known.recording);
}

void Executor::walk(uint32_t function) {
  if (poison)
    hal->fill(source.memory.stateBytes, source.memory.arenaBytes - source.memory.stateBytes, 0xFF);
  requests.assign(source.functions[function].requests, 0);
  runBody(source.functions[function].body, 0);
}

void Executor::runBody(const std::vector<Instruction> &body, size_t depth) {
  for (const Instruction &op : body) {
    if (!failure.isOk())
      return; // the other ranks have gone
    if (!timer || op.kind == Instruction::Kind::Repeat) {
      runOne(op, depth);
      continue;
    }
    timer->begin();
    runOne(op, depth);
    timer->end(op);
    if (timer->isFull())
      drainTimer();
  }
}

uint64_t Executor::place(const Operand &operand) const {
  int64_t moved = static_cast<int64_t>(operand.offset);
  for (size_t i = 0; i < operand.strides.size(); ++i)
    moved += operand.strides[i] * indices[i];
  return static_cast<uint64_t>(moved);
}

void Executor::runOne(const Instruction &op, size_t depth) {
  switch (op.kind) {
  case Instruction::Kind::Launch:
    offsets.clear();
    for (const Operand &operand : op.operands)
      offsets.push_back(place(operand));
    hal->launch(op.kernel, offsets, op.grid);
    break;
  case Instruction::Kind::Fill:
    hal->fill(place(op.operands[0]), op.sizes[0], 0);
    break;
  case Instruction::Kind::Copy:
    hal->copy(place(op.operands[0]), place(op.operands[1]), op.sizes[0]);
    break;
  case Instruction::Kind::Repeat:
    for (int64_t i = 0; i < op.count; ++i) {
      indices[source.mesh.size() + depth] = op.reverse ? op.count - 1 - i : i;
      runBody(op.body, depth + 1);
    }
    break;
  case Instruction::Kind::Start:
    start(op);
    break;
  case Instruction::Kind::Wait:
    wait(op);
    break;
  }
}

void Executor::start(const Instruction &op) {
  if (!ranks) {
    failure = Status::error("MOEC-R010", source.path,
                            "internal: a function that exchanges with other ranks was called "
                            "without them");
    return;
  }
  std::byte *dst = hal->address(place(op.operands[0]));
  const std::byte *src = hal->address(place(op.operands[1]));
  CommSite site{exchangeName(op.exchange), op.request,
                op.location < source.locations.size() ? source.locations[op.location] : std::string_view()};
  uint32_t group = groups.at(op.axes);
  Result<CommRequest> request =
      op.exchange == ExchangeOp::AllGather  ? ranks->allGather(group, src, dst, op.pieceBytes, site)
      : op.exchange == ExchangeOp::AllToAll ? ranks->allToAll(group, src, dst, op.pieceBytes, site)
                                            : startRows(op, group, src, dst, site);
  if (request.isOk())
    requests[op.request] = *request;
  else
    failure = request.status();
}

/// Adds up the counts, and sees to it that no row goes where there is no room.
Result<CommRequest> Executor::startRows(const Instruction &op, uint32_t group, const std::byte *src, std::byte *dst,
                                        const CommSite &site) {
  size_t numRanks = ranks->ranksOf(group).size();
  std::vector<uint64_t> rows[2];
  for (size_t which : {0, 1}) {
    const auto *counts = reinterpret_cast<const int32_t *>(hal->address(place(op.operands[2 + which])));
    size_t each = op.sizes[2 + which] / sizeof(int32_t) / numRanks;
    uint64_t room = op.sizes[1 - which] / op.pieceBytes, total = 0; // sends: of the source
    for (size_t rank = 0; rank < numRanks; ++rank) {
      int64_t sum = 0;
      for (size_t i = 0; i < each; ++i)
        sum += counts[rank * each + i];
      total += static_cast<uint64_t>(sum);
      if (sum < 0 || total > room)
        return Status::error("MOEC-R010", source.path, site.section, ": rank ", ranks->rank(), " counts ", total,
                             " rows, there is room for ", room);
      rows[which].push_back(static_cast<uint64_t>(sum));
      if (which == 0 && ranks->ranksOf(group)[rank] != ranks->rank())
        rowsSent += static_cast<uint64_t>(sum) * op.pieceBytes;
    }
  }
  return ranks->exchangeRows(group, src, rows[0], dst, rows[1], op.pieceBytes, site);
}

void Executor::wait(const Instruction &op) {
  if (failure.isOk())
    failure = ranks->wait(requests[op.request]);
}

void Executor::drainTimer() {
  for (const TimedLaunch &launch : timer->take()) {
    if (times)
      times->add(launch);
    if (traced)
      traced->push_back(launch);
  }
}

const Profile *Executor::profile() {
  if (!times)
    return nullptr;
  drainTimer();
  return &*times;
}

void Executor::startTrace() {
  if (timer)
    drainTimer();
  timer = std::make_unique<LaunchTimer>(*hal); // its time starts now
  traced.emplace();
}

std::vector<TimedLaunch> Executor::stopTrace() {
  drainTimer();
  if (!times)
    timer.reset();
  return *std::exchange(traced, std::nullopt);
}

} // namespace moec::rt
