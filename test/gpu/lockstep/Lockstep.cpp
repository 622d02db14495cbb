#include "Lockstep.h"

#include "Compare.h"
#include "Values.h"

#include "runtime/base/Text.h"
#include "runtime/exec/Devices.h"
#include "runtime/plan/PlanFormat.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <random>

namespace moec::rt::test {

namespace {

using Indices = std::array<int64_t, kMaxLoopDepth>;

/// One of the two plans, on its device.
struct Side {
  const Plan &plan;
  std::unique_ptr<Device> device;

  uint64_t place(const Operand &operand, const Indices &indices) const {
    int64_t moved = static_cast<int64_t>(operand.offset);
    for (size_t i = 0; i < operand.strides.size(); ++i)
      moved += operand.strides[i] * indices[i];
    return static_cast<uint64_t>(moved);
  }

  std::vector<std::byte> read(uint64_t offset, uint64_t bytes) {
    std::vector<std::byte> data(bytes);
    device->read(offset, data.data(), bytes);
    return data;
  }
  void write(uint64_t offset, std::span<const std::byte> data) { device->write(offset, data.data(), data.size()); }
};

/// The launches of one dispatch follow each other and have the same operands; a fill, a copy or a repeat is alone.
using Group = std::span<const Instruction>;

bool sameOperands(const Instruction &a, const Instruction &b) {
  auto same = [](const Operand &x, const Operand &y) { return x.offset == y.offset && x.strides == y.strides; };
  return a.sizes == b.sizes &&
         std::equal(a.operands.begin(), a.operands.end(), b.operands.begin(), b.operands.end(), same);
}

std::vector<Group> groupsOf(const std::vector<Instruction> &body) {
  std::vector<Group> groups;
  for (size_t begin = 0; begin < body.size();) {
    size_t end = begin + 1;
    if (body[begin].kind == Instruction::Kind::Launch)
      while (end < body.size() && body[end].kind == Instruction::Kind::Launch && sameOperands(body[begin], body[end]))
        ++end;
    groups.push_back(std::span(body).subspan(begin, end - begin));
    begin = end;
  }
  return groups;
}

/// An operand of a dispatch, on both sides.
struct Pair {
  size_t number = 0;
  uint64_t refOffset = 0, refBytes = 0, offset = 0, bytes = 0;
  DType refType = DType::F32, type = DType::F32;
  bool isWritten = false;
  bool overlapsInput = false, refOverlapsInput = false;       // the plans need not agree on what is made in place
  std::vector<std::byte> before;                              // on the device
  std::vector<std::byte> refBefore;                           // the same values, as the reference holds them
  std::vector<double> refPlain, refPoisoned, plain, poisoned; // results
  std::vector<double> terms;                                  // see Compare.h; empty: not known
  bool keepsOld = false;                                      // adds to what is there, so it cannot be poisoned
};

class Lockstep {
public:
  Lockstep(Side reference, Side tested, const LockstepOptions &options)
      : ref(std::move(reference)), dut(std::move(tested)), options(options), random(options.seed.value_or(1)) {}

  Result<LockstepReport> run() {
    MOEC_RETURN_IF_ERROR(checkFunctions());
    MOEC_RETURN_IF_ERROR(program(dut.plan.init));
    if (options.seed)
      randomState();
    if (!options.function.empty()) {
      for (size_t i = 0; i < dut.plan.functions.size(); ++i)
        if (dut.plan.functions[i].name == options.function) {
          nextBatch();
          prompt();
          MOEC_RETURN_IF_ERROR(call(static_cast<uint32_t>(i)));
          return report();
        }
      return different("there is no function \"" + options.function + "\"");
    }
    MOEC_RETURN_IF_ERROR(program(dut.plan.train));
    if (dut.plan.evaluation) {
      nextBatch();
      MOEC_RETURN_IF_ERROR(call(dut.plan.evaluation->function));
    }
    if (dut.plan.generate) {
      prompt();
      MOEC_RETURN_IF_ERROR(call(dut.plan.generate->function));
    }
    return report();
  }

private:
  Status different(const std::string &what) {
    return Status::error("MOEC-R004", dut.plan.path, what, "; ", ref.plan.path,
                         " must be the same spec compiled with the same structure (moec compile --like)");
  }

  static Status manyRanks(const Side &side) {
    return Status::error("MOEC-R004", side.plan.path, "the plan divides its work over ", side.plan.numRanks(),
                         " ranks, but lockstep runs one rank; compile the spec with parallel null");
  }

  Status checkFunctions() {
    bool same = std::equal(ref.plan.functions.begin(), ref.plan.functions.end(), dut.plan.functions.begin(),
                           dut.plan.functions.end(), [](auto &a, auto &b) { return a.name == b.name; });
    if (!same)
      return different("the plans have other functions");
    for (const Side *side : {&ref, &dut})
      if (!side->plan.mesh.empty())
        return manyRanks(*side);
    for (const Side *side : {&ref, &dut})
      for (const PlanKernel &kernel : side->plan.kernels)
        if (kernel.types.size() != kernel.params)
          return Status::error("MOEC-R004", side->plan.path, "the plan does not say of which types the operands of \"",
                               kernel.name, "\" are; compile it again");
    return Status::ok();
  }

  /// Calls and loops; what only a host does is left out.
  Status program(const std::vector<ProgramOp> &body) {
    using Kind = ProgramOp::Kind;
    for (const ProgramOp &op : body) {
      int64_t times = op.kind == Kind::Steps    ? std::min(op.count, options.steps)
                      : op.kind == Kind::Repeat ? op.count
                                                : 0;
      for (int64_t i = 0; i < times; ++i)
        MOEC_RETURN_IF_ERROR(program(op.body));
      if (op.kind == Kind::Call)
        MOEC_RETURN_IF_ERROR(call(op.function));
      if (op.kind == Kind::NextBatch)
        nextBatch();
    }
    return Status::ok();
  }

  void randomTokens(uint64_t offset, uint64_t count, uint64_t below) {
    std::vector<int32_t> tokens(count);
    for (int32_t &token : tokens)
      token = static_cast<int32_t>(random() % below);
    dut.write(offset, std::as_bytes(std::span(tokens)));
  }

  void nextBatch() {
    const PlanData &data = dut.plan.data;
    randomTokens(dut.plan.batchOffset, data.sequences * (data.seqLen + 1), dut.plan.vocabulary());
    randomTokens(dut.plan.domainsOffset, data.sequences, std::max<uint64_t>(data.train.size(), 1));
  }

  void prompt() {
    if (!dut.plan.generate)
      return;
    const PlanGenerate &generate = *dut.plan.generate;
    randomTokens(generate.tokensOffset, generate.window, generate.vocabulary);
    auto position = static_cast<int32_t>(generate.window / 2);
    dut.write(generate.positionOffset, std::as_bytes(std::span(&position, 1)));
  }

  void randomState() {
    std::normal_distribution<double> normal(0, 0.05);
    for (const PlanState &state : dut.plan.state) {
      bool known =
          state.kind == StateKind::Parameter || state.kind == StateKind::Gradient || state.kind == StateKind::Optimizer;
      if (!known || !isFloat(state.dtype))
        continue;
      std::vector<double> values(state.copyBytes * state.count / dtypeInfo(state.dtype).bytes);
      for (double &value : values) // second moments are never negative
        value = state.kind == StateKind::Optimizer ? std::abs(normal(random)) : normal(random);
      dut.write(state.offset, encode(values, state.dtype));
    }
  }

  Status call(uint32_t function) {
    Indices indices{};
    where = dut.plan.functions[function].name;
    return body(ref.plan.functions[function].body, dut.plan.functions[function].body, indices, 0);
  }

  Status body(const std::vector<Instruction> &refBody, const std::vector<Instruction> &dutBody, Indices &indices,
              size_t depth) {
    std::vector<Group> refGroups = groupsOf(refBody), dutGroups = groupsOf(dutBody);
    if (refGroups.size() != dutGroups.size())
      return different("function \"" + where + "\" has " + std::to_string(dutGroups.size()) +
                       " dispatches, the reference has " + std::to_string(refGroups.size()));
    for (size_t i = 0; i < refGroups.size(); ++i) {
      const Instruction &a = refGroups[i].front(), &b = dutGroups[i].front();
      if (a.kind != b.kind || a.count != b.count || a.reverse != b.reverse || a.operands.size() != b.operands.size())
        return different("dispatch " + std::to_string(i) + " of \"" + where + "\" is another than the reference's");
      MOEC_RETURN_IF_ERROR(group(refGroups[i], dutGroups[i], indices, depth));
    }
    return Status::ok();
  }

  Status group(Group refGroup, Group dutGroup, Indices &indices, size_t depth) {
    const Instruction &op = dutGroup.front();
    switch (op.kind) {
    case Instruction::Kind::Launch:
      return dispatch(refGroup, dutGroup, indices);
    case Instruction::Kind::Fill:
      dut.device->fill(dut.place(op.operands[0], indices), op.sizes[0], 0);
      return Status::ok();
    case Instruction::Kind::Copy:
      dut.device->copy(dut.place(op.operands[0], indices), dut.place(op.operands[1], indices), op.sizes[0]);
      return Status::ok();
    case Instruction::Kind::Repeat:
      for (int64_t i = 0; i < op.count; ++i) {
        indices[depth] = op.reverse ? op.count - 1 - i : i;
        MOEC_RETURN_IF_ERROR(body(refGroup.front().body, op.body, indices, depth + 1));
      }
      return Status::ok();
    case Instruction::Kind::Start:
    case Instruction::Kind::Wait:
      return manyRanks(dut);
    }
    return Status::ok();
  }

  void launch(Side &side, Group launches, const Indices &indices) {
    for (const Instruction &op : launches) {
      std::vector<uint64_t> offsets;
      for (const Operand &operand : op.operands)
        offsets.push_back(side.place(operand, indices));
      side.device->launch(op.kernel, offsets, op.grid);
    }
  }

  Result<std::vector<Pair>> pairsOf(Group refGroup, Group dutGroup, const Indices &indices) {
    const Instruction &a = refGroup.front(), &b = dutGroup.front();
    const PlanKernel &refKernel = ref.plan.kernels[a.kernel], &kernel = dut.plan.kernels[b.kernel];
    std::vector<Pair> pairs;
    for (size_t i = 0; i < b.operands.size(); ++i) {
      Pair pair;
      pair.number = i;
      pair.refOffset = ref.place(a.operands[i], indices);
      pair.refBytes = a.sizes[i];
      pair.refType = refKernel.types[i];
      pair.offset = dut.place(b.operands[i], indices);
      pair.bytes = b.sizes[i];
      pair.type = kernel.types[i];
      pair.isWritten = std::find(kernel.writes.begin(), kernel.writes.end(), i) != kernel.writes.end();
      if (pair.bytes == 0 && pair.refBytes == 0)
        continue; // a place that is only measured from
      if (pair.bytes / dtypeInfo(pair.type).bytes != pair.refBytes / dtypeInfo(pair.refType).bytes)
        return different("operand " + std::to_string(i) + " of \"" + kernel.name + "\" has another number of elements");
      pairs.push_back(std::move(pair));
    }
    for (Pair &out : pairs)
      for (const Pair &in : pairs) {
        if (!out.isWritten || &in == &out)
          continue;
        out.overlapsInput |= in.offset < out.offset + out.bytes && out.offset < in.offset + in.bytes;
        out.refOverlapsInput |=
            in.refOffset < out.refOffset + out.refBytes && out.refOffset < in.refOffset + in.refBytes;
      }
    // Where a result has the place of an input, the input's values are what counts before the launch: they come last.
    std::stable_partition(pairs.begin(), pairs.end(), [](const Pair &pair) { return pair.isWritten; });
    return pairs;
  }

  static void poison(Side &side, uint64_t offset, uint64_t bytes, DType type) {
    // Zeros for integers: any other number might be taken for an index.
    side.device->fill(offset, bytes, isFloat(type) ? 0xFF : 0);
  }

  Status dispatch(Group refGroup, Group dutGroup, const Indices &indices) {
    const PlanKernel &kernel = dut.plan.kernels[dutGroup.front().kernel];
    auto isNamed = [&](const std::string &text) { return kernel.name.find(text) != std::string::npos; };
    if (!isNamed(options.only) || std::any_of(options.except.begin(), options.except.end(), isNamed)) {
      launch(dut, dutGroup, indices);
      return Status::ok();
    }
    MOEC_ASSIGN_OR_RETURN(std::vector<Pair> pairs, pairsOf(refGroup, dutGroup, indices));
    for (Pair &pair : pairs) {
      pair.before = dut.read(pair.offset, pair.bytes);
      pair.refBefore = encode(decode(pair.before, pair.type), pair.refType);
    }
    if (options.guard) {
      memoryBefore.resize(dut.plan.memory.arenaBytes);
      memoryAfter.resize(memoryBefore.size());
      dut.device->read(0, memoryBefore.data(), memoryBefore.size());
    }
    runReference(pairs, refGroup, indices);
    findTerms(pairs, refGroup, indices);
    // The poisoned run first: what is there afterwards is what the plan goes on with.
    for (Pair &pair : pairs)
      if (pair.isWritten && !pair.keepsOld)
        poison(dut, pair.offset, pair.bytes, pair.type);
    launch(dut, dutGroup, indices);
    for (Pair &pair : pairs)
      if (pair.isWritten)
        pair.poisoned = decode(dut.read(pair.offset, pair.bytes), pair.type);
    for (Pair &pair : pairs)
      if (pair.isWritten)
        dut.write(pair.offset, pair.before);
    launch(dut, dutGroup, indices);
    for (Pair &pair : pairs)
      if (pair.isWritten)
        pair.plain = decode(dut.read(pair.offset, pair.bytes), pair.type);
    if (Status status = dut.device->finish(); !status.isOk())
      return status.recoded(status.code(), "kernel \"" + kernel.name + "\" of \"" + where + "\": ");
    ++dispatches;
    if (options.guard)
      compareRest(kernel, pairs);
    for (const Pair &pair : pairs)
      if (pair.isWritten)
        compare(kernel, pair);
    return Status::ok();
  }

  /// Twice, too: what stays NaN was not written, or is made from what was there.
  void runReference(std::vector<Pair> &pairs, Group refGroup, const Indices &indices) {
    auto restore = [&] {
      for (Pair &pair : pairs)
        ref.write(pair.refOffset, pair.refBefore);
    };
    restore();
    launch(ref, refGroup, indices);
    for (Pair &pair : pairs)
      if (pair.isWritten)
        pair.refPlain = decode(ref.read(pair.refOffset, pair.refBytes), pair.refType);
    restore();
    for (Pair &pair : pairs)
      if (pair.isWritten && !pair.refOverlapsInput)
        poison(ref, pair.refOffset, pair.refBytes, pair.refType);
    launch(ref, refGroup, indices);
    for (Pair &pair : pairs) {
      if (!pair.isWritten)
        continue;
      pair.refPoisoned = decode(ref.read(pair.refOffset, pair.refBytes), pair.refType);
      pair.keepsOld = pair.overlapsInput || pair.refOverlapsInput;
      std::vector<double> old = decode(pair.refBefore, pair.refType);
      for (size_t i = 0; i < old.size() && isFloat(pair.refType); ++i)
        pair.keepsOld = pair.keepsOld || (std::isnan(pair.refPoisoned[i]) && pair.refPlain[i] != old[i] &&
                                          !std::isnan(pair.refPlain[i]));
    }
  }

  /// Once more with perturbed inputs. A choice that this changes (of experts) was a tie: then only results count.
  void findTerms(std::vector<Pair> &pairs, Group refGroup, const Indices &indices) {
    for (Pair &pair : pairs) {
      if (pair.refType != DType::F64) {
        ref.write(pair.refOffset, pair.refBefore);
        continue;
      }
      std::vector<double> values = decode(pair.refBefore, pair.refType);
      perturb(values, random);
      ref.write(pair.refOffset, encode(values, pair.refType));
    }
    launch(ref, refGroup, indices);
    bool sameChoices = true;
    for (Pair &pair : pairs) {
      if (!pair.isWritten)
        continue;
      std::vector<double> perturbed = decode(ref.read(pair.refOffset, pair.refBytes), pair.refType);
      if (!isFloat(pair.refType))
        sameChoices = sameChoices && perturbed == pair.refPlain;
      else if (pair.refType == DType::F64)
        pair.terms = termsOf(pair.refPlain, perturbed);
    }
    for (Pair &pair : pairs)
      if (!sameChoices)
        pair.terms.clear();
  }

  void compare(const PlanKernel &kernel, const Pair &pair) {
    LockstepRow &row = rows[{kernel.name, pair.number}];
    row.kernel = kernel.name;
    row.summary = kernel.summary;
    row.operand = pair.number;
    row.type = pair.type;
    ++row.launches;
    row.elements += pair.plain.size();
    // Unless it keeps the old values, the poisoned run says which elements the reference writes at all.
    const std::vector<double> &mask = pair.keepsOld || !isFloat(pair.refType) ? pair.refPlain : pair.refPoisoned;
    compareRun(row, pair, mask, pair.refPlain, pair.plain);
    if (!pair.keepsOld)
      compareRun(row, pair, mask, pair.refPoisoned, pair.poisoned);
    for (double value : mask)
      row.unwritten += std::isnan(value);
    row.good =
        row.wrongIntegers == 0 && row.notFinite == 0 && !row.oftenOneStep && row.worstRelative <= toleranceOf(kernel);
  }

  /// All memory that is no result of this dispatch must be as it was.
  void compareRest(const PlanKernel &kernel, const std::vector<Pair> &pairs) {
    dut.device->read(0, memoryAfter.data(), memoryAfter.size());
    for (const Pair &pair : pairs)
      if (pair.isWritten)
        std::memcpy(memoryBefore.data() + pair.offset, memoryAfter.data() + pair.offset, pair.bytes);
    if (std::memcmp(memoryBefore.data(), memoryAfter.data(), memoryBefore.size()) == 0)
      return;
    auto [was, is] = std::mismatch(memoryBefore.begin(), memoryBefore.end(), memoryAfter.begin());
    strays.push_back("kernel \"" + kernel.name + "\" (" + kernel.summary + ") of \"" + where + "\" wrote at " +
                     std::to_string(was - memoryBefore.begin()) + ", which is no result of it");
  }

  void compareRun(LockstepRow &row, const Pair &pair, const std::vector<double> &mask, const std::vector<double> &want,
                  const std::vector<double> &have) {
    if (!isFloat(pair.type)) {
      for (size_t i = 0; i < want.size(); ++i)
        row.wrongIntegers += want[i] != have[i];
      return;
    }
    bool isFloat8 = pair.type == DType::F8E4M3;
    Difference found = (isFloat8 ? compareFloat8 : compareFloats)(want, have, mask, pair.terms);
    row.oneStep += found.oneStep;
    row.oftenOneStep |= !fewSteps(found);
    row.worstRelative = std::max(row.worstRelative, found.relative);
    row.worstAbsolute = std::max(row.worstAbsolute, found.absolute);
    row.notFinite += found.notFinite;
  }

  double toleranceOf(const PlanKernel &kernel) const {
    bool narrow = std::any_of(kernel.types.begin(), kernel.types.end(), [](DType type) {
      return type == DType::BF16 || type == DType::F16 || type == DType::F8E4M3;
    });
    return narrow ? options.narrowTolerance : options.tolerance;
  }

  LockstepReport report() {
    LockstepReport found;
    found.dispatches = dispatches;
    found.strays = strays;
    found.good = strays.empty();
    for (auto &[key, row] : rows) {
      found.good = found.good && row.good;
      found.rows.push_back(row);
    }
    std::sort(found.rows.begin(), found.rows.end(), [](const LockstepRow &a, const LockstepRow &b) {
      if (a.good != b.good)
        return !a.good;
      if (a.worstRelative != b.worstRelative)
        return a.worstRelative > b.worstRelative;
      return std::pair(a.kernel, a.operand) < std::pair(b.kernel, b.operand);
    });
    return found;
  }

  Side ref, dut;
  const LockstepOptions &options;
  std::mt19937_64 random;
  std::string where; // the function at hand
  uint64_t dispatches = 0;
  std::map<std::pair<std::string, size_t>, LockstepRow> rows;
  std::vector<std::byte> memoryBefore, memoryAfter; // all of the device's, around a dispatch
  std::vector<std::string> strays;
};

std::string scientific(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2e", value);
  return text;
}

} // namespace

std::string LockstepReport::table() const {
  TextTable table({"", "kernel", "operand", "type", "launches", "relative", "absolute", "integers", "one step",
                   "not finite", "unwritten", "what"},
                  "001011111110");
  for (const LockstepRow &row : rows)
    table.row({row.good ? "ok" : "BAD", row.kernel, std::to_string(row.operand), std::string(dtypeInfo(row.type).name),
               std::to_string(row.launches), scientific(row.worstRelative), scientific(row.worstAbsolute),
               std::to_string(row.wrongIntegers), std::to_string(row.oneStep), std::to_string(row.notFinite),
               std::to_string(row.unwritten), row.summary});
  size_t bad = static_cast<size_t>(std::count_if(rows.begin(), rows.end(), [](auto &row) { return !row.good; }));
  std::string lines;
  for (const std::string &stray : strays)
    lines += "BAD " + stray + "\n";
  return lines + table.text() + std::to_string(dispatches) + " dispatches, " + std::to_string(rows.size()) +
         " operands, " + std::to_string(bad) + " bad" +
         (strays.empty() ? "" : ", " + std::to_string(strays.size()) + " wrote elsewhere") + "\n";
}

Result<LockstepReport> runLockstep(const Plan &reference, const Plan &plan, const LockstepOptions &options) {
  MOEC_ASSIGN_OR_RETURN(std::unique_ptr<Device> refDevice, createDevice(reference, 0));
  MOEC_ASSIGN_OR_RETURN(std::unique_ptr<Device> device, createDevice(plan, 0));
  return Lockstep({reference, std::move(refDevice)}, {plan, std::move(device)}, options).run();
}

} // namespace moec::rt::test
