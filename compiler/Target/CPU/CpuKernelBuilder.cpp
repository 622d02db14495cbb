#include "compiler/Target/CPU/CpuKernelBuilder.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;

namespace moec::cpu {

KernelBuilder::KernelBuilder(ModuleOp module, Location loc, StringRef symbol, unsigned numParams,
                             const CpuTarget &target)
    : kernel::KernelBuilder(loc, target.vectorBytes), target(target) {
  b.setInsertionPointToEnd(module.getBody());
  Type pointer = LLVM::LLVMPointerType::get(b.getContext());
  auto function = func::FuncOp::create(b, symbol, b.getFunctionType({pointer, b.getI64Type(), pointer}, {}));
  Block *entry = function.addEntryBlock();
  b.setInsertionPointToStart(entry);
  group = entry->getArgument(1);
  scratchBase = entry->getArgument(2);
  for (unsigned i = 0; i < numParams; ++i)
    params.push_back(load(pointer, entry->getArgument(0), i64(i)));
}

void KernelBuilder::finish() { func::ReturnOp::create(b); }

Value KernelBuilder::scratch(int64_t bytes) {
  Value pointer = at(scratchBase, i64(scratchUsed), b.getI8Type());
  scratchUsed += llvm::alignTo(bytes, 64);
  return pointer;
}

} // namespace moec::cpu
