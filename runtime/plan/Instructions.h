// What a plan does: instructions of functions, which a device carries out, and of programs, which call them.
#ifndef MOEC_RUNTIME_PLAN_INSTRUCTIONS_H
#define MOEC_RUNTIME_PLAN_INSTRUCTIONS_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moec::rt {

struct Operand {
  uint64_t offset = 0;
  std::vector<int64_t> strides; // axes of the mesh first, then loops, the outermost first
};

enum class ExchangeOp { AllGather, AllToAll, Rows };

struct Instruction {
  enum class Kind { Launch, Fill, Copy, Repeat, Start, Wait };

  Kind kind = Kind::Launch;
  uint32_t kernel = 0;
  int64_t grid = 0;
  // launch: args; fill: dst; copy and start: dst, src; start of rows: then how many rows go to each rank and how many
  // come from each, i32 counts, in equal runs that are added up
  std::vector<Operand> operands;
  std::vector<uint64_t> sizes;                 // launch and start: one for each operand; fill and copy: one
  ExchangeOp exchange = ExchangeOp::AllGather; // start
  std::vector<uint32_t> axes;                  // start: the ranks that differ in these axes alone take part
  uint64_t pieceBytes = 0;                     // start: from one rank to another; of rows: of one row
  uint32_t request = 0;                        // start and wait: which exchange of the function
  uint32_t location = 0;                       // section of the spec, in Plan::locations
  int64_t count = 0;                           // repeat
  bool reverse = false;
  std::vector<Instruction> body;
};

struct PlanFunction {
  std::string name;
  uint32_t requests = 0; // exchanges: their numbers are below this
  std::vector<Instruction> body;
};

struct ProgramOp {
  enum class Kind { Call, Repeat, Steps, NextBatch, Log, Every, Evaluate, Save };

  Kind kind = Kind::Call;
  uint32_t function = 0;
  int64_t count = 0; // repeat: times, steps: target, log and every: interval
  std::vector<ProgramOp> body;
};

std::string_view exchangeName(ExchangeOp exchange);
std::optional<ExchangeOp> exchangeFromName(std::string_view name);

/// How many `next_batch` one pass over `body` meets, loops counted as often as they run.
uint64_t countBatches(const std::vector<ProgramOp> &body);

} // namespace moec::rt

#endif // MOEC_RUNTIME_PLAN_INSTRUCTIONS_H
