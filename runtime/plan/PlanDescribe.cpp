#include "runtime/plan/PlanDescribe.h"

#include "runtime/base/Text.h"

#include <map>

namespace moec::rt {

static std::string operandText(const Operand &operand) {
  std::string text = "@" + std::to_string(operand.offset);
  for (size_t i = 0; i < operand.strides.size(); ++i)
    if (operand.strides[i] != 0)
      text += " + " + std::to_string(operand.strides[i]) + "*i" + std::to_string(i);
  return text;
}

static std::string describeHead(const Plan &plan, uint64_t threads) {
  const PlanTarget &target = plan.target;
  std::string features;
  for (const std::string &feature : target.features)
    features += (features.empty() ? "" : ", ") + feature;
  std::string text =
      "plan " + plan.name + " (" + plan.compiler + ", from " + plan.specFile + ", spec " + plan.specHash + ")\n";
  text += "target: " + target.kind + ", " + target.triple + ", " + target.cpu + " [" + features + "], vectors of " +
          std::to_string(target.vectorBytes) + " bytes, elements " + std::string(dtypeInfo(plan.elementType).name) +
          "\n";
  text += "data: " + plan.data.tokenizer + " tokens, " + std::to_string(plan.data.sequences) + " sequences of " +
          std::to_string(plan.data.seqLen) + ", " + std::to_string(plan.data.train.size()) + " training and " +
          std::to_string(plan.data.validation.size()) + " validation sets\n\n";

  TextTable memory({"memory", "bytes", ""}, "01");
  auto row = [&](const std::string &name, uint64_t bytes) {
    memory.row({name, std::to_string(bytes), formatBytes(bytes)});
  };
  row("state", plan.memory.stateBytes);
  row("values of functions (shared)", plan.memory.arenaBytes - plan.memory.stateBytes);
  row("scratch of each thread", plan.memory.scratchBytes);
  row("peak with " + std::to_string(threads) + (threads == 1 ? " thread" : " threads"), plan.peakBytes(threads));
  return text + memory.text() + "\n";
}

static std::string describeState(const Plan &plan) {
  std::map<std::string_view, uint64_t> totals;
  TextTable table({"state", "offset", "bytes", "type", "shape", "copies", "kind", "saved"}, "011001");
  for (const PlanState &state : plan.state) {
    totals[stateKindName(state.kind)] += state.copyBytes * state.count;
    table.row({state.name, std::to_string(state.offset), std::to_string(state.copyBytes * state.count),
               std::string(dtypeInfo(state.dtype).name), formatShape(state.shape), std::to_string(state.count),
               std::string(stateKindName(state.kind)), state.checkpoint ? "yes" : "no"});
  }
  TextTable sums({"state by kind", "bytes", ""}, "01");
  for (const auto &[kind, bytes] : totals)
    sums.row({std::string(kind), std::to_string(bytes), formatBytes(bytes)});
  return sums.text() + "\n" + table.text() + "\n";
}

static std::string describeBuffers(const Plan &plan) {
  TextTable table({"buffer", "function", "offset", "bytes", "type", "shape", "live", "from"}, "0011");
  for (const PlanBuffer &buffer : plan.buffers)
    table.row({buffer.name, buffer.function.empty() ? "(state)" : buffer.function, std::to_string(buffer.offset),
               std::to_string(buffer.bytes), std::string(dtypeInfo(buffer.dtype).name), formatShape(buffer.shape),
               std::to_string(buffer.first) + ".." + std::to_string(buffer.last), buffer.loc});
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
        text += (i ? ", " : "") + operandText(op.operands[i]) + ":" + std::to_string(op.sizes[i]);
      text += ")\n";
      break;
    case Instruction::Kind::Fill:
      text += "fill " + operandText(op.operands[0]) + ":" + std::to_string(op.sizes[0]) + "\n";
      break;
    case Instruction::Kind::Copy:
      text += "copy " + operandText(op.operands[0]) + " <- " + operandText(op.operands[1]) + ":" +
              std::to_string(op.sizes[0]) + "\n";
      break;
    case Instruction::Kind::Repeat:
      text += "repeat " + std::to_string(op.count) + (op.reverse ? " (last first)\n" : "\n");
      describeBody(plan, op.body, indent + "  ", text);
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
      text += op.validation ? "next batch of validation data" : "next batch of training data";
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
  std::string text =
      describeHead(plan, options.threads) + describeState(plan) + describeBuffers(plan) + describeKernels(plan);
  if (!options.instructions)
    return text;
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
  program("evaluate", plan.evaluate);
  return text;
}

} // namespace moec::rt
