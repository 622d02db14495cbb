// Sums in two steps: a kernel that has the terms in registers makes partial sums, and a small kernel adds up these. Row
// kernels begin sums over rows; kernels of products begin sums of a row.
#include "dialects/Moe/Transforms/DispatchGroups.h"

using namespace mlir;

namespace moec::moe {

namespace {

int64_t rowsOf(Value value) { return cast<RankedTensorType>(value.getType()).getDimSize(0); }

/// The number of rows that a row kernel adds up into one part; another kernel adds up the parts. The number is so small
/// that the parts fill a device, and so large that the parts are few compared with the rows. 0: no number does both.
/// Fewer threads share a narrow row, so narrow rows need more parts. With up to 256 columns several rows are added up
/// side by side.
int64_t rowsOfPart(int64_t rows, int64_t groups, int64_t columns) {
  constexpr int64_t leastParts = 256, leastRows = 8;
  int64_t mostParts = columns > 256 && columns <= 1024 ? 1024 : 512;
  for (int64_t each = std::max<int64_t>(leastRows, llvm::divideCeil(rows, mostParts)); each * leastParts <= rows;
       ++each)
    if (rows / groups % each == 0)
      return each;
  return 0;
}

} // namespace

/// The row kernel that makes or reads all rows of the sum, or -1; `terms` is the map before the sum, or null.
int DispatchGroups::findHolder(ColReduceOp sum, MapOp terms, int64_t parts) const {
  for (int index = groups.size() - 1; index >= 0; --index) {
    const DispatchGroup &group = groups[index];
    auto holds = [&](Value value) {
      return llvm::is_contained(group.ops, value.getDefiningOp()) || readsWith(value, index);
    };
    // In a busy kernel the sums would take additional time. All parts that a kernel makes have the same number of rows.
    auto isInTheWay = [&](Operation *op) {
      const OpFacts *facts = factsOf(op);
      return (facts && facts->isBusy) || (isa<ColReduceOp>(op) && rowsOf(op->getResult(0)) != parts);
    };
    if (!group.isComputedBy(Kernel::row) || llvm::any_of(group.ops, isInTheWay))
      continue;
    auto holdsInputs = [&] {
      return llvm::all_of(terms.getInputs(), [&](Value input) {
        bool isFull = cast<RankedTensorType>(input.getType()).getShape() == terms.getShapeType().getShape();
        return !isFull || holds(input);
      });
    };
    std::string why;
    if (terms ? holdsInputs() && canJoin(terms, index, why) : holds(sum.getInput()))
      return index;
  }
  return -1;
}

/// If a row kernel holds the rows of the sum anyway, it makes parts of a few rows each, and `sum` adds up these parts.
void DispatchGroups::splitSum(ColReduceOp sum) {
  auto type = cast<RankedTensorType>(sum.getInput().getType());
  int64_t each = rowsOfPart(type.getDimSize(0), rowsOf(sum.getResult()), type.getDimSize(1));
  if (type.getDimSize(1) == 1 || type.getDimSize(1) > traits.summedColumns || !each)
    return;
  auto map = sum.getInput().getDefiningOp<MapOp>();
  MapOp terms = map && map->hasOneUse() && isCloned(map) ? map : MapOp();
  int64_t parts = type.getDimSize(0) / each;
  int index = findHolder(sum, terms, parts);
  if (index < 0)
    return;
  OpBuilder b(sum);
  auto partsType = RankedTensorType::get({parts, type.getDimSize(1)}, type.getElementType());
  auto part = ColReduceOp::create(b, sum.getLoc(), partsType, sum.getInput());
  if (terms)
    join(terms, index);
  join(part, index);
  sum.getInputMutable().assign(part.getResult());
}

/// Whether a kernel of products may begin this sum of its rows: it sums and stores parts of them.
bool DispatchGroups::sumsRows(Operation *op, const DispatchGroup &group) const {
  auto reduce = dyn_cast<RowReduceOp>(op);
  return reduce && reduce.getKind() == Reduction::sum && traits.rowSums != 0 && group.shape.getRank() == 2 &&
         reduce.getInput().getType() == group.shape && group.shape.getDimSize(1) % traits.rowSums == 0;
}

/// If a kernel of products makes the rows of the sum and nobody stores them, the kernel makes parts, and `sum` adds up
/// these parts.
void DispatchGroups::splitSum(RowReduceOp sum) {
  auto terms = sum.getInput().getDefiningOp<MapOp>();
  if (!terms || terms->getBlock() != &block || mustBeStored(sum.getInput()))
    return;
  unsigned index = groupOf.lookup(terms);
  const DispatchGroup &group = groups[index];
  if (!group.isComputedBy(Kernel::product) || !sumsRows(sum, group))
    return;
  OpBuilder b(sum);
  auto type = RankedTensorType::get({group.shape.getDimSize(0), group.shape.getDimSize(1) / traits.rowSums},
                                    group.shape.getElementType());
  auto part = RowReduceOp::create(b, sum.getLoc(), type, sum.getKindAttr(), sum.getInput(),
                                  b.getI64IntegerAttr(traits.rowSums));
  join(part, index);
  sum.getInputMutable().assign(part.getResult());
}

} // namespace moec::moe
