#include "dialects/Moe/Transforms/DispatchGroups.h"

#include "dialects/Moe/Analysis/MapForm.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::moe {

namespace {

constexpr unsigned maxProducts = 2; // gate and up, key and value: no case is known where more help
constexpr unsigned maxTerms = 4;    // products that a kernel adds up

/// Facts of a group that begins with a state write: its kernel copies or fills.
constexpr OpFacts storingFacts = {.kernel = Kernel::row,
                                  .rows = Rows::aligned,
                                  .storage = Storage::wide,
                                  .sinks = Sinks::any,
                                  .takesConstants = true};

StringRef stateOf(Operation *op) { return cast<StateAccessOpInterface>(op).getStateAttr().getValue(); }

/// Epilogues and the terms of sums cannot hold a constant tensor. (The canonicalizer moves constants of one number into
/// maps.)
bool isConstant(Value value) { return isa_and_present<arith::ConstantOp>(underReshapes(value).getDefiningOp()); }

int64_t rowsOf(Value value) { return cast<RankedTensorType>(value.getType()).getDimSize(0); }

/// The sum that is the only user of a product, or null.
MapOp sumOf(Operation *product) {
  auto map = product->hasOneUse() ? dyn_cast<MapOp>(*product->user_begin()) : MapOp();
  return map && isSum(map) ? map : MapOp();
}

/// Whether all users of the op's result are sinks, under whatever shape.
bool isOnlyStored(Operation *op) {
  return llvm::all_of(op->getUsers(),
                      [](Operation *user) { return isSink(user) || (isView(user) && isOnlyStored(user)); });
}

/// Whether the kernel of `op` reads its operand row by row or element by element, before it writes the same.
bool isAlignedOperand(Operation *op, unsigned number) {
  if (isSink(op))
    return true;
  auto facts = dyn_cast<FactsOpInterface>(op);
  return facts && (facts.getFacts().inPlace == static_cast<int>(number) ||
                   (isRowOp(op) && facts.getOperandRows(number) == Rows::aligned));
}

/// Whether the group's template has a place for this write of a state.
bool takesSink(const DispatchGroup &group, StateAccessOpInterface sink) {
  Sinks sinks = group.facts->sinks;
  return sinks == Sinks::any || sinks == (sink.accumulates() ? Sinks::accumulate : Sinks::write);
}

} // namespace

bool stays(Operation *op) { return isa<RepeatOp>(op) || staysApart(op); }

bool takesNoConstants(Operation *op) { return !kernelKind(op).empty() && !factsOf(op)->takesConstants; }

DispatchGroups::DispatchGroups(Block &block, const DispatchTraits &traits) : block(block), traits(traits) {
  llvm::StringMap<unsigned> written;
  for (Operation &op : block) {
    llvm::StringMap<bool> writtenHere;
    op.walk([&](Operation *inner) {
      if (isa<StateAccessOpInterface>(inner))
        versionOf[inner] = written[stateOf(inner)];
      if (isSink(inner))
        writtenHere[stateOf(inner)] = true;
    });
    for (auto &entry : writtenHere)
      ++written[entry.getKey()];
  }
}

/// Ops that every user copies instead of reading a stored result.
bool DispatchGroups::isCloned(Operation *op) const {
  if (isa<arith::ConstantOp, ReadOp>(op) || isView(op))
    return true;
  // A sum over rows computes its terms itself: reading two tensors costs no more than writing one and reading it.
  if (auto map = dyn_cast<MapOp>(op); map && !groupOf.contains(op))
    return map->getNumResults() == 1 && !map.getPosition() && map.getShapeType().getDimSize(1) > 1 &&
           !map->use_empty() && llvm::none_of(map.getInputs(), isConstant) && countFullInputs(map) > 0 &&
           countFullInputs(map) <= 2 && llvm::all_of(op->getUsers(), [&](Operation *user) {
             const OpFacts *facts = factsOf(user);
             return facts && facts->takesTerms && user->getBlock() == &block;
           });
  return picksRowsInLoads(op);
}

/// Whether `op` picks rows of a matrix by row numbers, so that the loads of products can pick them themselves.
bool DispatchGroups::picksRowsInLoads(Operation *op) const {
  std::optional<PickedRows> picked = pickedRows(op);
  if (!picked || (picked->bySlot && !traits.spreadInLoads))
    return false;
  int64_t columns = 0; // of the products together: the rows are read once for each tile of columns
  for (OpOperand &use : op->getUses()) {
    Operation *user = use.getOwner();
    if (!isa<GroupedMatmulOp, GroupedOuterOp>(user))
      return false;
    ArrayRef<int64_t> result = cast<RankedTensorType>(user->getResult(0).getType()).getShape();
    // Rows by slots may be the right side of a weight's gradient too, if all that follows is to store it.
    bool isRight = use.getOperandNumber() == 1 && picked->bySlot && isa<GroupedOuterOp>(user) && isOnlyStored(user);
    if (use.getOperandNumber() != 0 && !isRight)
      return false;
    columns += isRight ? result[result.size() - 2] : result.back();
  }
  return traits.gatherOnce == 0 || columns < traits.gatherOnce;
}

void DispatchGroups::collect(Value value, bool direct, SmallVectorImpl<Dependence> &deps,
                             SmallVectorImpl<Operation *> &reads) const {
  Operation *def = value.getDefiningOp();
  if (!def || def->getBlock() != &block || isa<arith::ConstantOp>(def))
    return;
  if (isa<ReadOp>(def)) {
    reads.push_back(def);
    return;
  }
  if (isCloned(def)) {
    for (Value operand : def->getOperands())
      collect(operand, /*direct=*/false, deps, reads);
    return;
  }
  deps.push_back({static_cast<int>(groupOf.lookup(def)), direct});
}

/// A read of version v belongs after write v and before write v+1. Reading and overwriting in one dispatch is fine when
/// each element is read before it is written (`aligned`).
bool DispatchGroups::readFits(Operation *read, unsigned index, bool aligned) const {
  auto found = accesses.find(stateOf(read));
  if (found == accesses.end())
    return true;
  unsigned version = versionOf.lookup(read);
  for (const Access &access : found->second) {
    if (!access.isWrite)
      continue;
    bool earlier = access.version < version;
    if (earlier ? access.group >= index : (access.group < index || (access.group == index && !aligned)))
      return false;
  }
  return true;
}

bool DispatchGroups::writeFits(Operation *write, unsigned index) const {
  auto found = accesses.find(stateOf(write));
  if (found == accesses.end())
    return true;
  // Ops come in program order, so all accesses placed so far come before the write.
  for (const Access &access : found->second) {
    if (access.group > index)
      return false;
    bool fitsInside = !access.isWrite && access.isAligned && access.type == underReshapes(sinkValue(write)).getType();
    if (access.group == index && !fitsInside)
      return false;
  }
  return true;
}

bool DispatchGroups::acceptsKind(Operation *op, const DispatchGroup &group, std::string &why) const {
  bool isProduct = group.isComputedBy(Kernel::product);
  if (group.leavesRows) {
    auto partial = dyn_cast<PartialOpInterface>(op);
    if (!partial || !partial.isLeftWith([&](Value value) { return group.makes(value); })) {
      why = "it is needed in rows that the product may leave out";
      return false;
    }
  }
  if (isSink(op)) {
    if (takesSink(group, cast<StateAccessOpInterface>(op)))
      return true;
    why = "the " + group.kind + " template does not write states";
    return false;
  }
  if (!isRowOp(op)) {
    why = "it starts a kernel of its own";
    return false;
  }
  if (group.isComputedBy(Kernel::row)) {
    if (rowsOf(op->getResult(0)) == group.shape.getDimSize(0))
      return true;
    why = "it has other rows";
    return false;
  }
  auto map = dyn_cast<MapOp>(op);
  if (group.facts->takesEpilogue && map && map.getShapeType().getShape() == group.shape.getShape() &&
      !map.getPosition()) {
    for (Value input : map.getInputs()) {
      auto type = cast<RankedTensorType>(input.getType());
      if ((type.getDimSize(0) != 1 && type.getDimSize(0) != group.shape.getDimSize(0)) ||
          !isa<FloatType>(type.getElementType()) || isConstant(input)) {
        why = "an operand does not fit an epilogue";
        return false;
      }
    }
    if (!isProduct || earnsEpilogue(map, group))
      return true;
    why = "the product's kernel would store more";
    return false;
  }
  why = group.facts->takesEpilogue ? "the " + group.kind + " template only takes elementwise epilogues of its own shape"
                                   : "nothing can follow inside the " + group.kind + " template";
  return false;
}

/// Whether the value must be stored, wherever it is made. Every user except a row op reads it from memory; a row op may
/// be fused with it.
bool DispatchGroups::mustBeStored(Value value) const {
  SmallVector<Value> views{value};
  while (!views.empty())
    for (OpOperand &use : views.pop_back_val().getUses()) {
      Operation *user = use.getOwner();
      if (isView(user))
        views.push_back(user->getResult(0));
      else if (user->getBlock() != &block || !isRowOp(user) || !isAlignedOperand(user, use.getOperandNumber()))
        return true;
    }
  return false;
}

/// A product's kernel takes a map if it then stores no more than two separate kernels would.
bool DispatchGroups::earnsEpilogue(MapOp map, const DispatchGroup &group) const {
  unsigned outside = llvm::count_if(map.getInputs(), [&](Value input) {
    return cast<RankedTensorType>(input.getType()).getShape() == map.getShapeType().getShape() && !group.makes(input);
  });
  if (traits.epilogueTensors != 0 && outside > traits.epilogueTensors)
    return false;
  bool replaces = map->getNumResults() == 1 && llvm::all_of(map.getInputs(), [&](Value input) {
                    return !group.makes(input) ||
                           llvm::all_of(input.getUsers(), [&](Operation *user) { return user == map.getOperation(); });
                  });
  // Fusion saves two passes over memory: storing the product's result and reading it again. A row kernel that follows
  // the map reads one tensor more for each result of the map that it uses.
  auto isReadByRows = [&](Value result) {
    return llvm::any_of(result.getUses(), [&](OpOperand &use) {
      Operation *user = use.getOwner();
      return user->getBlock() == &block && isRowOp(user) && isAlignedOperand(user, use.getOperandNumber()) &&
             !sumsRows(user, group);
    });
  };
  if (llvm::count_if(map.getResults(), isReadByRows) > 1)
    return false;
  auto isStored = [&](Value result) { return mustBeStored(result); };
  return replaces || (llvm::any_of(map.getResults(), isStored) && llvm::all_of(map.getResults(), [&](Value result) {
                        return isStored(result) ||
                               llvm::all_of(result.getUsers(), [&](Operation *user) { return sumsRows(user, group); });
                      }));
}

bool DispatchGroups::canJoin(Operation *op, unsigned index, std::string &why) const {
  const DispatchGroup &group = groups[index];
  if (group.kind.empty() || !acceptsKind(op, group, why)) {
    if (why.empty())
      why = "a loop or an exchange stands between";
    return false;
  }
  for (auto [number, operand] : llvm::enumerate(op->getOperands())) {
    if (operand.getType().isIndex())
      continue;
    bool aligned = isAlignedOperand(op, number);
    SmallVector<Dependence> deps;
    SmallVector<Operation *> reads;
    // A sink may store its value under another shape: the bytes are the same.
    collect(isSink(op) ? underReshapes(operand) : operand, aligned, deps, reads);
    for (const Dependence &dep : deps) {
      if (dep.group < static_cast<int>(index) || (dep.direct && dep.group == static_cast<int>(index)))
        continue;
      why = dep.group == static_cast<int>(index) ? "it needs a whole operand that this kernel makes"
                                                 : "an operand is made later";
      return false;
    }
    for (Operation *read : reads) {
      bool sameRows = rowsOf(operand) == (group.shape ? group.shape.getDimSize(0) : -1);
      if (!readFits(read, index, aligned && sameRows)) {
        why = "the state @" + stateOf(read).str() + " changes in between";
        return false;
      }
    }
  }
  if (isSink(op) && !writeFits(op, index)) {
    why = "the state @" + stateOf(op).str() + " is used in between";
    return false;
  }
  return true;
}

void DispatchGroups::join(Operation *op, unsigned index) {
  groups[index].ops.push_back(op);
  groupOf[op] = index;
  for (auto [number, operand] : llvm::enumerate(op->getOperands())) {
    SmallVector<Dependence> deps;
    SmallVector<Operation *> reads;
    if (!operand.getType().isIndex())
      collect(operand, true, deps, reads);
    bool aligned = isAlignedOperand(op, number);
    for (Operation *read : reads)
      accesses[stateOf(read)].push_back({index, false, versionOf.lookup(read), operand.getType(), aligned});
  }
  if (isSink(op))
    accesses[stateOf(op)].push_back({index, true, versionOf.lookup(op), underReshapes(sinkValue(op)).getType(), true});
}

unsigned DispatchGroups::open(Operation *op) {
  DispatchGroup group;
  if (stays(op)) {
    groups.push_back(group);
    return groups.size() - 1;
  }
  group.kind = isSink(op) ? kRowKind.str() : kernelKind(op).str();
  if (!group.kind.empty())
    group.facts = isSink(op) ? &storingFacts : factsOf(op);
  Value shaped = isSink(op) ? underReshapes(sinkValue(op)) : op->getNumResults() ? Value(op->getResult(0)) : Value();
  if (shaped)
    group.shape = cast<RankedTensorType>(shaped.getType());
  groups.push_back(group);
  return groups.size() - 1;
}

/// Products of the same A with the same result shape share a kernel: A stays in cache between them, and one epilogue
/// takes both results. Products that are only added up also share a kernel. The group may already contain writes: its
/// accesses tell whether the other product reads those states.
int DispatchGroups::findMatmulPartner(Operation *op) const {
  if (groups.empty())
    return -1;
  for (int index = groups.size() - 1; index >= 0; --index) {
    const DispatchGroup &group = groups[index];
    if (!group.isComputedBy(Kernel::product))
      continue;
    Operation *root = group.ops.front();
    bool alike = root->getName() == op->getName() && root->getResult(0).getType() == op->getResult(0).getType() &&
                 root->getPropertiesAsAttribute() == op->getPropertiesAsAttribute() &&
                 llvm::count_if(group.ops, [](Operation *inner) { return !isSink(inner); }) == group.roots;
    MapOp sum = sumOf(op);
    bool terms = sum && sum == sumOf(root) && group.roots < maxTerms &&
                 llvm::equal(root->getOperands().drop_front(2), op->getOperands().drop_front(2));
    bool twins = root->getOperand(0) == op->getOperand(0) && !sumOf(root) && group.roots < maxProducts;
    bool storesHere = llvm::all_of(op->getResult(0).getUsers(),
                                   [&](Operation *user) { return !isSink(user) || writeFits(user, index); });
    if (!alike || !(terms || twins) || !storesHere)
      return -1;
    for (Value operand : op->getOperands()) {
      SmallVector<Dependence> deps;
      SmallVector<Operation *> reads;
      collect(operand, false, deps, reads);
      if (llvm::any_of(deps, [&](const Dependence &dep) { return dep.group >= index; }) ||
          llvm::any_of(reads, [&](Operation *read) { return !readFits(read, index, false); }))
        return -1;
    }
    return index;
  }
  return -1;
}

/// Whether group `index` reads `value` too, row by row.
bool DispatchGroups::readsWith(Value value, unsigned index) const {
  auto read = value.getDefiningOp<ReadOp>();
  return llvm::any_of(groups[index].ops, [&](Operation *op) {
    return llvm::any_of(llvm::enumerate(op->getOperands()), [&](auto entry) {
      Value other = entry.value();
      if (other.getType() != value.getType() || !isAlignedOperand(op, entry.index()))
        return false;
      auto otherRead = other.template getDefiningOp<ReadOp>();
      return underReshapes(other) == underReshapes(value) ||
             (read && otherRead && read.getState() == otherRead.getState() && read.getIndex() == otherRead.getIndex() &&
              versionOf.lookup(read) == versionOf.lookup(otherRead));
    });
  });
}

/// A row kernel that reads the same tensor: together they read it once.
int DispatchGroups::findSibling(Operation *op) const {
  if (!factsOf(op)->joinsReaders)
    return -1;
  for (int index = groups.size() - 1; index >= 0; --index) {
    if (!groups[index].isComputedBy(Kernel::row))
      continue;
    bool shares = false;
    for (auto [number, operand] : llvm::enumerate(op->getOperands())) {
      auto type = dyn_cast<RankedTensorType>(operand.getType());
      shares |= type && type.getDimSize(1) > 1 && type.getDimSize(0) == rowsOf(op->getResult(0)) &&
                isAlignedOperand(op, number) && readsWith(operand, index);
    }
    std::string why;
    if (shares && canJoin(op, index, why))
      return index;
  }
  return -1;
}

/// A repeat, or an op that stays apart, is a group of its own. It reads the states that its body reads, and each state
/// whose value it takes or captures.
void DispatchGroups::addStaying(Operation *op) {
  unsigned index = open(op);
  groups[index].ops.push_back(op);
  groupOf[op] = index;
  op->walk([&](Operation *inner) {
    SmallVector<Dependence> deps;
    SmallVector<Operation *> reads;
    for (Value operand : inner->getOperands())
      collect(operand, false, deps, reads);
    if (isa<StateAccessOpInterface>(inner))
      accesses[stateOf(inner)].push_back({index, isSink(inner), versionOf.lookup(inner), Type(), false});
    for (Operation *read : reads)
      accesses[stateOf(read)].push_back({index, false, versionOf.lookup(read), Type(), false});
  });
}

LogicalResult DispatchGroups::place(Operation *op) {
  if (isCloned(op))
    return success();
  if (stays(op)) {
    addStaying(op);
    return success();
  }
  if (!isSink(op) && kernelKind(op).empty())
    return op->emitOpError("internal: has no kernel template, expected an op whose facts name one")
           << (factsOf(op) ? "; moe-decompose replaces it" : "");
  if (isProduct(op)) {
    int partner = traits.apart ? -1 : findMatmulPartner(op);
    unsigned index = partner >= 0 ? partner : open(op);
    join(op, index);
    ++groups[index].roots;
    if (auto product = dyn_cast<PartialOpInterface>(op))
      groups[index].leavesRows |= product.leavesRows();
    return success();
  }
  if (traits.apart) {
    join(op, open(op));
    return success();
  }
  if (auto sum = dyn_cast<ColReduceOp>(op))
    splitSum(sum);
  else if (auto sum = dyn_cast<RowReduceOp>(op))
    splitSum(sum);
  // Candidates: the groups that make an operand, the latest first.
  SmallVector<int> candidates;
  for (Value operand : op->getOperands()) {
    SmallVector<Dependence> deps;
    SmallVector<Operation *> reads;
    if (!operand.getType().isIndex())
      collect(isSink(op) ? underReshapes(operand) : operand, true, deps, reads);
    for (const Dependence &dep : deps)
      if (dep.group >= 0)
        candidates.push_back(dep.group);
  }
  llvm::sort(candidates, std::greater<>());
  candidates.erase(llvm::unique(candidates), candidates.end());
  for (int candidate : candidates) {
    std::string why;
    if (canJoin(op, candidate, why)) {
      join(op, candidate);
      return success();
    }
    if (groups[candidate].note.empty() && !groups[candidate].kind.empty())
      groups[candidate].note = op->getName().getStringRef().str() + " not fused: " + why;
  }
  int sibling = findSibling(op);
  join(op, sibling >= 0 ? sibling : open(op));
  return success();
}

} // namespace moec::moe
