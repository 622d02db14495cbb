// Facts of ops that depend on an operand, a result or an attribute, and questions about facts.
#include "dialects/Moe/IR/MoeVerify.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace moec::moe {

//===--- Questions ------------------------------------------------------------------------------------------------===//

const OpFacts *factsOf(Operation *op) {
  auto facts = dyn_cast_if_present<FactsOpInterface>(op);
  return facts ? &facts.getFacts() : nullptr;
}

static bool isComputedBy(Operation *op, Kernel kernel) {
  const OpFacts *facts = factsOf(op);
  return facts && facts->kernel == kernel;
}

bool isView(Operation *op) { return isComputedBy(op, Kernel::view); }
bool isRowOp(Operation *op) { return isComputedBy(op, Kernel::row); }
bool isProduct(Operation *op) { return isComputedBy(op, Kernel::product); }
bool staysApart(Operation *op) { return isComputedBy(op, Kernel::apart); }

bool isSink(Operation *op) {
  auto access = dyn_cast_if_present<StateAccessOpInterface>(op);
  return access && access.getStored();
}

StringRef kernelKind(Operation *op) {
  const OpFacts *facts = factsOf(op);
  if (!facts)
    return "";
  switch (facts->kernel) {
  case Kernel::row:
    return kRowKind;
  case Kernel::product:
    return kProductKind;
  case Kernel::own:
    return op->getName().stripDialect();
  case Kernel::expanded:
  case Kernel::view:
  case Kernel::access:
  case Kernel::apart:
    return "";
  }
  llvm_unreachable("every kernel has a case");
}

bool computesNothing(Operation *op) {
  return isView(op) || isComputedBy(op, Kernel::access) || op->hasTrait<OpTrait::ConstantLike>() ||
         op->hasTrait<OpTrait::IsTerminator>();
}

std::optional<PickedRows> pickedRows(Operation *op) {
  auto facts = dyn_cast_if_present<FactsOpInterface>(op);
  return facts ? facts.getPickedRows() : std::nullopt;
}

//===--- Rows of operands -----------------------------------------------------------------------------------------===//

// cos and sin are tables of positions.
Rows RopeOp::getOperandRows(unsigned index) { return index == 0 ? Rows::aligned : Rows::whole; }
// slot_row is for the backward.
Rows GatherRowsOp::getOperandRows(unsigned index) {
  return index == 0 ? Rows::permuted : index == 1 ? Rows::aligned : Rows::whole;
}
Rows CombineRowsOp::getOperandRows(unsigned index) {
  // row_slot has the rows of the operand `rows`; it is never read here.
  return index == 0 ? Rows::permuted : getRowSlot() && index == 2 ? Rows::whole : Rows::aligned;
}
Rows SpreadRowsOp::getOperandRows(unsigned index) { return index == 1 ? Rows::aligned : Rows::permuted; }
Rows DotRowsOp::getOperandRows(unsigned index) { return index == 1 ? Rows::permuted : Rows::aligned; }
Rows EmbedOp::getOperandRows(unsigned index) { return index == 0 ? Rows::permuted : Rows::aligned; }

// `rank` is one number for all rows.
Rows ColumnKthOp::getOperandRows(unsigned index) { return index == 0 ? Rows::reduced : Rows::whole; }

// With `ta` the rows of both operands are the depth.
Rows MatmulOp::getOperandRows(unsigned index) {
  if (getTa())
    return index == 1 && getTb() ? Rows::whole : Rows::reduced;
  return index == 0 ? Rows::aligned : Rows::whole;
}
Rows GroupedMatmulOp::getOperandRows(unsigned index) {
  bool isRowScale = getRowScale() && getOperand(index) == getRowScale();
  return index == 0 || isRowScale ? Rows::aligned : Rows::whole;
}
Rows GroupedOuterOp::getOperandRows(unsigned index) { return index < 2 ? Rows::reduced : Rows::whole; }

// Each matrix of a result is computed from the matrix at the same place of the stacks.
Rows EighOp::getOperandRows(unsigned index) { return index < 2 ? Rows::aligned : Rows::whole; }
Rows QrOp::getOperandRows(unsigned index) { return index < 2 ? Rows::aligned : Rows::whole; }

std::optional<PickedRows> GatherRowsOp::getPickedRows() { return PickedRows{getInput(), getRows()}; }
std::optional<PickedRows> SpreadRowsOp::getPickedRows() {
  if (getWeights())
    return std::nullopt;
  return PickedRows{getInput(), getRowSlot(), /*bySlot=*/true, static_cast<int64_t>(getTopK())};
}

//===--- Storage --------------------------------------------------------------------------------------------------===//

static bool isProductFactor(Operation *product, unsigned index) {
  return index < 2 && !product->hasAttr("moe.wide_factors");
}
static Storage productStorage(Operation *product) {
  bool isWide = product->hasAttr("moe.full_precision") || product->hasAttr("moe.wide_factors");
  return isWide ? Storage::wide : Storage::narrow;
}

bool MatmulOp::isFactor(unsigned index) { return isProductFactor(*this, index); }
bool GroupedMatmulOp::isFactor(unsigned index) { return isProductFactor(*this, index); }
bool GroupedOuterOp::isFactor(unsigned index) { return isProductFactor(*this, index); }
bool AttentionOp::isFactor(unsigned) { return true; }
bool AttentionGradOp::isFactor(unsigned index) { return getOperand(index) != getLse(); }

Storage MatmulOp::getStorage(unsigned) { return productStorage(*this); }
Storage GroupedMatmulOp::getStorage(unsigned) { return productStorage(*this); }
Storage GroupedOuterOp::getStorage(unsigned) { return productStorage(*this); }
Storage AttentionOp::getStorage(unsigned result) {
  return getOperation()->getResult(result) == getResult() ? Storage::narrow : Storage::wide;
}
Storage QuantizeColumnsOp::getStorage(unsigned result) {
  return getOperation()->getResult(result) == getValues() ? Storage::float8 : Storage::wide;
}

//===--- Decisions ------------------------------------------------------------------------------------------------===//

// Integers that are computed from floats, such as ids from a comparison of scores, are decisions.
bool MapOp::isDecision() {
  auto isFloat = [](Value value) { return isa<FloatType>(elementType(value)); };
  return llvm::any_of(getInputs(), isFloat) && !llvm::all_of(getResults(), isFloat);
}

} // namespace moec::moe
