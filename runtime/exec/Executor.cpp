#include "runtime/exec/Executor.h"

#include "runtime/exec/Devices.h"

#include <utility>

namespace moec::rt {

Result<std::unique_ptr<Executor>> Executor::create(const Plan &plan, const ExecutorOptions &options) {
  MOEC_ASSIGN_OR_RETURN(std::unique_ptr<Device> device, createDevice(plan, options.threads));
  return std::unique_ptr<Executor>(new Executor(plan, std::move(device), options));
}

Executor::Executor(const Plan &plan, std::unique_ptr<Device> device, const ExecutorOptions &options)
    : source(plan), hal(std::move(device)), poison(options.poison), recorded(plan.functions.size()) {
  if (!options.profile)
    return;
  times.emplace(plan, hal->limits());
  timer = std::make_unique<LaunchTimer>(*hal);
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
  runBody(source.functions[function].body, 0);
}

void Executor::runBody(const std::vector<Instruction> &body, size_t depth) {
  for (const Instruction &op : body) {
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
      indices[depth] = op.reverse ? op.count - 1 - i : i;
      runBody(op.body, depth + 1);
    }
    break;
  }
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
