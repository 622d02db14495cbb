#include "dialects/Moe/Analysis/DispatchParams.h"

using namespace mlir;

namespace moec::moe {

namespace {
void noteState(SmallVectorImpl<DispatchParam> &params, Operation *op, bool reads, bool writes) {
  auto symbol = op->getAttrOfType<FlatSymbolRefAttr>("state");
  BlockArgument copy;
  RankedTensorType type;
  if (auto read = dyn_cast<ReadOp>(op)) {
    type = cast<RankedTensorType>(read.getType());
    copy = dyn_cast_if_present<BlockArgument>(read.getIndex());
  } else if (auto write = dyn_cast<WriteOp>(op)) {
    type = cast<RankedTensorType>(write.getValue().getType());
    copy = dyn_cast_if_present<BlockArgument>(write.getIndex());
  } else {
    auto accumulate = cast<AccumulateOp>(op);
    type = cast<RankedTensorType>(accumulate.getValue().getType());
    copy = dyn_cast_if_present<BlockArgument>(accumulate.getIndex());
  }
  for (DispatchParam &param : params)
    if (param.kind == DispatchParam::Kind::State && param.state == symbol && param.copy == copy) {
      param.isRead |= reads;
      param.isWritten |= writes;
      return;
    }
  DispatchParam param;
  param.kind = DispatchParam::Kind::State;
  param.state = symbol;
  param.copy = copy;
  param.type = type;
  param.isRead = reads;
  param.isWritten = writes;
  params.push_back(param);
}
} // namespace

SmallVector<DispatchParam> collectDispatchParams(DispatchOp dispatch) {
  SmallVector<DispatchParam> params;
  for (auto [index, input] : llvm::enumerate(dispatch.getInputs()))
    if (auto type = dyn_cast<RankedTensorType>(input.getType())) {
      DispatchParam param;
      param.kind = DispatchParam::Kind::Input;
      param.index = static_cast<unsigned>(index);
      param.type = type;
      param.isRead = true;
      params.push_back(param);
    }
  for (Operation &op : *dispatch.getBlock()) {
    if (isa<ReadOp>(op))
      noteState(params, &op, /*reads=*/true, /*writes=*/false);
    else if (isa<WriteOp>(op))
      noteState(params, &op, /*reads=*/false, /*writes=*/true);
    else if (isa<AccumulateOp>(op))
      noteState(params, &op, /*reads=*/true, /*writes=*/true);
  }
  for (auto [index, result] : llvm::enumerate(dispatch.getResults())) {
    DispatchParam param;
    param.kind = DispatchParam::Kind::Result;
    param.index = static_cast<unsigned>(index);
    param.type = cast<RankedTensorType>(result.getType());
    param.isWritten = true;
    params.push_back(param);
  }
  SmallVector<BlockArgument> indices;
  for (auto random : dispatch.getBlock()->getOps<RandomNormalOp>())
    if (auto index = dyn_cast_if_present<BlockArgument>(random.getIndex());
        index && !llvm::is_contained(indices, index))
      indices.push_back(index);
  if (!indices.empty()) {
    DispatchParam base;
    base.kind = DispatchParam::Kind::Base;
    params.push_back(base);
  }
  for (BlockArgument index : indices) {
    DispatchParam param;
    param.kind = DispatchParam::Kind::Index;
    param.index = index.getArgNumber();
    param.copy = index;
    params.push_back(param);
  }
  return params;
}

} // namespace moec::moe
