#include "dialects/Moe/Analysis/DispatchParams.h"

using namespace mlir;

namespace moec::moe {

namespace {
void noteState(SmallVectorImpl<DispatchParam> &params, StateAccessOpInterface access) {
  FlatSymbolRefAttr symbol = access.getStateAttr();
  auto copy = dyn_cast_if_present<BlockArgument>(access.getIndex());
  Value stored = access.getStored();
  Value accessed = stored ? stored : Value(access->getResult(0));
  auto type = cast<RankedTensorType>(accessed.getType());
  bool reads = !stored || access.accumulates(), writes = static_cast<bool>(stored);
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
  for (Operation &op : *dispatch.getBlock())
    if (auto access = dyn_cast<StateAccessOpInterface>(op))
      noteState(params, access);
  for (auto [index, result] : llvm::enumerate(dispatch.getResults())) {
    DispatchParam param;
    param.kind = DispatchParam::Kind::Result;
    param.index = static_cast<unsigned>(index);
    param.type = cast<RankedTensorType>(result.getType());
    param.isWritten = true;
    params.push_back(param);
  }
  SmallVector<BlockArgument> indices;
  for (Operation &op : *dispatch.getBlock())
    for (Value operand : op.getOperands())
      if (auto index = dyn_cast<BlockArgument>(operand);
          index && index.getType().isIndex() && !isa<StateAccessOpInterface>(op) && !llvm::is_contained(indices, index))
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
