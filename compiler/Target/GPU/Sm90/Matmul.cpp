// Writes the tile.kernel of a "matmul" dispatch.
#include "compiler/Target/GPU/Sm90/Matmul.h"

#include "compiler/Target/GPU/Sm90/Family.h"
#include "compiler/Target/GPU/Sm90/LaunchRecord.h"
#include "compiler/Target/Kernel/RowSchedule.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;

namespace moec::sm90 {

namespace {

class KernelWriter {
public:
  KernelWriter(const MatmulProblem &problem, const gpu::GpuTarget &target, ModuleOp kernels, StringRef symbol)
      : problem(problem), b(moe::DispatchOp(problem.body.dispatch).getLoc(), kernels.getContext()) {
    schedule = chooseSchedule(problem, target, b.getContext());
    b.setInsertionPointToEnd(kernels.getBody());
    kernel = tile::KernelOp::create(b, symbol, static_cast<int64_t>(problem.body.numParams()), schedule);
    b.createBlock(&kernel.getBody());
  }

  tile::KernelOp write();

private:
  Value operand(unsigned param, ArrayRef<int64_t> shape);
  Value map(unsigned param, ArrayRef<int64_t> shape, ArrayRef<int64_t> box);
  Value slices(const MatmulFactor &factor, int64_t rows, tile::Major major);
  llvm::SmallSetVector<unsigned, 4> fetched() const;
  void writeEpilogue(llvm::DenseMap<Value, Value> &fragments);

  const MatmulProblem &problem;
  ImplicitLocOpBuilder b;
  tile::ScheduleAttr schedule;
  tile::KernelOp kernel;
};

Value KernelWriter::operand(unsigned param, ArrayRef<int64_t> shape) {
  return tile::OperandOp::create(b, RankedTensorType::get(shape, problem.body.storageOf(param)),
                                 static_cast<int64_t>(param));
}

/// `shape` outermost dimension first, without gaps in memory.
Value KernelWriter::map(unsigned param, ArrayRef<int64_t> shape, ArrayRef<int64_t> box) {
  Type element = problem.body.storageOf(param);
  SmallVector<int64_t> dims(llvm::reverse(shape)), strides, sides(box);
  int64_t bytes = element.getIntOrFloatBitWidth() / 8;
  for (int64_t dim : ArrayRef(dims).drop_back())
    strides.push_back(bytes *= dim);
  sides.resize(dims.size(), 1);
  return tile::MapOp::create(b, tile::MapType::get(b.getContext()), b.getI64IntegerAttr(param), TypeAttr::get(element),
                             b.getDenseI64ArrayAttr(dims), b.getDenseI64ArrayAttr(strides),
                             b.getDenseI64ArrayAttr(sides), b.getI64IntegerAttr(tile::kSwizzleBytes));
}

Value KernelWriter::slices(const MatmulFactor &factor, int64_t rows, tile::Major major) {
  Type element = problem.body.storageOf(factor.param);
  auto type = tile::SlicesType::get(b.getContext(), rows, schedule.getK(), element, major);
  if (factor.rowMap) {
    Value source = operand(factor.param, {factor.rows, factor.columns});
    Value numbers = operand(*factor.rowMap, {factor.rowMapCount, 1});
    return tile::GatherOp::create(b, type, source, numbers, factor.slots);
  }
  SmallVector<int64_t> shape{factor.rows, factor.columns};
  if (factor.experts != 1)
    shape.insert(shape.begin(), factor.experts);
  bool alongDepth = major == tile::Major::k;
  return tile::LoadOp::create(b, type,
                              alongDepth ? map(factor.param, shape, {schedule.getK(), rows})
                                         : map(factor.param, shape, {64, schedule.getK()}));
}

/// A copy of an op of a map. The region knows arith and math alone; its exponentials and divisions are single
/// instructions, and exp(-x) is infinite where the sigmoid is 0.
void cloneScalar(ImplicitLocOpBuilder &b, Operation &op, IRMapping &values) {
  auto sigmoid = dyn_cast<moe::SigmoidOp>(op);
  if (!sigmoid) {
    b.clone(op, values);
    return;
  }
  Value one = arith::ConstantOp::create(b, b.getF32FloatAttr(1));
  Value e = math::ExpOp::create(b, arith::NegFOp::create(b, values.lookup(sigmoid.getX())));
  values.map(sigmoid.getResult(), arith::DivFOp::create(b, one, arith::AddFOp::create(b, e, one)).getResult());
}

/// Of the epilogue's operands those that come through the stages: whole matrices in bf16, if there is room for all of
/// them, and buffers for the results that do not take their places.
llvm::SmallSetVector<unsigned, 4> KernelWriter::fetched() const {
  llvm::SmallSetVector<unsigned, 4> params;
  for (moe::MapOp map : problem.maps)
    for (Value input : map.getInputs()) {
      auto param = problem.body.paramOf(input);
      if (param && problem.body.storageOf(*param).isBF16() &&
          cast<RankedTensorType>(input.getType()).getShape() == ArrayRef{problem.rows, problem.columns})
        params.insert(*param);
    }
  auto places = static_cast<int64_t>(params.size()), boxes = int64_t(0);
  bool fits = problem.grouping != Grouping::Depth && schedule.getSplit() == 1 &&
              places * schedule.getM() <= schedule.getM() + schedule.getN();
  for (const kernel::DispatchBody::Sink &sink : problem.sinks) {
    bool isWide = problem.body.storageOf(sink.param).isF32();
    if (!isWide && places > 0)
      --places;
    else
      boxes += isWide ? 2 : 1;
  }
  return fits && 2 * boxes <= schedule.getBuffers() ? params : llvm::SmallSetVector<unsigned, 4>();
}

/// Scales and all maps as one region.
void KernelWriter::writeEpilogue(llvm::DenseMap<Value, Value> &fragments) {
  SmallVector<Value> leaving; // what has a sink and is not just sums
  llvm::DenseSet<Value> scaled;
  for (const MatmulSum &sum : problem.sums)
    if (sum.rowScale)
      scaled.insert(sum.value);
  for (const auto &sink : llvm::concat<const kernel::DispatchBody::Sink>(problem.sinks, problem.rowSums))
    if ((scaled.contains(sink.value) || !fragments.contains(sink.value)) && !llvm::is_contained(leaving, sink.value))
      leaving.push_back(sink.value);
  if (leaving.empty())
    return;
  auto fragment = tile::FragmentType::get(b.getContext(), schedule.getM(), schedule.getN() / problem.sums.size());
  SmallVector<Value> taken, operands;      // fragments: products, then fetched matrices
  SmallVector<Value> inputs, later;        // what the region's arguments are in the dispatch: fragments, then operands
  llvm::MapVector<unsigned, Value> memory; // parameter -> the value that stands for it
  for (const MatmulSum &sum : problem.sums) {
    taken.push_back(fragments.lookup(sum.value));
    inputs.push_back(sum.value);
  }
  llvm::MapVector<unsigned, unsigned> scales; // parameter -> number among the operands
  auto addScale = [&](unsigned param, ArrayRef<int64_t> shape) {
    if (!scales.try_emplace(param, operands.size()).second)
      return;
    operands.push_back(operand(param, shape));
    later.push_back(Value());
  };
  for (const MatmulSum &sum : problem.sums)
    if (sum.rowScale) {
      addScale(*sum.rowScale, {problem.rows, 1});
      addScale(*sum.columnScale, {problem.experts, 1, problem.columns});
    }
  llvm::SmallSetVector<unsigned, 4> throughStages = fetched();
  for (moe::MapOp map : problem.maps)
    for (Value input : map.getInputs()) {
      auto param = problem.body.paramOf(input);
      if (!param || memory.contains(*param))
        continue;
      memory[*param] = kernel::DispatchBody::stripViews(input);
      auto type = cast<RankedTensorType>(input.getType());
      if (throughStages.contains(*param)) {
        taken.push_back(tile::FetchOp::create(
            b, fragment, this->map(*param, type.getShape(), {tile::kChunkColumns, schedule.getM()})));
        inputs.push_back(memory[*param]);
        continue;
      }
      operands.push_back(operand(*param, type.getShape()));
      later.push_back(memory[*param]);
    }
  size_t firstOperand = inputs.size();
  inputs.append(later);
  auto epilogue = tile::EpilogueOp::create(b, SmallVector<Type>(leaving.size(), fragment), taken, operands);
  Block *block = &epilogue.getBody().emplaceBlock();
  llvm::DenseMap<Value, Value> scalars;
  for (Value input : inputs) {
    Value argument = block->addArgument(b.getF32Type(), b.getLoc());
    if (input)
      scalars[input] = argument;
  }

  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(block);
  for (const MatmulSum &sum : problem.sums)
    if (sum.rowScale)
      for (unsigned scale : {*sum.rowScale, *sum.columnScale})
        scalars[sum.value] =
            arith::MulFOp::create(b, scalars[sum.value], block->getArgument(firstOperand + scales.lookup(scale)));
  for (moe::MapOp map : problem.maps) {
    IRMapping values;
    for (auto [argument, input] : llvm::zip(map.getBlock()->getArguments(), map.getInputs())) {
      Value scalar = scalars.lookup(kernel::DispatchBody::stripViews(input));
      // States read twice are one parameter under two names.
      if (auto param = problem.body.paramOf(input); !scalar && param)
        scalar = scalars.lookup(memory.lookup(*param));
      if (!scalar)
        scalar = arith::ConstantOp::create(b, kernel::splatOf(input));
      values.map(argument, scalar);
    }
    for (Operation &op : map.getBlock()->without_terminator())
      cloneScalar(b, op, values);
    for (auto [result, value] : llvm::zip(map.getResults(), map.getBlock()->getTerminator()->getOperands()))
      scalars[result] = values.lookup(value);
  }
  SmallVector<Value> yielded;
  for (auto [value, result] : llvm::zip(leaving, epilogue.getResults())) {
    yielded.push_back(scalars.lookup(value));
    fragments[value] = result;
  }
  tile::YieldOp::create(b, yielded);
}

tile::KernelOp KernelWriter::write() {
  int64_t rows = problem.rows, columns = problem.columns, each = schedule.getN() / problem.sums.size();
  if (problem.grouping == Grouping::None) {
    tile::DenseOp::create(b, rows, columns);
  } else {
    Value offsets = operand(problem.offsets, {1, problem.experts + 1});
    if (problem.grouping == Grouping::Rows)
      tile::GroupedOp::create(b, offsets, rows, columns);
    else
      tile::RaggedOp::create(b, offsets, rows, columns);
  }

  const SmallVector<MatmulTerm> &terms = problem.sums.front().terms;
  tile::Major left = terms.front().ta ? tile::Major::mn : tile::Major::k;
  tile::Major right = terms.front().tb ? tile::Major::k : tile::Major::mn;
  SmallVector<Value> lhs;
  SmallVector<int64_t> depths;
  for (const MatmulTerm &term : terms) {
    lhs.push_back(slices(term.lhs, schedule.getM(), left));
    depths.push_back(term.depth);
  }
  llvm::DenseMap<Value, Value> fragments;
  auto fragment = tile::FragmentType::get(b.getContext(), schedule.getM(), each);
  for (const MatmulSum &sum : problem.sums) {
    SmallVector<Value> rhs;
    for (const MatmulTerm &term : sum.terms)
      rhs.push_back(slices(term.rhs, each, right));
    fragments[sum.value] = tile::MmaOp::create(b, fragment, lhs, rhs, depths);
  }
  writeEpilogue(fragments);

  SmallVector<int64_t> shape{rows, columns};
  if (problem.transposed)
    std::swap(shape[0], shape[1]);
  if (problem.grouping == Grouping::Depth)
    shape.insert(shape.begin(), problem.experts);
  for (const kernel::DispatchBody::Sink &sink : problem.sinks) {
    int64_t columnsOfBox = tile::boxColumns(problem.body.storageOf(sink.param));
    int64_t rowsOfBox = problem.transposed ? columnsOfBox : tile::kBoxRows;
    tile::StoreOp::create(b, fragments.lookup(sink.value), map(sink.param, shape, {columnsOfBox, rowsOfBox}),
                          sink.accumulates, problem.transposed);
  }
  for (const kernel::DispatchBody::Sink &sums : problem.rowSums)
    tile::RowSumsOp::create(b, fragments.lookup(sums.value),
                            operand(sums.param, {rows, columns / tile::kChunkColumns}));
  return kernel;
}

} // namespace

Emitted emitMatmul(moe::DispatchOp dispatch, ModuleOp kernels, StringRef symbol, const gpu::GpuTarget &target) {
  std::optional<MatmulProblem> problem = MatmulProblem::create(dispatch);
  if (!problem)
    return std::nullopt;
  tile::KernelOp kernel = KernelWriter(*problem, target, kernels, symbol).write();
  tile::ScheduleAttr schedule = kernel.getSchedule();
  int64_t tiles = kernel.getWork().getTileCount(schedule);
  KernelInfo info;
  info.symbol = symbol.str();
  info.grid = std::min(target.numSms, tiles);
  if (schedule.getSplit() > 1) { // counters, then the sums of each part
    int64_t parts = tiles;
    if (problem->grouping == Grouping::Depth) // two for each piece: of the first group and of the last
      parts = 2 * schedule.getSplit() * tiles / std::max(schedule.getSplit(), problem->experts);
    info.scratchBytes = 4096 + parts * schedule.getM() * schedule.getN() * 4;
  }
  info.launch = launchRecord(kernel);
  info.flops = problem->flops();
  for (const moe::DispatchParam &param : problem->body.params)
    info.bytes += static_cast<double>(param.type.getNumElements()) * param.type.getElementTypeBitWidth() / 8 *
                  (param.isRead + param.isWritten);
  return std::vector<KernelInfo>{std::move(info)};
}

} // namespace moec::sm90
