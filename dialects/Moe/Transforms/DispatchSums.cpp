// Sums in two steps: parts in the kernel that has what is summed anyway, and a small sum of these parts. Sums over rows
// begin in row kernels, sums of a row in kernels of products.
#include "dialects/Moe/Transforms/DispatchGroups.h"

using namespace mlir;

namespace moec::moe {

namespace {

int64_t rowsOf(Value value) { return cast<RankedTensorType>(value.getType()).getDimSize(0); }

/// How many rows a row kernel adds up before a kernel of sums goes on: few enough that the parts fill a device, many
/// enough that these are little beside the rows. 0: neither fits. Fewer threads share a row that is narrow, so more
/// parts are needed; of up to 256 columns several rows are added up side by side.
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

/// The row kernel that makes or reads all rows that the sum is made of; `terms` is the map before the sum, or null.
int DispatchGroups::findHolder(ColReduceOp sum, MapOp terms, int64_t parts) const {
  for (int index = groups.size() - 1; index >= 0; --index) {
    const DispatchGroup &group = groups[index];
    auto holds = [&](Value value) {
      return llvm::is_contained(group.ops, value.getDefiningOp()) || readsWith(value, index);
    };
    // A busy kernel has no time for sums. All parts of a kernel are of as many rows.
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

/// A sum over rows that some row kernel holds anyway begins there, with parts of a few rows each; `sum` adds up these.
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

/// Whether a kernel of products may begin this sum of its rows: it sums up parts of them, which are stored.
bool DispatchGroups::sumsRows(Operation *op, const DispatchGroup &group) const {
  auto reduce = dyn_cast<RowReduceOp>(op);
  return reduce && reduce.getKind() == Reduction::sum && traits.rowSums != 0 && group.shape.getRank() == 2 &&
         reduce.getInput().getType() == group.shape && group.shape.getDimSize(1) % traits.rowSums == 0;
}

/// A sum of rows that a kernel of products makes and nobody stores begins there; `sum` adds up the parts.
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
