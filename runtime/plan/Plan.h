// A plan in memory: plain structs, one for each record of the manifest (docs/plan-format.md). A Plan that came out of
// PlanReader has passed every check, so the executor and the io code use it without checking again.
#ifndef MOEC_RUNTIME_PLAN_PLAN_H
#define MOEC_RUNTIME_PLAN_PLAN_H

#include "runtime/plan/DType.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moec::rt {

struct PlanTarget {
  std::string kind, triple, cpu;
  std::vector<std::string> features;
  uint64_t vectorBytes = 0;
};

struct PlanMemory {
  uint64_t stateBytes = 0, arenaBytes = 0, scratchBytes = 0;
};

struct PlanBlob {
  std::string name;
  uint64_t offset = 0, size = 0;
  std::string hash;
  std::vector<std::byte> bytes;
};

struct PlanKernel {
  std::string name, symbol;
  uint64_t params = 0;
  double flops = 0, bytes = 0; // of one launch
  std::string summary, loc;
};

struct PlanBuffer {
  std::string name, function;
  uint64_t offset = 0, bytes = 0;
  DType dtype = DType::F32;
  std::vector<uint64_t> shape;
  int64_t first = 0, last = 0;
  std::string loc;
};

enum class StateKind { Parameter, Optimizer, Balance, Counter, Gradient, Metric, Batch, Output, Constant, Copy };

struct PlanState {
  std::string name;
  uint64_t offset = 0;
  DType dtype = DType::F32;
  std::vector<uint64_t> shape; // of one copy
  uint64_t copyBytes = 0;      // derived
  uint64_t count = 1;
  int64_t first = 0, step = 1;
  StateKind kind = StateKind::Parameter;
  bool checkpoint = false;

  /// "layers.{}.attention.q" -> "layers.6.attention.q"
  std::string copyName(uint64_t copy) const;
};

struct PlanDataSet {
  std::string name, path;
  double weight = 0;
};

struct PlanData {
  std::string tokenizer;
  uint64_t seqLen = 0, sequences = 0;
  std::string baseDir;
  std::vector<PlanDataSet> train, validation;
};

struct PlanGenerate {
  uint32_t function = 0;
  uint64_t tokensOffset = 0, positionOffset = 0, logitsOffset = 0;
  uint64_t window = 0, vocabulary = 0;
};

struct PlanMetric {
  std::string name;
  uint64_t offset = 0;
  DType dtype = DType::F32;
  std::vector<uint64_t> shape;
  uint64_t elements = 0; // derived
  bool validation = false;
};

struct Operand {
  uint64_t offset = 0;
  std::vector<int64_t> strides; // outermost loop first
};

struct Instruction {
  enum class Kind { Launch, Fill, Copy, Repeat };

  Kind kind = Kind::Launch;
  uint32_t kernel = 0;
  int64_t grid = 0;
  std::vector<Operand> operands; // launch: args; fill: dst; copy: dst, src
  std::vector<uint64_t> sizes;   // launch: one for each operand; fill and copy: one
  int64_t count = 0;             // repeat
  bool reverse = false;
  std::vector<Instruction> body;
};

struct PlanFunction {
  std::string name;
  std::vector<Instruction> body;
};

struct ProgramOp {
  enum class Kind { Call, Repeat, Steps, NextBatch, Log, Every, Evaluate, Save };

  Kind kind = Kind::Call;
  uint32_t function = 0;
  int64_t count = 0; // repeat: times, steps: target, log and every: interval
  bool validation = false;
  std::vector<ProgramOp> body;
};

struct Plan {
  std::string path; // where it was read from
  std::string compiler, name, spec, specHash, specFile;
  DType elementType = DType::F32;
  uint64_t seed = 0;
  PlanTarget target;
  PlanMemory memory;
  std::vector<PlanBlob> blobs;
  std::vector<PlanKernel> kernels;
  std::vector<PlanBuffer> buffers;
  std::vector<PlanState> state;
  uint64_t stepCounterOffset = 0;
  PlanData data;
  uint64_t batchOffset = 0, domainsOffset = 0;
  std::optional<PlanGenerate> generate;
  std::vector<PlanMetric> metrics;
  std::vector<PlanFunction> functions;
  std::vector<ProgramOp> init, train, evaluate;
  int64_t keepLast = 0; // 0: all

  const PlanBlob *findBlob(const std::string &name) const;
  /// Announced peak of a run: arena and the scratch of every thread, each rounded up to 64 bytes.
  uint64_t peakBytes(uint64_t threads) const;
  /// Ids are below this; what the logits have as their last dimension, or all bytes.
  uint64_t vocabulary() const { return generate ? generate->vocabulary : 256; }
};

/// How many `next_batch` of this split one pass over `body` meets.
uint64_t countBatches(const std::vector<ProgramOp> &body, bool validation);

std::string_view stateKindName(StateKind kind);
std::optional<StateKind> stateKindFromName(std::string_view name);

} // namespace moec::rt

#endif // MOEC_RUNTIME_PLAN_PLAN_H
