#include "compiler/Conversion/MoeToPlan/KernelTable.h"

#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace moec {

namespace {

/// Two dispatches with the same key share a kernel. The key holds everything except the names of states and the
/// selected copies, which are pointers in a kernel.
std::string keyOf(moe::DispatchOp dispatch, ArrayRef<moe::DispatchParam> params) {
  std::string key;
  llvm::raw_string_ostream out(key);
  out << dispatch.getKind() << "(";
  for (const moe::DispatchParam &param : params)
    out << param.type << (param.isWritten ? "w" : "") << ",";
  out << ")";
  llvm::DenseMap<Value, unsigned> numbers;
  unsigned nextTensor = 0;
  for (BlockArgument argument : dispatch.getBlock()->getArguments())
    if (!argument.getType().isIndex())
      numbers[argument] = nextTensor++;
  for (Operation &op : *dispatch.getBlock()) {
    out << op.getName() << " ";
    auto access = dyn_cast<moe::StateAccessOpInterface>(op);
    BlockArgument copy;
    for (Value operand : op.getOperands())
      if (operand.getType().isIndex())
        copy = dyn_cast<BlockArgument>(operand);
    if (access)
      for (auto [position, param] : llvm::enumerate(params))
        if (param.kind == moe::DispatchParam::Kind::State && param.state == access.getStateAttr() && param.copy == copy)
          out << "#" << position;
    for (NamedAttribute attr : op.getAttrDictionary())
      if (attr.getName() != "state" && !attr.getName().getValue().starts_with("moe."))
        out << " " << attr.getName().getValue() << "=" << attr.getValue();
    for (Value operand : op.getOperands())
      if (!operand.getType().isIndex())
        out << " %" << numbers.lookup(operand);
    for (Region &region : op.getRegions())
      for (Block &block : region) {
        out << "{" << block.getNumArguments() << " ";
        llvm::DenseMap<Value, unsigned> inner;
        unsigned next = 0;
        for (BlockArgument argument : block.getArguments())
          inner[argument] = next++;
        for (Operation &scalar : block) {
          out << scalar.getName() << scalar.getAttrDictionary();
          for (Value operand : scalar.getOperands())
            out << " " << inner.lookup(operand);
          for (Value result : scalar.getResults()) {
            inner[result] = next++;
            out << result.getType();
          }
          out << ";";
        }
        out << "}";
      }
    for (Value result : op.getResults()) {
      numbers[result] = nextTensor++;
      out << ":" << result.getType();
    }
    out << "\n";
  }
  return key;
}

/// "matmul + map + accumulate": the text for tables.
std::string summarize(moe::DispatchOp dispatch) {
  std::string text;
  for (Operation &op : *dispatch.getBlock()) {
    if (isa<moe::ReadOp, moe::CastOp, moe::YieldOp>(op) || op.hasTrait<OpTrait::ConstantLike>())
      continue;
    StringRef name = op.getName().stripDialect();
    if (!text.empty())
      text += " + ";
    text += name;
  }
  return text;
}

} // namespace

FailureOr<KernelTable::Kernels> KernelTable::get(moe::DispatchOp dispatch) {
  SmallVector<moe::DispatchParam> params = moe::collectDispatchParams(dispatch);
  std::string key = keyOf(dispatch, params);
  if (auto found = known.find(key); found != known.end())
    return found->second;
  std::string symbol = ("moec_" + dispatch.getKind() + "_" + Twine(known.size())).str();
  FailureOr<std::vector<KernelInfo>> emitted = target.emitKernels(dispatch, kernels, symbol);
  if (failed(emitted))
    return failure();
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  Kernels &made = known[key];
  for (const KernelInfo &info : *emitted)
    made.push_back(plan::KernelOp::create(b, dispatch.getLoc(), info.symbol, static_cast<int64_t>(params.size()),
                                          info.grid, info.scratchBytes, static_cast<int64_t>(info.flops),
                                          static_cast<int64_t>(info.bytes), summarize(dispatch), dispatch.getNoteAttr(),
                                          info.launch));
  return made;
}

} // namespace moec
