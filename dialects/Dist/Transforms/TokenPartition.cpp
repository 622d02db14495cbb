// Tokens stay with the rank that has their sequence; rows travel to the owners of their experts and back.
//
// The walk is over forward functions only: every op that is put in knows its own backward. First an analysis finds the
// values that differ from rank to rank; then one walk gives them their types.
#include "dialects/Dist/Transforms/TokenPartition.h"

#include "dialects/Dist/Transforms/RowUpdate.h"
#include "dialects/Moe/IR/FunctionNames.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace moec::dist {

namespace {

RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }
int64_t rowsOfValue(Value value) { return typeOf(value).getDimSize(0); }

RankedTensorType withRows(RankedTensorType type, int64_t rows) {
  SmallVector<int64_t> shape(type.getShape());
  shape.front() = rows;
  return RankedTensorType::get(shape, type.getElementType());
}

/// Sums and counts over all tokens: of these a rank has a part, and the whole is made at once.
bool isSumOverTokens(Operation *op) {
  return isa<moe::ColReduceOp, moe::CountIdsOp>(op) && rowsOfValue(op->getResult(0)) == 1;
}

/// One mixture: where its rows go.
struct Route {
  moe::PermuteOp sends;    // this rank's slots, sorted by expert
  Value received;          // i32 [ranks, experts of a rank]: rows that come from each rank
  moe::PermuteOp receives; // the received rows, sorted by expert
};

class TokenPartition {
public:
  TokenPartition(ModuleOp module, StringRef axis)
      : module(module), b(module.getContext()), axis(axis), axes(b.getStrArrayAttr({axis})),
        ranks(findMesh(module).sizeAlong(axes)) {}

  LogicalResult run() {
    forward = module.lookupSymbol<func::FuncOp>(moe::kForwardBackwardFunction);
    if (failed(divideExperts()))
      return failure();
    analyse(forward.getBody().front());
    return divide(forward.getBody().front());
  }

private:
  //===--- Experts ------------------------------------------------------------------------------------------------===//
  LogicalResult divideExperts();
  LogicalResult divideUpdate(moe::StateOp parameter);
  LogicalResult divideInitial(moe::WriteOp write);
  void divideState(moe::StateOp state);

  //===--- Tokens -------------------------------------------------------------------------------------------------===//
  bool analyse(Block &block);
  LogicalResult divide(Block &block);
  LogicalResult divideOp(Operation *op);
  LogicalResult divideRows(Operation *op);
  LogicalResult divideRepeat(moe::RepeatOp repeat);
  void shareOperands(Operation *op);
  void readOwnRows(moe::ReadOp read);
  LogicalResult divideWeight(moe::ReadOp read);
  LogicalResult route(moe::PermuteOp permute);
  LogicalResult sendRows(moe::GatherRowsOp gather, Route &route);
  void returnRows(moe::CombineRowsOp combine, Route &route);
  LogicalResult computeSorted(Operation *op, Route &route);

  InFlightDiagnostic refuse(Operation *op) { return mlir::emitError(op->getLoc()) << "MOEC-S084: "; }
  bool isDivided(Value value) const { return dividedValues.contains(value); }
  bool hasDivided(ValueRange values) const {
    return llvm::any_of(values, [&](Value v) { return isDivided(v); });
  }
  Value constantRows(Value value, int64_t rows);
  Value ownRows(Value value, int64_t rows);
  Value rankIndex(Operation *inside);
  Value rankNumber(Operation *before);

  ModuleOp module;
  OpBuilder b;
  StringRef axis;
  ArrayAttr axes;
  int64_t ranks;
  func::FuncOp forward;
  llvm::DenseSet<Value> dividedValues;         // that differ from rank to rank
  llvm::DenseMap<Value, Route *> sorted;       // rows by expert, at their owners
  llvm::DenseMap<Operation *, Route *> routes; // of permutes
  SmallVector<std::unique_ptr<Route>> allRoutes;
  llvm::DenseMap<Operation *, Value> rankIndices; // of functions
};

Value TokenPartition::rankIndex(Operation *inside) {
  auto function = inside->getParentOfType<func::FuncOp>();
  Value &index = rankIndices[function];
  if (!index) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&function.getBody().front());
    index = CoordinateOp::create(b, function.getLoc(), b.getIndexType(), axes);
  }
  return index;
}

/// The same as a number, i64 [1, 1], made before `before`. init fills a table with the numbers of all ranks.
Value TokenPartition::rankNumber(Operation *before) {
  Location loc = before->getLoc();
  auto i64 = b.getI64Type();
  Value index = rankIndex(before);
  auto table = module.lookupSymbol<moe::StateOp>("constant.rank");
  if (!table) {
    b.setInsertionPointAfter(findMesh(module));
    table = moe::StateOp::create(b, loc, b.getStringAttr("constant.rank"),
                                 moe::StateKindAttr::get(b.getContext(), moe::StateKind::constant),
                                 TypeAttr::get(RankedTensorType::get({1, 1}, i64)), b.getI64IntegerAttr(ranks),
                                 DenseI64ArrayAttr(), FlatSymbolRefAttr());
    b.setInsertionPointToStart(&module.lookupSymbol<func::FuncOp>(moe::kInitFunction).getBody().front());
    auto numbers = moe::MapOp::create(
        b, loc, TypeRange{RankedTensorType::get({ranks, 1}, i64)}, ValueRange(),
        [](OpBuilder &, Location, ValueRange place) { return SmallVector<Value>{place[0]}; }, /*position=*/true);
    Value copies = moe::ReshapeOp::create(b, loc, RankedTensorType::get({ranks, 1, 1}, i64), numbers.getResult(0));
    moe::WriteOp::create(b, loc, FlatSymbolRefAttr::get(table), Value(), copies);
  }
  b.setInsertionPoint(before);
  return moe::ReadOp::create(b, loc, RankedTensorType::get({1, 1}, i64), FlatSymbolRefAttr::get(table), index);
}

/// A value that all ranks have, as the `rows` rows of this one: of a constant, or of a map of the position that reads
/// nothing of tokens (random numbers). Null for others, and for one that does not have a row per token.
Value TokenPartition::ownRows(Value value, int64_t rows) {
  if (rowsOfValue(value) != rows * ranks)
    return {};
  if (Value constant = constantRows(value, rows))
    return constant;
  auto map = value.getDefiningOp<moe::MapOp>();
  if (!map || !map.getPosition() || map.getNumResults() != 1 ||
      llvm::any_of(map.getInputs(), [](Value input) { return rowsOfValue(input) != 1; }))
    return {};
  SmallVector<Value> inputs(map.getInputs());
  inputs.push_back(rankNumber(map));
  Block &body = *map.getBlock();
  auto own = moe::MapOp::create(
      b, map.getLoc(), TypeRange{withRows(typeOf(value), rows)}, inputs,
      [&](OpBuilder &in, Location at, ValueRange args) { // scalars, rank, row, column
        size_t scalars = map.getInputs().size();
        IRMapping mapping;
        mapping.map(body.getArguments().take_front(scalars), args.take_front(scalars));
        Value count = arith::ConstantOp::create(in, at, in.getI64IntegerAttr(rows));
        Value first = arith::MulIOp::create(in, at, args[scalars], count);
        mapping.map(body.getArgument(scalars), arith::AddIOp::create(in, at, first, args[scalars + 1]).getResult());
        mapping.map(body.getArgument(scalars + 1), args[scalars + 2]);
        for (Operation &op : body.without_terminator())
          in.clone(op, mapping);
        return SmallVector<Value>{mapping.lookup(map.getYield().getValues().front())};
      },
      /*position=*/true);
  shareOperands(own); // each rank has the gradient of its rows alone
  return own.getResult(0);
}

//===--- Experts --------------------------------------------------------------------------------------------------===//

/// The state of a rank holds its experts alone: the outermost dimension of every copy.
void TokenPartition::divideState(moe::StateOp state) {
  RankedTensorType type = state.getTensorType();
  state.setType(withRows(type, type.getDimSize(0) / ranks));
  state.setDividedAttr(b.getI64IntegerAttr(ranks));
  state.setAxesAttr(axes);
  state.setEach(true);
}

LogicalResult TokenPartition::divideExperts() {
  SmallVector<moe::StateOp> parameters;
  module.walk([&](moe::GroupedMatmulOp product) {
    auto read = product.getW().getDefiningOp<moe::ReadOp>();
    auto state = read ? module.lookupSymbol<moe::StateOp>(read.getState()) : moe::StateOp();
    if (state && !llvm::is_contained(parameters, state))
      parameters.push_back(state);
  });
  for (moe::StateOp parameter : parameters) {
    if (parameter.getTensorType().getDimSize(0) % ranks != 0)
      return refuse(parameter) << ranks << " ranks do not divide the " << parameter.getTensorType().getDimSize(0)
                               << " experts of \"" << parameter.getName() << "\"";
    if (failed(divideUpdate(parameter)))
      return failure();
  }
  // Where nothing is trained, every rank computes everything, with the experts of all.
  for (moe::StateOp parameter : parameters)
    module.walk([&](moe::ReadOp read) {
      auto function = read->getParentOfType<func::FuncOp>();
      if (read.getState() != parameter.getSymName() || function.getName() == moe::kUpdateFunction)
        return;
      auto whole = typeOf(read);
      read.getResult().setType(withRows(whole, whole.getDimSize(0) / ranks));
      if (function == forward)
        return;
      b.setInsertionPointAfter(read);
      auto gathered = AllGatherOp::create(b, read.getLoc(), TypeRange{whole}, read.getResult(), axes);
      read.getResult().replaceAllUsesExcept(gathered.getResult(0), gathered);
    });
  return success();
}

/// The states of one parameter, and what `update` and `init` do with them.
LogicalResult TokenPartition::divideUpdate(moe::StateOp parameter) {
  auto update = module.lookupSymbol<func::FuncOp>(moe::kUpdateFunction);
  SmallVector<moe::StateOp> states{parameter};
  if (auto gradient = parameter.getGradientAttr())
    states.push_back(module.lookupSymbol<moe::StateOp>(gradient.getValue()));
  StringRef gradient = states.back().getSymName();
  llvm::DenseSet<Value> done;
  for (moe::ReadOp read : update.getBody().front().getOps<moe::ReadOp>()) {
    if (read.getState() != gradient || read.use_empty() || done.contains(read.getResult()))
      continue;
    RowUpdate rows(read.getResult(), ranks);
    if (!rows.find())
      return refuse(*read->user_begin()) << "the optimizer of \"" << parameter.getName()
                                         << "\" needs all of its experts at once, and they are divided over " << ranks
                                         << " ranks; give it an optimizer that works element by element, such as adamw";
    for (moe::WriteOp write : rows.writes)
      if (auto state = module.lookupSymbol<moe::StateOp>(write.getState()); !llvm::is_contained(states, state))
        states.push_back(state);
    rows.followStates(axes);
    done.insert(rows.values.begin(), rows.values.end());
  }
  for (moe::StateOp state : states)
    divideState(state);
  LogicalResult result = success();
  module.walk([&](moe::WriteOp write) {
    auto function = write->getParentOfType<func::FuncOp>();
    bool isOwn = llvm::any_of(states, [&](moe::StateOp state) { return state.getSymName() == write.getState(); });
    if (isOwn && function != update && succeeded(result))
      result = divideInitial(write);
  });
  return result;
}

/// A value that every rank makes whole; it keeps its experts.
LogicalResult TokenPartition::divideInitial(moe::WriteOp write) {
  Value value = write.getValue();
  auto state = module.lookupSymbol<moe::StateOp>(write.getState());
  SmallVector<int64_t> shape(state.getTensorType().getShape());
  if (state.getCount() && !write.getIndex())
    shape.insert(shape.begin(), state.getCopies());
  auto own = RankedTensorType::get(shape, typeOf(value).getElementType());
  if (arith::ConstantOp constant = splatConstant(value)) {
    b.setInsertionPoint(write);
    auto number = cast<DenseElementsAttr>(constant.getValue()).getSplatValue<Attribute>();
    write.getValueMutable().assign(
        arith::ConstantOp::create(b, write.getLoc(), DenseElementsAttr::get(own, number)).getResult());
    return success();
  }
  if (state.getCount() && !write.getIndex())
    return refuse(write) << "\"" << state.getName() << "\" begins as more than one number for all copies at once";
  // Row numbers of this rank's experts in [experts * rows, columns].
  auto i32 = b.getI32Type();
  int64_t rows = own.getNumElements() / own.getShape().back(), columns = own.getShape().back();
  Location loc = write.getLoc();
  Value rank = rankNumber(write);
  auto numbers = moe::MapOp::create(
      b, loc, TypeRange{RankedTensorType::get({rows, 1}, i32)}, ValueRange{rank},
      [&](OpBuilder &inside, Location at, ValueRange args) { // rank, row, column
        Value count = arith::ConstantOp::create(inside, at, inside.getI64IntegerAttr(rows));
        Value first = arith::MulIOp::create(inside, at, args[0], count);
        Value row = arith::AddIOp::create(inside, at, first, args[1]);
        return SmallVector<Value>{arith::TruncIOp::create(inside, at, i32, row)};
      },
      /*position=*/true);
  Value flat =
      moe::ReshapeOp::create(b, loc, RankedTensorType::get({rows * ranks, columns}, own.getElementType()), value);
  Value picked = moe::GatherRowsOp::create(b, loc, RankedTensorType::get({rows, columns}, own.getElementType()), flat,
                                           numbers.getResult(0), /*slot_row=*/Value());
  write.getValueMutable().assign(moe::ReshapeOp::create(b, loc, own, picked).getResult());
  return success();
}

//===--- Which values differ --------------------------------------------------------------------------------------===//

/// Marks what depends on this rank's tokens; whether anything was added.
bool TokenPartition::analyse(Block &block) {
  size_t before = dividedValues.size();
  auto copy = [&](auto from, auto to) {
    for (auto [source, target] : llvm::zip_equal(from, to))
      if (isDivided(source))
        dividedValues.insert(target);
  };
  for (Operation &op : block) {
    if (auto read = dyn_cast<moe::ReadOp>(op)) {
      auto state = module.lookupSymbol<moe::StateOp>(read.getState());
      if (state.getKind() == moe::StateKind::batch)
        dividedValues.insert(read.getResult());
      continue;
    }
    if (auto repeat = dyn_cast<moe::RepeatOp>(op)) {
      auto yielded = [&] { return repeat.getYield().getValues(); };
      copy(repeat.getInits(), repeat.getCarryArguments());
      copy(repeat.getStacked(), repeat.getSliceArguments());
      while (analyse(*repeat.getBlock()))
        copy(yielded().take_front(repeat.getCarried()), repeat.getCarryArguments());
      copy(yielded(), repeat.getResults());
      continue;
    }
    if (hasDivided(op.getOperands()) && !isSumOverTokens(&op))
      dividedValues.insert(op.getResults().begin(), op.getResults().end());
  }
  return dividedValues.size() != before;
}

//===--- Types ----------------------------------------------------------------------------------------------------===//

LogicalResult TokenPartition::divide(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(block.without_terminator()))
    if (failed(divideOp(&op)))
      return failure();
  return success();
}

LogicalResult TokenPartition::divideOp(Operation *op) {
  if (auto repeat = dyn_cast<moe::RepeatOp>(op))
    return divideRepeat(repeat);
  if (auto read = dyn_cast<moe::ReadOp>(op)) {
    if (isDivided(read)) {
      readOwnRows(read);
      return success();
    }
    return divideWeight(read);
  }
  for (Value operand : op->getOperands())
    if (Route *route = sorted.lookup(operand))
      return computeSorted(op, *route);
  if (!hasDivided(op->getOperands()))
    return success();
  if (auto permute = dyn_cast<moe::PermuteOp>(op))
    return route(permute);
  if (auto gather = dyn_cast<moe::GatherRowsOp>(op))
    if (Route *route = routes.lookup(moe::underReshapes(gather.getRows()).getDefiningOp()))
      return sendRows(gather, *route);
  if (isSumOverTokens(op)) {
    b.setInsertionPointAfter(op);
    Value part = op->getResult(0);
    auto whole = AllSumOp::create(b, op->getLoc(), part.getType(), part, axes);
    part.replaceAllUsesExcept(whole.getResult(), whole);
    return success();
  }
  return divideRows(op);
}

void TokenPartition::readOwnRows(moe::ReadOp read) {
  RankedTensorType type = typeOf(read);
  b.setInsertionPoint(read);
  Value rank = rankIndex(read);
  Value own = moe::ReadOp::create(b, read.getLoc(), withRows(type, type.getDimSize(0) / ranks), read.getStateAttr(),
                                  rank, b.getI64IntegerAttr(ranks));
  dividedValues.insert(own);
  read.getResult().replaceAllUsesWith(own);
  dividedValues.erase(read.getResult()); // another value may get its address
  read.erase();
}

/// The gradient of a weight is added up over the ranks, so each of them may give a part only.
LogicalResult TokenPartition::divideWeight(moe::ReadOp read) {
  auto state = module.lookupSymbol<moe::StateOp>(read.getState());
  if (!state.getGradientAttr())
    return success();
  SmallVector<OpOperand *> whole;
  for (OpOperand &use : read->getUses()) {
    Operation *user = use.getOwner();
    auto product = dyn_cast<moe::GroupedMatmulOp>(user);
    if (state.getEach() && (!product || !isDivided(product.getA())))
      return refuse(user) << user->getName().getStringRef() << " reads the weights of all experts of \""
                          << state.getName() << "\", and they are divided over " << ranks
                          << " ranks; this is not supported yet. Set parallel.experts to null";
    if (isa<moe::RepeatOp>(user))
      return refuse(user) << "layers take the weights of \"" << state.getName() << "\" as a value that they carry";
    if (!state.getEach() && !hasDivided(user->getOperands()))
      whole.push_back(&use);
  }
  if (whole.empty())
    return success();
  b.setInsertionPointAfter(read);
  Value same = SameOp::create(b, read.getLoc(), read.getType(), read.getResult(), axes);
  for (OpOperand *use : whole)
    use->set(same);
  return success();
}

Value TokenPartition::constantRows(Value value, int64_t rows) {
  arith::ConstantOp constant = splatConstant(value);
  if (!constant)
    return {};
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(constant);
  auto number = cast<DenseElementsAttr>(constant.getValue()).getSplatValue<Attribute>();
  return arith::ConstantOp::create(b, constant.getLoc(), DenseElementsAttr::get(withRows(typeOf(value), rows), number));
}

LogicalResult TokenPartition::divideRepeat(moe::RepeatOp repeat) {
  for (auto [number, argument] : llvm::enumerate(repeat.getCarryArguments())) {
    if (!isDivided(argument))
      continue;
    OpOperand &init = repeat->getOpOperand(number);
    if (!isDivided(init.get())) {
      Value own = constantRows(init.get(), rowsOfValue(init.get()) / ranks);
      if (!own)
        return refuse(repeat) << "a value that all ranks have becomes one that they divide";
      init.set(own);
    }
    argument.setType(init.get().getType());
    repeat.getResult(number).setType(init.get().getType());
  }
  if (hasDivided(repeat.getStacked()) || hasDivided(repeat.getOuts()))
    return refuse(repeat) << "layers keep a value that ranks divide";
  return divide(*repeat.getBlock());
}

/// An op that computes each row, or each sequence, by itself.
LogicalResult TokenPartition::divideRows(Operation *op) {
  bool isByRow = isa<moe::MapOp, moe::RowReduceOp, moe::RmsNormOp, moe::SoftmaxOp, moe::LogSumExpOp, moe::TopKOp,
                     moe::TakeOp, moe::PutOp, moe::SliceColumnsOp, moe::CastOp, moe::RopeOp, moe::AttentionOp,
                     moe::MatmulOp, moe::EmbedOp, moe::ReshapeOp, moe::ColReduceOp, moe::CountIdsOp>(op);
  auto map = dyn_cast<moe::MapOp>(op);
  auto product = dyn_cast<moe::MatmulOp>(op);
  bool needsAll = !isByRow || op->getNumResults() == 0 || (map && map.getPosition()) ||
                  (product && (product.getTa() || isDivided(product.getB()))) ||
                  (isa<moe::EmbedOp>(op) && isDivided(op->getOperand(0)));
  if (needsAll)
    return refuse(op) << op->getName().getStringRef()
                      << " needs all tokens of a micro-batch, and they are divided over " << ranks
                      << " ranks; this is not supported yet. Set parallel.experts to null";
  for (Value result : op->getResults()) {
    if (rowsOfValue(result) % ranks != 0)
      return refuse(op) << ranks << " ranks do not divide " << rowsOfValue(result) << " rows";
    result.setType(withRows(typeOf(result), rowsOfValue(result) / ranks));
  }
  if (auto attention = dyn_cast<moe::AttentionOp>(op);
      attention && rowsOfValue(attention.getResult()) % static_cast<int64_t>(attention.getSeqLen()) != 0)
    return refuse(op) << ranks << " ranks divide a sequence; give a micro-batch as many sequences";
  shareOperands(op);
  for (OpOperand &operand : op->getOpOperands())
    if (Value value = operand.get(); map && !isDivided(value) && rowsOfValue(value) != 1) {
      Value own = ownRows(value, rowsOfValue(op->getResult(0)));
      if (!own)
        return refuse(op) << "a value of " << rowsOfValue(value) << " rows that all ranks have meets divided rows";
      operand.set(own);
    }
  return success();
}

//===--- Rows of experts ------------------------------------------------------------------------------------------===//

LogicalResult TokenPartition::route(moe::PermuteOp permute) {
  if (permute.getLimit())
    return refuse(permute) << "experts that choose their tokens need all tokens of a micro-batch, and they are divided "
                              "over "
                           << ranks << " ranks; this is not supported yet. Set parallel.experts to null";
  Location loc = permute.getLoc();
  auto i32 = b.getI32Type();
  int64_t experts = permute.getExperts(), own = experts / ranks, align = permute.getAlign();
  RankedTensorType ids = typeOf(permute.getIds());
  int64_t slots = ids.getNumElements(), most = slots * ranks; // rows that may come: all of them
  Type element;                                               // the float type of the rows
  for (Operation *user : permute.getSlotRow().getUsers())
    if (auto gather = dyn_cast<moe::GatherRowsOp>(user))
      element = typeOf(gather.getInput()).getElementType();
  if (!element)
    return refuse(permute) << "no rows are sorted by it";
  if (!element.isF64() && most > int64_t{1} << 24) // a float carries the number of a row
    return refuse(permute) << "a micro-batch has " << most << " rows of experts, more than f32 can number";
  auto floats = [&](int64_t rows, int64_t columns) { return RankedTensorType::get({rows, columns}, element); };
  auto ints = [&](int64_t rows, int64_t columns) { return RankedTensorType::get({rows, columns}, i32); };

  // Sent without padding.
  permute.setAlign(1);
  permute.getSlotRow().setType(ids);
  permute.getRowToken().setType(ints(slots, 1));
  permute.getRowSlot().setType(ints(slots, 1));
  auto made = std::make_unique<Route>();
  made->sends = permute;
  b.setInsertionPointAfter(permute);
  made->received = AllToAllOp::create(b, loc, TypeRange{ints(ranks, own)}, permute.getCounts(), axes).getResult(0);

  // The expert of each row goes along as a number; rows after the last that came have none.
  auto numbers = moe::MapOp::create(b, loc, TypeRange{RankedTensorType::get(ids.getShape(), element)},
                                    ValueRange{permute.getIds()}, [&](OpBuilder &in, Location at, ValueRange x) {
                                      Value count = arith::ConstantOp::create(in, at, in.getI32IntegerAttr(own));
                                      Value local = arith::RemSIOp::create(in, at, x[0], count);
                                      return SmallVector<Value>{arith::SIToFPOp::create(in, at, element, local)};
                                    });
  Value bySlot = moe::ReshapeOp::create(b, loc, floats(slots, 1), numbers.getResult(0));
  Value sentNumbers = moe::GatherRowsOp::create(b, loc, floats(slots, 1), bySlot, permute.getRowSlot(), Value());
  Value gotNumbers =
      ExchangeRowsOp::create(b, loc, floats(most, 1), sentNumbers, permute.getCounts(), made->received, axes);
  auto counts = moe::MapOp::create(b, loc, TypeRange{floats(ranks, own)}, ValueRange{made->received},
                                   [&](OpBuilder &in, Location at, ValueRange x) {
                                     return SmallVector<Value>{arith::SIToFPOp::create(in, at, element, x[0])};
                                   });
  Value perRank = moe::RowReduceOp::create(b, loc, floats(ranks, 1), moe::Reduction::sum, counts.getResult(0));
  Value total = moe::ColReduceOp::create(b, loc, floats(1, 1), perRank);
  auto gotIds = moe::MapOp::create(
      b, loc, TypeRange{ints(most, 1)}, ValueRange{gotNumbers, total},
      [&](OpBuilder &in, Location at, ValueRange x) { // number, total, row, column
        Value row = arith::SIToFPOp::create(in, at, element, x[2]);
        Value isThere = arith::CmpFOp::create(in, at, arith::CmpFPredicate::OLT, row, x[1]);
        Value none = arith::ConstantOp::create(in, at, in.getI32IntegerAttr(-1));
        Value zero = arith::ConstantOp::create(in, at, cast<TypedAttr>(in.getZeroAttr(element)));
        Value number = arith::SelectOp::create(in, at, isThere, x[0], zero);
        Value id = arith::FPToSIOp::create(in, at, i32, number);
        return SmallVector<Value>{arith::SelectOp::create(in, at, isThere, id, none)};
      },
      /*position=*/true);
  int64_t rows = moe::PermuteOp::getPermutedRows(most, own, align);
  made->receives = moe::PermuteOp::create(b, loc, ints(1, own + 1), ints(1, own), ints(rows, 1), ints(rows, 1),
                                          ints(most, 1), gotIds.getResult(0), static_cast<uint64_t>(own),
                                          static_cast<uint64_t>(align), IntegerAttr());
  routes[permute] = made.get();
  allRoutes.push_back(std::move(made));
  return success();
}

/// Rows sorted on this rank -> at their owners, sorted there.
LogicalResult TokenPartition::sendRows(moe::GatherRowsOp gather, Route &route) {
  if (!isDivided(gather.getInput()))
    return refuse(gather) << "rows that all ranks have are sorted by the experts of divided tokens";
  RankedTensorType type = typeOf(gather);
  int64_t slots = rowsOfValue(route.sends.getRowToken()), most = rowsOfValue(route.receives.getIds());
  gather.getResult().setType(withRows(type, slots));
  b.setInsertionPointAfter(gather);
  Location loc = gather.getLoc();
  auto exchanged = ExchangeRowsOp::create(b, loc, withRows(type, most), gather.getResult(), route.sends.getCounts(),
                                          route.received, axes);
  auto placed = moe::GatherRowsOp::create(b, loc, withRows(type, rowsOfValue(route.receives.getRowToken())), exchanged,
                                          route.receives.getRowToken(), route.receives.getSlotRow());
  gather.getResult().replaceAllUsesExcept(placed.getResult(), exchanged);
  sorted[placed.getResult()] = &route;
  dividedValues.insert(placed.getResult());
  return success();
}

/// The experts' results -> back to the ranks of their tokens, in the order in which they were sent.
void TokenPartition::returnRows(moe::CombineRowsOp combine, Route &route) {
  RankedTensorType type = typeOf(combine.getRows());
  int64_t slots = rowsOfValue(route.sends.getRowToken()), most = rowsOfValue(route.receives.getIds());
  b.setInsertionPoint(combine);
  Location loc = combine.getLoc();
  auto unsorted = moe::CombineRowsOp::create(b, loc, withRows(type, most), combine.getRows(),
                                             route.receives.getSlotRow(), route.receives.getRowSlot(), Value());
  auto exchanged =
      ExchangeRowsOp::create(b, loc, withRows(type, slots), unsorted, route.received, route.sends.getCounts(), axes);
  combine.getRowsMutable().assign(exchanged);
  combine.getResult().setType(withRows(typeOf(combine), rowsOfValue(combine.getSlotRow())));
}

/// What all ranks have and each uses for its rows: its gradient comes in parts. Those of weights are added up in their
/// states.
void TokenPartition::shareOperands(Operation *op) {
  for (OpOperand &operand : op->getOpOperands()) {
    Value value = operand.get();
    auto type = dyn_cast<RankedTensorType>(value.getType());
    bool isWhole = type && isa<FloatType>(type.getElementType()) && !isDivided(value) && !sorted.count(value);
    bool becomesOwn = isa<moe::MapOp>(op) && isWhole && type.getDimSize(0) != 1; // see ownRows
    if (!isWhole || becomesOwn || splatConstant(value) || moe::underReshapes(value).getDefiningOp<moe::ReadOp>())
      continue;
    b.setInsertionPoint(op);
    operand.set(ShareOp::create(b, op->getLoc(), value.getType(), value, axes));
  }
}

LogicalResult TokenPartition::computeSorted(Operation *op, Route &route) {
  int64_t rows = rowsOfValue(route.receives.getRowToken());
  if (auto combine = dyn_cast<moe::CombineRowsOp>(op)) {
    returnRows(combine, route);
    return success();
  }
  if (auto product = dyn_cast<moe::GroupedMatmulOp>(op)) {
    product.getOffsetsMutable().assign(route.receives.getOffsets());
    product.getCountsMutable().assign(route.receives.getCounts());
  } else if (auto map = dyn_cast<moe::MapOp>(op); !map || map.getPosition()) {
    return refuse(op) << op->getName().getStringRef() << " reads the rows of experts, and they lie on the ranks of "
                      << "their experts; this is not supported yet. Set parallel.experts to null";
  } else if (llvm::any_of(map.getInputs(),
                          [&](Value input) { return sorted.lookup(input) != &route && rowsOfValue(input) != 1; })) {
    return refuse(op) << "the rows of experts meet rows that are sorted in another way";
  }
  shareOperands(op);
  for (Value result : op->getResults()) {
    result.setType(withRows(typeOf(result), rows));
    sorted[result] = &route;
  }
  return success();
}

} // namespace

LogicalResult partitionTokens(ModuleOp module, StringRef axis) { return TokenPartition(module, axis).run(); }

} // namespace moec::dist
