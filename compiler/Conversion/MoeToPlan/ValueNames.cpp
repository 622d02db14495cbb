#include "compiler/Conversion/MoeToPlan/ValueNames.h"

#include "dialects/Moe/Analysis/Values.h"
#include "dialects/Plan/IR/Plan.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace moec {

namespace {
/// The section of the spec that an op comes from, with dots: "attention", "losses.router_z".
std::string sectionOf(Location loc) {
  std::string section;
  loc->walk([&](Location part) {
    auto name = dyn_cast<NameLoc>(part);
    if (!name || !name.getName().getValue().starts_with("/"))
      return WalkResult::advance();
    section = llvm::join(llvm::split(name.getName().getValue().drop_front(), '/'), ".");
    return WalkResult::interrupt();
  });
  if (StringRef(section).starts_with("model."))
    section = section.substr(StringRef("model.").size());
  return section.empty() ? "model" : section;
}
} // namespace

// The name of a map says little, so the name is that of the op whose result the map reads.
std::string describeValue(Value value, SymbolTable &states) {
  value = moe::underReshapes(value);
  Operation *op = value.getDefiningOp();
  if (auto dispatch = dyn_cast_if_present<moe::DispatchOp>(op)) {
    Operation *maker =
        moe::underCasts(dispatch.getYield().getValues()[cast<OpResult>(value).getResultNumber()]).getDefiningOp();
    op = maker ? maker : op;
    while (maker && isa<moe::MapOp>(maker)) {
      Operation *next = nullptr;
      for (Value operand : maker->getOperands())
        if (Operation *producer = moe::underCasts(operand).getDefiningOp();
            producer && !producer->hasTrait<OpTrait::ConstantLike>() && !next)
          next = producer;
      if ((maker = next) && !isa<moe::ReadOp>(maker))
        op = maker;
    }
  }
  if (!op)
    return "layer_input"; // carried into the body of a repeat
  // A product has the name of its weights: "attention.q".
  if (moe::isProduct(op))
    if (auto weights = moe::underCasts(op->getOperand(1)).getDefiningOp<moe::ReadOp>()) {
      StringRef name = states.lookup<plan::StateOp>(weights.getState()).getName();
      name.consume_front("copy.");
      name.consume_front("layers.{}.");
      return name.str();
    }
  return sectionOf(op->getLoc()) + "." + op->getName().stripDialect().str();
}

} // namespace moec
