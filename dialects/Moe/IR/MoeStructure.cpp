// States and their accesses, repeat, dispatch.
#include "dialects/Moe/IR/MoeVerify.h"

using namespace mlir;

namespace moec::moe {

YieldOp MapOp::getYield() { return cast<YieldOp>(getBlock()->getTerminator()); }
YieldOp RepeatOp::getYield() { return cast<YieldOp>(getBlock()->getTerminator()); }
YieldOp DispatchOp::getYield() { return cast<YieldOp>(getBlock()->getTerminator()); }

//===--- State ----------------------------------------------------------------------------------------------------===//

int64_t StateOp::getCopyBytes() {
  RankedTensorType type = getTensorType();
  return type.getNumElements() * (type.getElementTypeBitWidth() / 8);
}

void StateOp::build(OpBuilder &, OperationState &state, StringAttr name, StateKindAttr kind, TypeAttr type,
                    IntegerAttr count, DenseI64ArrayAttr layers, FlatSymbolRefAttr gradient) {
  Properties &properties = state.getOrAddProperties<Properties>();
  properties.sym_name = name;
  properties.kind = kind;
  properties.type = type;
  properties.count = count;
  properties.layers = layers;
  properties.gradient = gradient;
}

namespace {

/// The kind and element type that a role asks for.
struct RoleRule {
  StateKind kind;
  unsigned integerBits; // 0: floats
};

} // namespace

static RoleRule ruleOf(StateRole role) {
  switch (role) {
  case StateRole::step_counter:
    return {StateKind::counter, 64};
  case StateRole::batch_tokens:
  case StateRole::batch_sources:
  case StateRole::generate_tokens:
  case StateRole::generate_position:
    return {StateKind::batch, 32};
  case StateRole::generate_logits:
  case StateRole::token_losses:
    return {StateKind::output, 0};
  case StateRole::loss:
  case StateRole::total_loss:
  case StateRole::grad_norm:
    return {StateKind::metric, 0};
  case StateRole::expert_tokens:
    return {StateKind::metric, 64};
  }
  llvm_unreachable("all roles are above");
}

/// (C3), (C4), (C5), (C6).
static LogicalResult verifyUse(StateOp op) {
  StateKind kind = op.getKind();
  bool maySave = kind == StateKind::parameter || kind == StateKind::optimizer || kind == StateKind::balance ||
                 kind == StateKind::counter;
  if (op.getSaved() && !maySave)
    return op.emitOpError("is saved, and of kind ")
           << stringifyStateKind(kind) << ", expected parameter, optimizer, balance or counter";
  if (op.getLogName().has_value() != (kind == StateKind::metric))
    return op.emitOpError("is of kind ") << stringifyStateKind(kind)
                                         << (op.getLogName() ? ", only a metric is logged"
                                                             : ", expected `logged` with its key in the log");
  if (std::optional<StateRole> role = op.getRole()) {
    RoleRule rule = ruleOf(*role);
    Type element = op.getTensorType().getElementType();
    if (kind != rule.kind)
      return op.emitOpError("is of kind ") << stringifyStateKind(kind) << ", expected " << stringifyStateKind(rule.kind)
                                           << " for the role " << stringifyStateRole(*role);
    if (rule.integerBits ? !element.isInteger(rule.integerBits) : !isa<FloatType>(element))
      return op.emitOpError("has element type ")
             << element << ", expected " << (rule.integerBits ? "i" + std::to_string(rule.integerBits) : "a float")
             << " for the role " << stringifyStateRole(*role);
    if (*role == StateRole::step_counter && !op.getSaved())
      return op.emitOpError("is the step counter, expected `saved`: a run that goes on starts from it");
  }
  if (std::optional<StringRef> name = op.getLogicalName()) {
    if (name->empty() || name->count("{}") > 1)
      return op.emitOpError("is named \"") << *name << "\", expected a name with one {} at most";
    if (name->contains("{}") && !op.getLayers())
      return op.emitOpError("is named \"") << *name << "\", expected `layers` that fill {}";
  }
  return success();
}

LogicalResult StateOp::verify() {
  auto type = dyn_cast<RankedTensorType>(getType());
  if (!type || !type.hasStaticShape())
    return emitOpError("has type ") << getType() << ", expected a tensor of static shape";
  if (!type.getElementType().isIntOrFloat())
    return emitOpError("has element type ") << type.getElementType() << ", expected a float or an integer";
  // (C2)
  if (getCount() && getCopies() < 1)
    return emitOpError("has count ") << getCopies() << ", expected at least 1";
  if (std::optional<ArrayRef<int64_t>> layers = getLayers()) {
    if (layers->size() != 2)
      return emitOpError("has ") << layers->size() << " numbers in layers, expected 2: first and step";
    if (!getCount())
      return emitOpError("has layers but no count");
  }
  // (C7)
  if (getDivided() && (static_cast<int64_t>(*getDivided()) < 2 ||
                       (!getEach() && getTotalElements() % static_cast<int64_t>(*getDivided()) != 0)))
    return emitOpError("is divided by ") << *getDivided() << ", expected 2 or more that divides its "
                                         << getTotalElements() << " elements";
  // (C1)
  if (getGradient() && getKind() != StateKind::parameter)
    return emitOpError("is of kind ") << stringifyStateKind(getKind()) << ", only a parameter names a gradient";
  return verifyUse(*this);
}

LogicalResult StateOp::verifySymbolUses(SymbolTableCollection &symbols) {
  if (!getGradientAttr())
    return success();
  // (C1)
  auto gradient = symbols.lookupNearestSymbolFrom<StateOp>(*this, getGradientAttr());
  if (!gradient)
    return emitOpError("names gradient ") << getGradientAttr() << ", which is not a state";
  auto error = [&]() {
    InFlightDiagnostic diag = emitOpError();
    diag.attachNote(gradient.getLoc()) << "gradient declared here";
    return diag;
  };
  if (gradient.getKind() != StateKind::gradient)
    return error() << "names gradient " << getGradientAttr() << " of kind " << stringifyStateKind(gradient.getKind())
                   << ", expected kind gradient";
  if (gradient.getTensorType().getShape() != getTensorType().getShape())
    return error() << "has type " << getType() << ", but its gradient " << getGradientAttr() << " has "
                   << gradient.getType();
  if (gradient.getCopies() != getCopies())
    return error() << "has " << getCopies() << " copies, but its gradient " << getGradientAttr() << " has "
                   << gradient.getCopies();
  return success();
}

/// Of one of `runs` equal runs of the elements of a state, seen as rows.
static LogicalResult verifyRun(InFlightDiagnostic error, StateOp state, int64_t runs, RankedTensorType type) {
  if (type.getNumElements() * runs == state.getTotalElements() &&
      type.getElementType() == state.getTensorType().getElementType()) {
    error.abandon();
    return success();
  }
  return error << "has type " << type << ", expected one of " << runs << " equal runs of the "
               << state.getTotalElements() << " elements of state @" << state.getSymName() << ", of "
               << state.getTensorType().getElementType();
}

static LogicalResult verifyAccess(Operation *op, FlatSymbolRefAttr symbol, Value index, Value value,
                                  SymbolTableCollection &symbols) {
  auto state = symbols.lookupNearestSymbolFrom<StateOp>(op, symbol);
  if (!state)
    return op->emitOpError("refers to ") << symbol << ", which is not a state";
  auto error = [&]() {
    InFlightDiagnostic diag = op->emitOpError();
    diag.attachNote(state.getLoc()) << "state declared here";
    return diag;
  };
  RankedTensorType expected = state.getTensorType();
  auto read = dyn_cast<ReadOp>(op);
  std::optional<uint64_t> runs = read ? read.getRuns() : std::nullopt;
  bool isRun = state.getDivided() && !state.getEach();
  if (isRun && (index || runs))
    return error() << "has an index, but each rank has one run of state " << symbol;
  if (runs && !index)
    return error() << "reads one of " << *runs << " runs, expected an index that says which";
  if (runs || isRun)
    return verifyRun(error(), state, static_cast<int64_t>(runs ? *runs : *state.getDivided()),
                     cast<RankedTensorType>(value.getType()));
  if (index && !state.getCount())
    return error() << "has an index, but state " << symbol << " has no count";
  if (!index && state.getCount()) {
    SmallVector<int64_t> shape{state.getCopies()};
    llvm::append_range(shape, expected.getShape());
    expected = RankedTensorType::get(shape, expected.getElementType(), expected.getEncoding());
  }
  if (isSink(op)) // adds this rank's part
    expected = RankedTensorType::get(expected.getShape(), expected.getElementType());
  if (value.getType() == expected)
    return success();
  // Inside a dispatch a state is memory, so any shape with the same number of elements of the same type is allowed.
  auto type = cast<RankedTensorType>(value.getType());
  if (op->getParentOfType<DispatchOp>() && type.getElementType() == expected.getElementType() &&
      type.getNumElements() == expected.getNumElements())
    return success();
  return error() << "has type " << value.getType() << ", expected " << expected << " for "
                 << (index ? "one copy of " : "") << "state " << symbol;
}

LogicalResult ReadOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyAccess(*this, getStateAttr(), getIndex(), getResult(), symbols);
}
LogicalResult WriteOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyAccess(*this, getStateAttr(), getIndex(), getValue(), symbols);
}
LogicalResult AccumulateOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyAccess(*this, getStateAttr(), getIndex(), getValue(), symbols);
}

LogicalResult LossOp::verify() { return expectShape(*this, "total", getTotal(), {1, 1}); }

//===--- Argument lists of repeat and dispatch --------------------------------------------------------------------===//

// `%arg = %operand`; the argument's location follows it when locations are printed.
static void printBinding(OpAsmPrinter &p, BlockArgument arg, Value operand, bool withType) {
  p.printRegionArgument(arg, /*argAttrs=*/{}, /*omitType=*/true);
  p << " = " << operand;
  if (withType)
    p << " : " << operand.getType();
}

static ParseResult parseBindings(OpAsmParser &parser, SmallVectorImpl<OpAsmParser::Argument> &args,
                                 SmallVectorImpl<OpAsmParser::UnresolvedOperand> &operands,
                                 SmallVectorImpl<Type> *types) {
  return parser.parseCommaSeparatedList(OpAsmParser::Delimiter::Paren, [&]() -> ParseResult {
    return failure(parser.parseArgument(args.emplace_back()) || parser.parseEqual() ||
                   parser.parseOperand(operands.emplace_back()) ||
                   (types && parser.parseColonType(types->emplace_back())));
  });
}

//===--- Repeat ---------------------------------------------------------------------------------------------------===//

static RankedTensorType getSliceType(RankedTensorType stacked) {
  return RankedTensorType::get(stacked.getShape().drop_front(), stacked.getElementType());
}

void RepeatOp::build(OpBuilder &builder, OperationState &state, ValueRange inits, ValueRange stacked,
                     TypeRange outTypes, int64_t count, bool reverse) {
  OpBuilder::InsertionGuard guard(builder);
  state.addOperands(inits);
  state.addOperands(stacked);
  state.addTypes(inits.getTypes());
  state.addTypes(outTypes);
  Properties &properties = state.getOrAddProperties<Properties>();
  properties.carried = builder.getI64IntegerAttr(inits.size());
  properties.count = builder.getI64IntegerAttr(count);
  if (reverse)
    properties.reverse = builder.getUnitAttr();
  Block *block = builder.createBlock(state.addRegion());
  block->addArgument(builder.getIndexType(), state.location);
  for (Value init : inits)
    block->addArgument(init.getType(), state.location);
  for (Value value : stacked)
    block->addArgument(getSliceType(cast<RankedTensorType>(value.getType())), state.location);
}

void RepeatOp::print(OpAsmPrinter &p) {
  if (getReverse())
    p << " reverse";
  p << ' ';
  p.printRegionArgument(getBlock()->getArgument(0), /*argAttrs=*/{}, /*omitType=*/true);
  p << " of " << getCount();
  auto printList = [&](StringRef keyword, Block::BlockArgListType args, OperandRange operands) {
    if (args.empty())
      return;
    p << ' ' << keyword << '(';
    llvm::interleaveComma(llvm::zip_equal(args, operands), p,
                          [&](auto pair) { printBinding(p, std::get<0>(pair), std::get<1>(pair), /*withType=*/true); });
    p << ')';
  };
  printList("carry", getCarryArguments(), getInits());
  printList("stacked", getSliceArguments(), getStacked());
  if (!getOuts().empty())
    p << " -> (" << getOuts().getTypes() << ')';
  p.printOptionalAttrDictWithKeyword((*this)->getAttrs(), {"carried", "count", "reverse"});
  p << ' ';
  p.printRegion(getBody(), /*printEntryBlockArgs=*/false);
}

ParseResult RepeatOp::parse(OpAsmParser &parser, OperationState &state) {
  Builder &builder = parser.getBuilder();
  Properties &properties = state.getOrAddProperties<Properties>();
  if (succeeded(parser.parseOptionalKeyword("reverse")))
    properties.reverse = builder.getUnitAttr();

  SmallVector<OpAsmParser::Argument> args(1);
  SmallVector<OpAsmParser::UnresolvedOperand> operands;
  SmallVector<Type> types;
  int64_t count = 0;
  if (parser.parseArgument(args[0]) || parser.parseKeyword("of") || parser.parseInteger(count))
    return failure();
  args[0].type = builder.getIndexType();
  properties.count = builder.getI64IntegerAttr(count);

  if (succeeded(parser.parseOptionalKeyword("carry")) && parseBindings(parser, args, operands, &types))
    return failure();
  size_t carried = types.size();
  properties.carried = builder.getI64IntegerAttr(carried);
  SMLoc stackedLoc = parser.getCurrentLocation();
  if (succeeded(parser.parseOptionalKeyword("stacked")) && parseBindings(parser, args, operands, &types))
    return failure();
  for (auto [index, type] : llvm::enumerate(types)) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    if (!tensor || (index >= carried && tensor.getRank() < 1))
      return parser.emitError(stackedLoc, "expected ranked tensors, got ") << type;
    args[index + 1].type = index < carried ? tensor : getSliceType(tensor);
  }
  state.addTypes(ArrayRef(types).take_front(carried));
  SmallVector<Type> outTypes;
  if (succeeded(parser.parseOptionalArrow()) &&
      (parser.parseLParen() || parser.parseTypeList(outTypes) || parser.parseRParen()))
    return failure();
  state.addTypes(outTypes);
  return failure(parser.parseOptionalAttrDictWithKeyword(state.attributes) ||
                 parser.resolveOperands(operands, types, parser.getNameLoc(), state.operands) ||
                 parser.parseRegion(*state.addRegion(), args));
}

LogicalResult RepeatOp::verify() {
  // (C3)
  if (static_cast<int64_t>(getCount()) < 1)
    return emitOpError("has count ") << getCount() << ", expected at least 1";
  size_t carried = getCarried();
  if (carried > getInputs().size() || carried > getNumResults())
    return emitOpError("carries ") << carried << " values, but has " << getInputs().size() << " operands and "
                                   << getNumResults() << " results";
  Block *block = getBlock();
  if (block->getNumArguments() != 1 + getInputs().size() || !block->getArgument(0).getType().isIndex())
    return emitOpError("has ") << block->getNumArguments() << " block arguments, expected an index and "
                               << getInputs().size() << " tensors";
  auto yield = dyn_cast<YieldOp>(block->getTerminator());
  if (!yield || yield.getValues().size() != getNumResults())
    return emitOpError("yields ") << (yield ? yield.getValues().size() : 0) << " values, expected " << getNumResults();
  // (C1)
  for (size_t i = 0; i < carried; ++i) {
    Type type = getInputs()[i].getType();
    for (auto [what, other] : {std::pair<StringRef, Type>("argument", block->getArgument(1 + i).getType()),
                               std::pair<StringRef, Type>("yielded value", yield.getValues()[i].getType()),
                               std::pair<StringRef, Type>("result", getResult(i).getType())})
      if (other != type)
        return emitOpError("carries value ") << i << " as " << type << ", but its " << what << " is " << other;
  }
  // (C2)
  auto checkStack = [&](StringRef what, size_t index, Type stack, Type slice) -> LogicalResult {
    auto stackType = dyn_cast<RankedTensorType>(stack);
    if (!stackType || stackType.getRank() < 1 || stackType.getDimSize(0) != static_cast<int64_t>(getCount()))
      return emitOpError("stacked ") << what << ' ' << index << " is " << stack << ", expected " << getCount()
                                     << " slices";
    if (getSliceType(stackType) != slice)
      return emitOpError("stacked ") << what << ' ' << index << " is " << stack << ", but its slice is " << slice;
    return success();
  };
  for (auto [index, pair] : llvm::enumerate(llvm::zip_equal(getStacked(), getSliceArguments())))
    if (failed(checkStack("operand", index, std::get<0>(pair).getType(), std::get<1>(pair).getType())))
      return failure();
  for (auto [index, pair] : llvm::enumerate(llvm::zip_equal(getOuts(), yield.getValues().drop_front(carried))))
    if (failed(checkStack("result", index, std::get<0>(pair).getType(), std::get<1>(pair).getType())))
      return failure();
  return success();
}

//===--- Dispatch -------------------------------------------------------------------------------------------------===//

void DispatchOp::print(OpAsmPrinter &p) {
  p << ' ' << getKindAttr();
  if (getNoteAttr())
    p << " note " << getNoteAttr();
  p << " (";
  llvm::interleaveComma(llvm::zip_equal(getBlock()->getArguments(), getInputs()), p,
                        [&](auto pair) { printBinding(p, std::get<0>(pair), std::get<1>(pair), /*withType=*/false); });
  p << ") : ";
  p.printFunctionalType(*this);
  p.printOptionalAttrDictWithKeyword((*this)->getAttrs(), {"kind", "note"});
  p << ' ';
  p.printRegion(getBody(), /*printEntryBlockArgs=*/false);
}

ParseResult DispatchOp::parse(OpAsmParser &parser, OperationState &state) {
  Properties &properties = state.getOrAddProperties<Properties>();
  SmallVector<OpAsmParser::Argument> args;
  SmallVector<OpAsmParser::UnresolvedOperand> operands;
  FunctionType type;
  if (parser.parseAttribute(properties.kind, parser.getBuilder().getNoneType()))
    return failure();
  if (succeeded(parser.parseOptionalKeyword("note")) &&
      parser.parseAttribute(properties.note, parser.getBuilder().getNoneType()))
    return failure();
  SMLoc loc = parser.getCurrentLocation();
  if (parseBindings(parser, args, operands, nullptr) || parser.parseColonType(type))
    return failure();
  if (type.getNumInputs() != operands.size())
    return parser.emitError(loc, "has ") << operands.size() << " operands, but " << type.getNumInputs() << " types";
  for (auto [arg, input] : llvm::zip_equal(args, type.getInputs()))
    arg.type = input;
  state.addTypes(type.getResults());
  return failure(parser.parseOptionalAttrDictWithKeyword(state.attributes) ||
                 parser.resolveOperands(operands, type.getInputs(), loc, state.operands) ||
                 parser.parseRegion(*state.addRegion(), args));
}

LogicalResult DispatchOp::verify() {
  // (C1)
  Block *block = getBlock();
  if (block->getNumArguments() != getInputs().size())
    return emitOpError("has ") << block->getNumArguments() << " block arguments, expected " << getInputs().size();
  for (auto [index, pair] : llvm::enumerate(llvm::zip_equal(block->getArguments(), getInputs())))
    if (std::get<0>(pair).getType() != std::get<1>(pair).getType())
      return emitOpError("operand ") << index << " is " << std::get<1>(pair).getType() << ", but its block argument is "
                                     << std::get<0>(pair).getType();
  // (C2)
  auto yield = dyn_cast<YieldOp>(block->getTerminator());
  if (!yield || yield.getValues().size() != getNumResults())
    return emitOpError("yields ") << (yield ? yield.getValues().size() : 0) << " values, expected " << getNumResults();
  for (auto [index, pair] : llvm::enumerate(llvm::zip_equal(yield.getValues(), getResults())))
    if (std::get<0>(pair).getType() != std::get<1>(pair).getType())
      return emitOpError("result ") << index << " is " << std::get<1>(pair).getType() << ", but the body yields "
                                    << std::get<0>(pair).getType();
  // (C3)
  for (Operation &op : *block) {
    auto access = dyn_cast<StateAccessOpInterface>(op);
    if (access && access.getIndex() && !isa<BlockArgument>(access.getIndex()))
      return op.emitOpError("has a computed index inside a dispatch, expected a block argument");
  }
  return verifyLeftRows();
}

// (C4)
LogicalResult DispatchOp::verifyLeftRows() {
  PartialOpInterface leaving;
  for (Operation &op : *getBlock())
    if (auto partial = dyn_cast<PartialOpInterface>(op); partial && partial.leavesRows())
      leaving = partial;
  if (!leaving)
    return success();
  auto noteLeaving = [&](InFlightDiagnostic error) -> LogicalResult {
    error.attachNote(leaving.getLoc()) << "'" << leaving->getName() << "' leaves out rows that no group has";
    return error;
  };
  std::function<bool(Value)> isLeft = [&](Value value) {
    auto partial = dyn_cast_if_present<PartialOpInterface>(value.getDefiningOp());
    return partial && (partial.leavesRows() || partial.isLeftWith(isLeft));
  };
  for (Operation &op : getBlock()->without_terminator())
    if (hasEffect<MemoryEffects::Write>(&op))
      return noteLeaving(op.emitOpError("has to happen for all its rows, but its dispatch may leave rows out"));
  for (auto [index, value] : llvm::enumerate(getYield().getValues()))
    if (!isLeft(value))
      return noteLeaving(emitOpError("yields value ")
                         << index << ", which is needed in all its rows, but the dispatch may leave rows out");
  return success();
}

} // namespace moec::moe
