#include "runtime/plan/PlanDescribe.h"

#include "runtime/base/Text.h"

#include <algorithm>
#include <map>

namespace moec::rt {

static std::string operandText(const Plan &plan, const Operand &operand) {
  std::string text = "@" + std::to_string(operand.offset);
  size_t numAxes = plan.mesh.size();
  for (size_t i = 0; i < operand.strides.size(); ++i)
    if (operand.strides[i] != 0)
      text += " + " + std::to_string(operand.strides[i]) + "*" +
              (i < numAxes ? plan.mesh[i].name : "i" + std::to_string(i - numAxes));
  return text;
}

/// "data 4 x expert 2".
static std::string meshText(const Plan &plan) {
  std::string text;
  for (const PlanAxis &axis : plan.mesh)
    text += (text.empty() ? "" : " x ") + axis.name + " " + std::to_string(axis.size);
  return text;
}

/// "3.89 MiB" and "4083712", side by side in every table.
static std::vector<std::string> sizeCells(uint64_t bytes) { return {formatBytes(bytes), std::to_string(bytes)}; }

static std::string describeTarget(const PlanTarget &target) {
  if (target.kind == TargetKind::Cuda)
    return target.arch + " (compute capability " + std::to_string(target.major) + "." + std::to_string(target.minor) +
           ", " + formatBytes(target.sharedBytes) + " of shared memory per block)";
  std::string features;
  for (const std::string &feature : target.features)
    features += (features.empty() ? "" : ", ") + feature;
  return target.cpu + " (" + features + ")";
}

static std::string describeHead(const Plan &plan) {
  std::string text =
      "plan " + plan.name + ", from " + plan.specFile + " (spec " + plan.specHash + ") by " + plan.compiler + "\n";
  text += "for " + std::string(targetKindName(plan.target.kind)) + " " + describeTarget(plan.target) + ", elements " +
          std::string(dtypeInfo(plan.elementType).name) + "\n";
  text += "data: " + plan.data.tokenizer + " tokens, " + std::to_string(plan.data.sequences) + " sequences of " +
          std::to_string(plan.data.seqLen) + " at a time, " + std::to_string(plan.data.train.size()) +
          " training and " + std::to_string(plan.data.validation.size()) + " validation sources\n";
  if (!plan.mesh.empty())
    text += "ranks: " + std::to_string(plan.numRanks()) + " (" + meshText(plan) + "); all numbers are of one rank\n";
  return text + "\n";
}

static std::string_view segmentName(StateKind kind) {
  switch (kind) {
  case StateKind::Parameter:
    return "parameters";
  case StateKind::Gradient:
    return "gradients";
  case StateKind::Optimizer:
    return "optimizer state";
  case StateKind::Balance:
    return "balance state";
  case StateKind::Batch:
    return "batch";
  case StateKind::Output:
    return "outputs";
  case StateKind::Constant:
    return "constant tables";
  case StateKind::Copy:
    return "narrow copies of parameters";
  case StateKind::Metric:
    return "metrics";
  case StateKind::Counter:
    return "counters";
  }
  return "";
}

static constexpr StateKind kSegments[] = {
    StateKind::Parameter, StateKind::Copy,   StateKind::Gradient, StateKind::Optimizer, StateKind::Balance,
    StateKind::Batch,     StateKind::Output, StateKind::Constant, StateKind::Metric,    StateKind::Counter};

/// The compiler names what the forward keeps for the backward, one copy for each layer, "kept.<what>".
static bool isKept(const PlanBuffer &buffer) { return buffer.name.starts_with("kept."); }

static std::string describeMemory(const Plan &plan, uint64_t threads) {
  bool isGpu = plan.target.kind == TargetKind::Cuda;
  uint64_t peak = plan.peakBytes(threads);
  std::string threadText = std::to_string(threads) + (threads == 1 ? " thread" : " threads");
  std::string text = "peak memory: " + formatBytes(peak) + " (" + std::to_string(peak) + " bytes) " +
                     (isGpu ? "on the GPU" : "with " + threadText) + ", allocated once at the start\n\n";
  TextTable table({"memory", "size", "bytes", "share"}, "0111");
  uint64_t rest = peak;
  auto row = [&](std::string name, uint64_t bytes) {
    if (bytes == 0)
      return;
    rest -= bytes;
    table.row({std::move(name), formatBytes(bytes), std::to_string(bytes),
               formatFixed(100.0 * static_cast<double>(bytes) / static_cast<double>(peak), 1) + " %"});
  };
  for (StateKind kind : kSegments) {
    uint64_t bytes = 0;
    for (const PlanState &state : plan.state)
      bytes += state.kind == kind ? state.residentBytes() : 0;
    row(std::string(segmentName(kind)), bytes);
  }
  uint64_t kept = 0;
  for (const PlanBuffer &buffer : plan.buffers)
    kept += isKept(buffer) ? buffer.bytes : 0;
  uint64_t values = plan.memory.arenaBytes - plan.memory.stateBytes;
  // Kept values live through the whole pass, so they take room of their own; a hand-made plan may say otherwise.
  kept = std::min(kept, values);
  row("activations kept", kept);
  row("temporaries", values - kept);
  row(isGpu ? "scratch" : "scratch of " + threadText, (isGpu ? 1 : threads) * plan.memory.scratchBytes);
  row("alignment", rest);
  return text + table.text() + "\n";
}

static std::string describeState(const Plan &plan) {
  std::map<uint64_t, std::string_view> places;
  for (const PlanBuffer &buffer : plan.buffers)
    if (buffer.function.empty())
      places[buffer.offset] = buffer.loc;
  TextTable table({"state", "size", "bytes", "type", "shape", "copies", "saved", "offset", "from"}, "011001010");
  for (StateKind kind : kSegments)
    for (const PlanState &state : plan.state) {
      if (state.kind != kind)
        continue;
      std::vector<std::string> cells = sizeCells(state.residentBytes());
      table.row({state.name, cells[0], cells[1], std::string(dtypeInfo(state.dtype).name), formatShape(state.shape),
                 std::to_string(state.count), state.checkpoint ? "yes" : "no", std::to_string(state.offset),
                 std::string(places[state.offset])});
    }
  return "state: what outlives a call\n\n" + table.text() + "\n";
}

static std::string describeValues(const Plan &plan, const std::string &function) {
  std::vector<const PlanBuffer *> buffers;
  uint64_t top = plan.memory.stateBytes, sum = 0;
  for (const PlanBuffer &buffer : plan.buffers)
    if (buffer.function == function) {
      buffers.push_back(&buffer);
      top = std::max(top, buffer.offset + buffer.bytes);
      sum += buffer.bytes;
    }
  if (buffers.empty())
    return "";
  // Those that start together stay in the order of the plan.
  std::sort(buffers.begin(), buffers.end(), [](const PlanBuffer *a, const PlanBuffer *b) {
    return a->first != b->first ? a->first < b->first : a < b;
  });
  TextTable table({"value", "size", "bytes", "type", "shape", "live", "offset", "from"}, "01100010");
  for (const PlanBuffer *buffer : buffers) {
    std::vector<std::string> cells = sizeCells(buffer->bytes);
    table.row({buffer->name, cells[0], cells[1], std::string(dtypeInfo(buffer->dtype).name), formatShape(buffer->shape),
               std::to_string(buffer->first) + ".." + std::to_string(buffer->last), std::to_string(buffer->offset),
               buffer->loc});
  }
  return "values of " + function + ": " + std::to_string(buffers.size()) + " of together " + formatBytes(sum) +
         " share " + formatBytes(top - plan.memory.stateBytes) + "\n\n" + table.text() + "\n";
}

static std::string describeBuffers(const Plan &plan) {
  std::string text;
  for (const PlanFunction &function : plan.functions)
    text += describeValues(plan, function.name);
  return text;
}

/// What only GPUs have: "128 threads, 24.00 KiB shared, 2 maps".
static std::string launchText(const PlanLaunch &launch) {
  std::string text = std::to_string(launch.threads) + " threads, " + formatBytes(launch.sharedBytes) + " shared";
  if (!launch.maps.empty())
    text += ", " + std::to_string(launch.maps.size()) + (launch.maps.size() == 1 ? " map" : " maps");
  return text + ", " + launch.module;
}

static std::string describeLaunches(const Plan &plan) {
  if (plan.target.kind != TargetKind::Cuda)
    return "";
  TextTable table({"kernel", "launch"}, "10");
  for (size_t i = 0; i < plan.kernels.size(); ++i)
    table.row({std::to_string(i), launchText(plan.kernels[i].launch)});
  return table.text() + "\n";
}

static std::string describeKernels(const Plan &plan) {
  TextTable table({"kernel", "name", "operands", "MFLOP", "KiB", "what", "from"}, "10111");
  for (size_t i = 0; i < plan.kernels.size(); ++i) {
    const PlanKernel &kernel = plan.kernels[i];
    table.row({std::to_string(i), kernel.name, std::to_string(kernel.params), formatFixed(kernel.flops / 1e6, 3),
               formatFixed(kernel.bytes / 1024, 1), kernel.summary, kernel.loc});
  }
  return table.text() + "\n";
}

static void describeBody(const Plan &plan, const std::vector<Instruction> &body, const std::string &indent,
                         std::string &text) {
  for (const Instruction &op : body) {
    text += indent;
    switch (op.kind) {
    case Instruction::Kind::Launch:
      text += plan.kernels[op.kernel].name + " x" + std::to_string(op.grid) + " (";
      for (size_t i = 0; i < op.operands.size(); ++i)
        text += (i ? ", " : "") + operandText(plan, op.operands[i]) + ":" + std::to_string(op.sizes[i]);
      text += ")\n";
      break;
    case Instruction::Kind::Fill:
      text += "fill " + operandText(plan, op.operands[0]) + ":" + std::to_string(op.sizes[0]) + "\n";
      break;
    case Instruction::Kind::Copy:
      text += "copy " + operandText(plan, op.operands[0]) + " <- " + operandText(plan, op.operands[1]) + ":" +
              std::to_string(op.sizes[0]) + "\n";
      break;
    case Instruction::Kind::Repeat:
      text += "repeat " + std::to_string(op.count) + (op.reverse ? " (last first)\n" : "\n");
      describeBody(plan, op.body, indent + "  ", text);
      break;
    case Instruction::Kind::Start:
      text += "start " + std::to_string(op.request) + ": " + std::string(exchangeName(op.exchange)) + " along";
      for (uint32_t axis : op.axes)
        text += " " + plan.mesh[axis].name;
      text += ", " + operandText(plan, op.operands[0]) + ":" + std::to_string(op.sizes[0]) + " <- " +
              operandText(plan, op.operands[1]) + ":" + std::to_string(op.sizes[1]) + "\n";
      break;
    case Instruction::Kind::Wait:
      text += "wait for " + std::to_string(op.request) + "\n";
      break;
    }
  }
}

static void describeProgram(const Plan &plan, const std::vector<ProgramOp> &body, const std::string &indent,
                            std::string &text) {
  using Kind = ProgramOp::Kind;
  for (const ProgramOp &op : body) {
    std::string count = std::to_string(op.count);
    text += indent;
    switch (op.kind) {
    case Kind::Call:
      text += "call " + plan.functions[op.function].name;
      break;
    case Kind::Repeat:
      text += "repeat " + count;
      break;
    case Kind::Steps:
      text += "steps until " + count;
      break;
    case Kind::NextBatch:
      text += "next batch of training data";
      break;
    case Kind::Log:
      text += "log every " + count + " steps";
      break;
    case Kind::Every:
      text += "every " + count + " steps";
      break;
    case Kind::Evaluate:
      text += "evaluate";
      break;
    case Kind::Save:
      text += "save a checkpoint";
      break;
    }
    text += "\n";
    describeProgram(plan, op.body, indent + "  ", text);
  }
}

std::string describePlan(const Plan &plan, const PlanDescribeOptions &options) {
  std::string text = describeHead(plan) + describeMemory(plan, options.threads) + describeState(plan) +
                     describeBuffers(plan) + describeKernels(plan) + describeLaunches(plan);
  if (!options.instructions)
    return text;
  text += "instructions: kernel xWORKGROUPS (@offset + stride*index:bytes, ...); i0 is the outermost loop's index, the "
          "name of an axis of ranks is where the rank stands along it; :0 marks an index that is handed over as a "
          "distance\n";
  for (const PlanFunction &function : plan.functions) {
    text += "function " + function.name + "\n";
    describeBody(plan, function.body, "  ", text);
  }
  auto program = [&](const char *name, const std::vector<ProgramOp> &body) {
    text += std::string("program ") + name + "\n";
    describeProgram(plan, body, "  ", text);
  };
  program("init", plan.init);
  program("train", plan.train);
  if (!plan.restore.empty())
    program("restore", plan.restore);
  return text;
}

} // namespace moec::rt
