// Functions and programs of the manifest.
#include "runtime/base/CheckedMath.h"
#include "runtime/plan/PlanFormat.h"
#include "runtime/plan/PlanManifest.h"

#include <algorithm>

namespace moec::rt {

uint32_t findFunction(const Plan &plan, const std::string &name, const std::string &pointer, FieldErrors &errors) {
  for (size_t i = 0; i < plan.functions.size(); ++i)
    if (plan.functions[i].name == name)
      return static_cast<uint32_t>(i);
  errors.fail(pointer, "there is no function \"", name, "\"");
  return 0;
}

static Operand readOperand(const Json &json, const std::string &pointer, size_t depth, FieldErrors &errors) {
  Operand operand;
  const auto &items = json.items();
  int64_t offset = -1;
  if (!json.isArray() || items.empty() || !items[0].asInteger(offset) || offset < 0) {
    errors.fail(pointer, "an operand is [offset, stride, ...] with an offset >= 0");
    return operand;
  }
  operand.offset = static_cast<uint64_t>(offset);
  if (items.size() - 1 > depth) {
    errors.fail(pointer, "has ", items.size() - 1, " strides for ", depth, " axes of the mesh and repeats");
    return operand;
  }
  for (size_t i = 1; i < items.size(); ++i) {
    int64_t stride = 0;
    if (!items[i].asInteger(stride))
      errors.fail(pointer + "/" + std::to_string(i), "a stride must be a whole number");
    operand.strides.push_back(stride);
  }
  return operand;
}

namespace {

/// One function or program being read.
struct BodyReader {
  Plan &plan;
  FieldErrors &errors;
  std::vector<bool> waited = {}; // requests of the function at hand, by number; false: under way

  /// Strides that an operand may have inside `depth` repeats.
  size_t numIndices(size_t depth) const { return plan.mesh.size() + depth; }

  template <typename Op, typename Read>
  std::vector<Op> readBody(const Json &array, const std::string &pointer, Read read) {
    std::vector<Op> body;
    if (!array.isArray())
      errors.fail(pointer, "must be an array");
    for (size_t i = 0; i < array.items().size() && errors.first.isOk(); ++i) {
      Fields fields(array.items()[i], pointer + "/" + std::to_string(i), errors);
      Op op;
      read(fields, op);
      fields.finish();
      body.push_back(std::move(op));
    }
    return body;
  }

  std::vector<Instruction> instructions(const Json &array, const std::string &pointer, size_t depth) {
    size_t before = waited.size();
    auto body =
        readBody<Instruction>(array, pointer, [&](Fields &fields, Instruction &op) { instruction(fields, op, depth); });
    for (size_t i = before; i < waited.size(); ++i)
      if (!waited[i])
        errors.fail(pointer, "starts exchange ", i, " and does not wait for it");
    return body;
  }

  void instruction(Fields &fields, Instruction &op, size_t depth) {
    std::string name = fields.string("op");
    if (name == "launch")
      launch(fields, op, depth);
    else if (name == "fill" || name == "copy")
      move(fields, op, depth, name == "copy");
    else if (name == "repeat")
      repeat(fields, op, depth);
    else if (name == "start")
      start(fields, op, depth);
    else if (name == "wait")
      wait(fields, op);
    else
      errors.fail(fields.pointerTo("op"), "unknown instruction \"", name, "\"");
    if (op.kind != Instruction::Kind::Repeat && plan.locations.size() > 0)
      op.location = static_cast<uint32_t>(fields.integer("at", 0, static_cast<int64_t>(plan.locations.size()) - 1));
  }

  void launch(Fields &fields, Instruction &op, size_t depth) {
    op.kind = Instruction::Kind::Launch;
    auto kernel = static_cast<size_t>(fields.integer("kernel", 0, int64_t{1} << 31));
    if (kernel >= plan.kernels.size()) {
      errors.fail(fields.pointerTo("kernel"), "is ", kernel, ", the plan has ", plan.kernels.size(), " kernels");
      return;
    }
    op.kernel = static_cast<uint32_t>(kernel);
    // A GPU's grids have one dimension of at most 2^31 - 1 blocks.
    op.grid = fields.integer("grid", 1, plan.target.kind == TargetKind::Cuda ? INT32_MAX : int64_t{1} << 40);
    const auto &args = fields.array("args").items();
    for (size_t i = 0; i < args.size(); ++i)
      op.operands.push_back(
          readOperand(args[i], fields.pointerTo("args") + "/" + std::to_string(i), numIndices(depth), errors));
    op.sizes = fields.sizes("sizes");
    if (args.size() != plan.kernels[kernel].params || op.sizes.size() != args.size())
      errors.fail(fields.pointer(), "kernel \"", plan.kernels[kernel].name, "\" takes ", plan.kernels[kernel].params,
                  " operands, here are ", args.size(), " and ", op.sizes.size(), " sizes");
  }

  void move(Fields &fields, Instruction &op, size_t depth, bool isCopy) {
    op.kind = isCopy ? Instruction::Kind::Copy : Instruction::Kind::Fill;
    op.operands.push_back(readOperand(fields.array("dst"), fields.pointerTo("dst"), numIndices(depth), errors));
    if (isCopy)
      op.operands.push_back(readOperand(fields.array("src"), fields.pointerTo("src"), numIndices(depth), errors));
    op.sizes = {fields.size("bytes")};
  }

  void start(Fields &fields, Instruction &op, size_t depth) {
    op.kind = Instruction::Kind::Start;
    std::string what = fields.string("exchange");
    std::optional<ExchangeOp> exchange = exchangeFromName(what);
    if (!exchange)
      errors.fail(fields.pointerTo("exchange"), "unknown exchange \"", what, "\"");
    op.exchange = exchange.value_or(ExchangeOp::AllGather);
    uint64_t ranks = 1;
    for (uint64_t axis : fields.sizes("axes")) {
      bool isNew = std::find(op.axes.begin(), op.axes.end(), axis) == op.axes.end();
      if (axis >= plan.mesh.size() || !isNew) {
        errors.fail(fields.pointerTo("axes"), "has ", axis, ", expected numbers of axes of the mesh, each once");
        return;
      }
      op.axes.push_back(static_cast<uint32_t>(axis));
      ranks *= plan.mesh[axis].size;
    }
    if (op.axes.empty())
      errors.fail(fields.pointerTo("axes"), "names no axis");
    op.operands.push_back(readOperand(fields.array("dst"), fields.pointerTo("dst"), numIndices(depth), errors));
    op.operands.push_back(readOperand(fields.array("src"), fields.pointerTo("src"), numIndices(depth), errors));
    op.pieceBytes = fields.size("bytes", (int64_t{1} << 60) / kMaxRanks);
    if (op.exchange == ExchangeOp::Rows) {
      std::vector<uint64_t> rows = fields.sizes("rows");
      rows.resize(2);
      for (uint64_t count : rows)
        op.sizes.push_back(checkedMul(op.pieceBytes, count).value_or(uint64_t{1} << 61));
      for (const char *key : {"sends", "receives"}) {
        Fields counts(fields.object(key), fields.pointerTo(key), errors);
        op.operands.push_back(readOperand(counts.array("at"), counts.pointerTo("at"), numIndices(depth), errors));
        uint64_t numbers = counts.size("numbers", 1 << 24);
        if (numbers == 0 || numbers % ranks != 0)
          errors.fail(counts.pointerTo("numbers"), "is ", numbers, ", expected as many for each of ", ranks, " ranks");
        op.sizes.push_back(numbers * sizeof(int32_t));
        counts.finish();
      }
    } else
      op.sizes = {op.pieceBytes * ranks, op.exchange == ExchangeOp::AllToAll ? op.pieceBytes * ranks : op.pieceBytes};
    op.request = static_cast<uint32_t>(fields.integer("request", 0, int64_t{1} << 31));
    if (op.request != waited.size())
      errors.fail(fields.pointerTo("request"), "is ", op.request, ", expected ", waited.size(),
                  ": requests count from 0 in the order of their starts");
    waited.push_back(false);
  }

  void wait(Fields &fields, Instruction &op) {
    op.kind = Instruction::Kind::Wait;
    op.request = static_cast<uint32_t>(fields.integer("request", 0, int64_t{1} << 31));
    if (op.request >= waited.size() || waited[op.request])
      errors.fail(fields.pointerTo("request"), "is ", op.request, ", which is not under way");
    else
      waited[op.request] = true;
  }

  void repeat(Fields &fields, Instruction &op, size_t depth) {
    op.kind = Instruction::Kind::Repeat;
    op.count = fields.integer("count", 1, int64_t{1} << 31);
    op.reverse = fields.boolean("reverse");
    if (depth == kMaxLoopDepth) {
      errors.fail(fields.pointer(), "repeats are nested deeper than ", kMaxLoopDepth);
      return;
    }
    op.body = instructions(fields.array("body"), fields.pointerTo("body"), depth + 1);
  }

  /// Where a program instruction stands: some are only meant inside the training loop.
  struct Place {
    bool inSteps = false, inEvery = false, isTrain = false;
    size_t depth = 0;
  };

  std::vector<ProgramOp> program(const Json &array, const std::string &pointer, Place place) {
    return readBody<ProgramOp>(array, pointer, [&](Fields &fields, ProgramOp &op) { programOp(fields, op, place); });
  }

  void require(bool condition, Fields &fields, std::string_view op, std::string_view where) {
    if (!condition)
      errors.fail(fields.pointer(), "\"", op, "\" is only meant ", where);
  }

  void programOp(Fields &fields, ProgramOp &op, Place place) {
    using Kind = ProgramOp::Kind;
    std::string name = fields.string("op");
    if (name == "call") {
      op.kind = Kind::Call;
      op.function = findFunction(plan, fields.string("function"), fields.pointerTo("function"), errors);
    } else if (name == "repeat") {
      op.kind = Kind::Repeat;
      op.count = fields.integer("count", 1, int64_t{1} << 31);
      op.body = nested(fields, place);
    } else if (name == "steps") {
      op.kind = Kind::Steps;
      require(place.isTrain && !place.inSteps, fields, name, "in the train program, outside other steps");
      op.count = fields.integer("count", 0);
      place.inSteps = true;
      op.body = nested(fields, place);
      checkOrder(fields, op.body);
    } else if (name == "next_batch") {
      op.kind = Kind::NextBatch;
      require(place.inSteps && !place.inEvery, fields, name, "inside steps, but not inside every");
    } else if (name == "log" || name == "every") {
      op.kind = name == "log" ? Kind::Log : Kind::Every;
      require(place.inSteps, fields, name, "inside steps");
      op.count = fields.integer(name == "log" ? "every" : "steps", 1);
      place.inEvery = true;
      if (name == "every")
        op.body = nested(fields, place);
    } else if (name == "evaluate" || name == "save") {
      op.kind = name == "save" ? Kind::Save : Kind::Evaluate;
      require(place.isTrain, fields, name, "in the train program");
    } else {
      errors.fail(fields.pointerTo("op"), "unknown instruction \"", name, "\"");
    }
  }

  static bool isWork(const ProgramOp &op) {
    using Kind = ProgramOp::Kind;
    if (op.kind == Kind::Repeat)
      return std::all_of(op.body.begin(), op.body.end(), isWork);
    return op.kind == Kind::Call || op.kind == Kind::NextBatch;
  }

  /// The work of a step is one piece, so that a device can be given all of it at once.
  void checkOrder(Fields &fields, const std::vector<ProgramOp> &body) {
    auto rest = std::find_if_not(body.begin(), body.end(), isWork);
    for (auto op = rest; op != body.end(); ++op)
      if (isWork(*op) || op->kind == ProgramOp::Kind::Repeat)
        errors.fail(fields.pointerTo("body") + "/" + std::to_string(op - body.begin()),
                    "calls, batches and loops of these come before what logs, evaluates and saves");
  }

  std::vector<ProgramOp> nested(Fields &fields, Place place) {
    if (++place.depth > kMaxLoopDepth) {
      errors.fail(fields.pointer(), "nested deeper than ", kMaxLoopDepth);
      return {};
    }
    return program(fields.array("body"), fields.pointerTo("body"), place);
  }
};

} // namespace

void parseFunctions(Fields &root, Plan &plan) {
  BodyReader reader{plan, root.errors()};
  const auto &functions = root.array("functions").items();
  for (size_t i = 0; i < functions.size() && !root.failed(); ++i) {
    Fields fields(functions[i], "/functions/" + std::to_string(i), root.errors());
    PlanFunction function;
    function.name = fields.string("name");
    for (const PlanFunction &other : plan.functions)
      if (other.name == function.name)
        root.errors().fail(fields.pointerTo("name"), "there are two functions \"", function.name, "\"");
    reader.waited.clear();
    function.body = reader.instructions(fields.array("body"), fields.pointerTo("body"), 0);
    function.requests = static_cast<uint32_t>(reader.waited.size());
    fields.finish();
    plan.functions.push_back(std::move(function));
  }
}

void parsePrograms(Fields &root, Plan &plan) {
  BodyReader reader{plan, root.errors()};
  Fields fields(root.object("programs"), "/programs", root.errors());
  plan.init = reader.program(fields.array("init"), "/programs/init", {});
  plan.train = reader.program(fields.array("train"), "/programs/train", {.isTrain = true});
  if (const Json *restore = fields.optional("restore"))
    plan.restore = reader.program(*restore, "/programs/restore", {});
  fields.finish();
}

} // namespace moec::rt
