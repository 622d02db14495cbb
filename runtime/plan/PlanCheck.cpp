#include "runtime/plan/PlanCheck.h"

#include "runtime/base/CheckedMath.h"

#include <algorithm>

namespace moec::rt {

namespace {

class MemoryChecker {
public:
  explicit MemoryChecker(const Plan &plan) : plan(plan) {}

  Status run() {
    MOEC_RETURN_IF_ERROR(checkTables());
    for (const PlanAxis &axis : plan.mesh)
      loopCounts.push_back(static_cast<int64_t>(axis.size));
    for (size_t i = 0; i < plan.functions.size(); ++i) {
      function = &plan.functions[i];
      MOEC_RETURN_IF_ERROR(checkBody(function->body, "/functions/" + std::to_string(i) + "/body"));
    }
    return Status::ok();
  }

private:
  Status outside(const std::string &pointer, const std::string &what, uint64_t limit) {
    return Status::error("MOEC-P008", plan.path + ":" + pointer, what, " is not inside ",
                         limit == plan.memory.stateBytes ? "the state, which ends at " : "the arena, which ends at ",
                         limit);
  }

  Status checkRange(uint64_t offset, uint64_t bytes, uint64_t limit, const std::string &pointer,
                    const std::string &what) {
    if (rangeInside(offset, bytes, limit))
      return Status::ok();
    return outside(pointer, what + " at " + std::to_string(offset) + " with " + std::to_string(bytes) + " bytes",
                   limit);
  }

  Status checkTables() {
    for (size_t i = 0; i < plan.buffers.size(); ++i) {
      const PlanBuffer &buffer = plan.buffers[i];
      MOEC_RETURN_IF_ERROR(checkRange(buffer.offset, buffer.bytes,
                                      buffer.function.empty() ? plan.memory.stateBytes : plan.memory.arenaBytes,
                                      "/buffers/" + std::to_string(i), "buffer \"" + buffer.name + "\""));
    }
    // What the runtime itself reads or writes is a state: the function area is dead between calls.
    std::vector<const PlanState *> saved;
    for (size_t i = 0; i < plan.state.size(); ++i) {
      const PlanState &state = plan.state[i];
      std::string pointer = "/state/" + std::to_string(i);
      std::optional<uint64_t> bytes = checkedMul(state.copyBytes, state.count);
      if (!bytes)
        return outside(pointer, "state \"" + state.name + "\"", plan.memory.stateBytes);
      MOEC_RETURN_IF_ERROR(checkRange(state.offset, *bytes / state.runs, plan.memory.stateBytes, pointer,
                                      "state \"" + state.name + "\""));
      if (state.checkpoint)
        saved.push_back(&state);
    }
    // What goes into checkpoints must not share bytes, or loading would depend on the order of tensors.
    std::sort(saved.begin(), saved.end(), [](auto *a, auto *b) { return a->offset < b->offset; });
    for (size_t i = 1; i < saved.size(); ++i)
      if (saved[i - 1]->offset + saved[i - 1]->residentBytes() > saved[i]->offset)
        return Status::error("MOEC-P008", plan.path + ":/state", "\"", saved[i - 1]->name, "\" and \"", saved[i]->name,
                             "\" overlap at ", saved[i]->offset);
    return Status::ok();
  }

  /// The lowest and highest byte over all iterations come from the first or last index of each loop: no enumeration.
  Status checkOperand(const Operand &operand, uint64_t bytes, const std::string &pointer) {
    int64_t low = static_cast<int64_t>(operand.offset), high = low;
    bool fits = true;
    for (size_t i = 0; i < operand.strides.size(); ++i) {
      std::optional<int64_t> reach = checkedMul(operand.strides[i], loopCounts[i] - 1);
      std::optional<int64_t> moved = reach ? checkedAdd(*reach < 0 ? low : high, *reach) : std::nullopt;
      fits = fits && moved;
      if (moved)
        (*reach < 0 ? low : high) = *moved;
    }
    if (fits && low >= 0 && rangeInside(static_cast<uint64_t>(high), bytes, plan.memory.arenaBytes))
      return Status::ok();
    return Status::error("MOEC-P008", plan.path + ":" + pointer, "operand at ", operand.offset, " of \"",
                         function->name, "\" touches ", bytes, " bytes and reaches [", low, ", ", high, " + ", bytes,
                         ") over its loops, which is not inside the arena of ", plan.memory.arenaBytes, " bytes");
  }

  /// The first byte of an operand that was checked, at its lowest and highest over all ranks and iterations.
  int64_t lowest(const Operand &operand) const {
    return extreme(operand, [](int64_t reach) { return reach < 0; });
  }
  int64_t highest(const Operand &operand) const {
    return extreme(operand, [](int64_t reach) { return reach > 0; });
  }
  template <typename Counts> int64_t extreme(const Operand &operand, Counts counts) const {
    auto at = static_cast<int64_t>(operand.offset);
    for (size_t i = 0; i < operand.strides.size() && i < loopCounts.size(); ++i)
      if (int64_t reach = operand.strides[i] * (loopCounts[i] - 1); counts(reach))
        at += reach;
    return at;
  }

  Status checkCopy(const Instruction &op, const std::string &pointer) {
    const Operand &dst = op.operands[0], &src = op.operands[1];
    uint64_t distance = dst.offset > src.offset ? dst.offset - src.offset : src.offset - dst.offset;
    if (dst.strides == src.strides && distance < op.sizes[0])
      return Status::error("MOEC-P008", plan.path + ":" + pointer, "copy of ", op.sizes[0], " bytes from ", src.offset,
                           " to ", dst.offset, " overlaps itself");
    return Status::ok();
  }

  /// An exchange reads its source until it is done. An all-gather may work in place: each rank's source is its own
  /// piece of the destination.
  Status checkStart(const Instruction &op, const std::string &pointer) {
    Operand dst = op.operands[0], src = op.operands[1];
    size_t numIndices = std::max(dst.strides.size(), src.strides.size());
    numIndices = std::max(numIndices, plan.mesh.size());
    dst.strides.resize(numIndices);
    src.strides.resize(numIndices);
    std::vector<int64_t> inPlace = dst.strides;
    auto piece = static_cast<int64_t>(op.pieceBytes);
    for (size_t i = op.axes.size(); i-- > 0; piece *= static_cast<int64_t>(plan.mesh[op.axes[i]].size))
      inPlace[op.axes[i]] += piece;
    bool isInPlace = op.exchange == ExchangeOp::AllGather && src.offset == dst.offset && src.strides == inPlace;
    // Where both move alike one place says it all, else the places of all ranks and iterations.
    bool isApart = src.strides == dst.strides
                       ? src.offset >= dst.offset + op.sizes[0] || dst.offset >= src.offset + op.sizes[1]
                       : lowest(src) >= highest(dst) + static_cast<int64_t>(op.sizes[0]) ||
                             lowest(dst) >= highest(src) + static_cast<int64_t>(op.sizes[1]);
    if (isInPlace || isApart)
      return Status::ok();
    return Status::error("MOEC-P008", plan.path + ":" + pointer, "exchange of ", op.sizes[1], " bytes at ", src.offset,
                         " into ", op.sizes[0], " at ", dst.offset, " overlaps itself");
  }

  /// Tensor maps: inside the operand that they describe, and aligned in every iteration.
  Status checkMaps(const Instruction &op, const std::string &pointer) {
    constexpr uint64_t kMapAlignment = 16;
    const PlanKernel &kernel = plan.kernels[op.kernel];
    for (size_t i = 0; i < kernel.launch.maps.size(); ++i) {
      const PlanTensorMap &map = kernel.launch.maps[i];
      if (!rangeInside(map.offset, map.extent(), op.sizes[map.param]))
        return Status::error("MOEC-P008", plan.path + ":" + pointer, "tensor map ", i, " of kernel \"", kernel.name,
                             "\" covers ", map.extent(), " bytes from ", map.offset, " on of operand ", map.param,
                             ", which has ", op.sizes[map.param]);
      const Operand &operand = op.operands[map.param];
      bool aligned = (operand.offset + map.offset) % kMapAlignment == 0;
      for (int64_t stride : operand.strides)
        aligned = aligned && stride % static_cast<int64_t>(kMapAlignment) == 0;
      if (!aligned)
        return Status::error("MOEC-P008", plan.path + ":" + pointer, "tensor map ", i, " of kernel \"", kernel.name,
                             "\" describes memory that is not aligned to ", kMapAlignment, " bytes");
    }
    return Status::ok();
  }

  Status checkBody(const std::vector<Instruction> &body, const std::string &pointer) {
    for (size_t i = 0; i < body.size(); ++i) {
      const Instruction &op = body[i];
      std::string here = pointer + "/" + std::to_string(i);
      for (size_t k = 0; k < op.operands.size(); ++k)
        MOEC_RETURN_IF_ERROR(checkOperand(op.operands[k], op.sizes[std::min(k, op.sizes.size() - 1)], here));
      if (op.kind == Instruction::Kind::Launch)
        MOEC_RETURN_IF_ERROR(checkMaps(op, here));
      if (op.kind == Instruction::Kind::Copy)
        MOEC_RETURN_IF_ERROR(checkCopy(op, here));
      if (op.kind == Instruction::Kind::Start)
        MOEC_RETURN_IF_ERROR(checkStart(op, here));
      if (op.kind == Instruction::Kind::Repeat) {
        loopCounts.push_back(op.count);
        MOEC_RETURN_IF_ERROR(checkBody(op.body, here + "/body"));
        loopCounts.pop_back();
      }
    }
    return Status::ok();
  }

  const Plan &plan;
  const PlanFunction *function = nullptr;
  std::vector<int64_t> loopCounts; // of the axes of the mesh, then of the enclosing repeats
};

} // namespace

Status checkPlanMemory(const Plan &plan) { return MemoryChecker(plan).run(); }

} // namespace moec::rt
