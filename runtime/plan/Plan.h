// A plan in memory: plain structs, one for each record of the manifest (docs/plan-format.md). A Plan that came out of
// PlanReader has passed every check, so the executor and the io code use it without checking again.
#ifndef MOEC_RUNTIME_PLAN_PLAN_H
#define MOEC_RUNTIME_PLAN_PLAN_H

#include "runtime/base/Hash.h"
#include "runtime/plan/DType.h"
#include "runtime/plan/Instructions.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moec::rt {

enum class TargetKind { Cpu, Cuda };

struct PlanTarget {
  TargetKind kind = TargetKind::Cpu;
  // cpu
  std::string triple, cpu;
  std::vector<std::string> features;
  uint64_t vectorBytes = 0;
  // cuda
  std::string arch;              // "sm_90a"
  uint32_t major = 0, minor = 0; // compute capability that the code is made for
  uint64_t sharedBytes = 0;      // the most dynamic shared memory of a block
};

struct PlanMemory {
  uint64_t stateBytes = 0, arenaBytes = 0, scratchBytes = 0;
};

/// An axis of the grid of ranks that runs the plan.
struct PlanAxis {
  std::string name;
  uint64_t size = 1;
  bool dealsBatches = false; // ranks along it take micro-batches of their own; at most one axis
};

struct PlanBlob {
  std::string name;
  uint64_t offset = 0, size = 0;
  std::string hash;
  std::vector<std::byte> bytes;
};

enum class MapElement { BF16, F16, F32, F8E4M3 };

/// A tensor map, as cuTensorMapEncodeTiled wants it: innermost dimension first.
struct PlanTensorMap {
  uint32_t param = 0;  // describes memory at this operand,
  uint64_t offset = 0; // so many bytes into it
  MapElement element = MapElement::BF16;
  std::vector<uint64_t> dims, strides; // strides: bytes, of all dimensions but the innermost
  std::vector<uint64_t> box;
  uint32_t swizzle = 0; // bytes: 0, 32, 64 or 128

  /// From its first byte to its last.
  uint64_t extent() const;
};

/// How a kernel of a GPU is launched; the grid stands in the instruction.
struct PlanLaunch {
  std::string module; // a blob
  uint32_t threads = 0;
  uint64_t sharedBytes = 0; // dynamic
  std::vector<PlanTensorMap> maps;
};

struct PlanKernel {
  std::string name, symbol;
  uint64_t params = 0;
  double flops = 0, bytes = 0; // of one launch
  std::string summary, loc;
  // For tools: element types of the operands, and which of them are written. Both empty when the plan does not say.
  std::vector<DType> types;
  std::vector<uint64_t> writes;
  PlanLaunch launch; // cuda only
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

/// What the runtime itself does with a state, beside keeping it. At most one state has each role, except ExpertTokens.
enum class StateRole {
  StepCounter,      // i64: steps done
  BatchTokens,      // i32 [sequences, seq_len + 1]: the batch
  BatchSources,     // i32 [sequences, 1]: index of the data set that each row came from
  GenerateTokens,   // i32 [1, window]
  GeneratePosition, // i32: the row whose next token is asked
  GenerateLogits,   // [1, vocabulary] of the element type
  TokenLosses,      // [sequences * seq_len, 1] of the element type: nats of each token of a batch of evaluation
  Loss,             // of training, without what methods add; the run ends when it is not finite
  TotalLoss,        // so with this
  GradientNorm,     // and this
  ExpertTokens      // i64 [layers, experts]: choices of a step; one state for each segment of layers
};

struct PlanState {
  std::string name;
  uint64_t offset = 0;
  DType dtype = DType::F32;
  std::vector<uint64_t> shape; // of one copy
  uint64_t copyBytes = 0;      // derived
  uint64_t count = 1;
  int64_t first = 0, step = 1;
  StateKind kind = StateKind::Parameter;
  std::optional<StateRole> role;
  bool checkpoint = false;
  std::vector<uint32_t> axes; // the ranks along these keep one run each of the elements of all copies; empty: all of it
  bool each = false;          // every copy is cut into runs, of its outermost dimension; else all copies together
  uint64_t runs = 1;          // derived: how many

  uint64_t elements() const;                                          // of all copies, over all ranks
  uint64_t residentBytes() const { return copyBytes * count / runs; } // in the arena of one rank
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

/// Runs on one batch of validation data and leaves the loss of every token.
struct PlanEvaluation {
  uint32_t function = 0;
  uint64_t batches = 0;      // how many are read, at most
  uint64_t lossesOffset = 0; // [sequences, seq_len] of the element type: nats
};

struct PlanMetric {
  std::string name; // in the log
  uint64_t offset = 0;
  DType dtype = DType::F32;
  std::vector<uint64_t> shape; // in the log
  uint64_t elements = 0;       // derived
  std::optional<StateRole> role;

  /// Counts are whole numbers, in files too.
  bool isInteger() const { return dtype != DType::F64 && dtype != DType::F32; }
};

struct Plan {
  std::string path; // where it was read from
  Digest hash{};    // of the file
  std::string compiler, name, spec, specHash, specFile;
  DType elementType = DType::F32;
  uint64_t seed = 0;
  PlanTarget target;
  PlanMemory memory;
  std::vector<PlanAxis> mesh; // empty: one rank
  std::vector<PlanBlob> blobs;
  std::vector<PlanKernel> kernels;
  std::vector<std::string> locations; // sections of the spec, as JSON pointers
  std::vector<PlanBuffer> buffers;
  std::vector<PlanState> state;
  uint64_t stepCounterOffset = 0; // this and the offsets below are those of states with a role
  PlanData data;
  uint64_t batchOffset = 0, domainsOffset = 0;
  std::optional<PlanGenerate> generate;
  std::optional<PlanEvaluation> evaluation;
  std::vector<PlanMetric> metrics;
  std::vector<PlanFunction> functions;
  std::vector<ProgramOp> init, train;
  std::vector<ProgramOp> restore; // after a checkpoint was loaded; may be empty
  int64_t keepLast = 0;           // 0: all

  const PlanBlob *findBlob(const std::string &name) const;
  /// The first state with this role; nullptr: none.
  const PlanState *findState(StateRole role) const;
  uint64_t numRanks() const;
  /// Ranks along the axis that deals out micro-batches.
  uint64_t numBatchRanks() const;
  /// Where a rank stands along each axis of the mesh; the last axis counts fastest.
  std::vector<int64_t> coordinatesOf(uint64_t rank) const;
  /// Which run of a state a rank keeps.
  uint64_t runOf(const PlanState &state, uint64_t rank) const;
  /// Which of numBatchRanks() shares of the micro-batches a rank takes.
  uint64_t batchShareOf(uint64_t rank) const;
  /// Sequences that one training step reads, on all ranks together.
  uint64_t sequencesPerStep() const;
  /// What one rank sends to others in a training step: its part of every exchange, as often as it runs. How many rows
  /// go to experts depends on the routing; these are not counted.
  uint64_t bytesSentPerStep() const;
  /// Announced peak of a run: arena and scratch, each rounded up. On processors every thread has a scratch; GPUs have
  /// one in all, whatever `threads` says.
  uint64_t peakBytes(uint64_t threads) const;
  /// Ids are below this; what the logits have as their last dimension, or all bytes.
  uint64_t vocabulary() const { return generate ? generate->vocabulary : 256; }
};

uint64_t mapElementBytes(MapElement element);
std::string_view targetKindName(TargetKind kind);
std::string_view stateKindName(StateKind kind);
std::optional<StateKind> stateKindFromName(std::string_view name);
std::string_view stateRoleName(StateRole role);
std::optional<StateRole> stateRoleFromName(std::string_view name);

} // namespace moec::rt

#endif // MOEC_RUNTIME_PLAN_PLAN_H
