#include "compiler/Target/Kernel/KernelParts.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/xxhash.h"
#include <atomic>
#include <thread>

using namespace mlir;

namespace moec::kernel {

namespace {

/// `kernel` in a module of its own, with copies of the globals and function declarations that it names.
OwningOpRef<ModuleOp> isolate(LLVM::LLVMFuncOp kernel, const SymbolTable &symbols) {
  llvm::SmallSetVector<Operation *, 4> used;
  kernel.walk([&](Operation *op) {
    if (auto address = dyn_cast<LLVM::AddressOfOp>(op))
      used.insert(symbols.lookup(address.getGlobalName()));
    else if (auto call = dyn_cast<LLVM::CallOp>(op); call && call.getCallee())
      used.insert(symbols.lookup(*call.getCallee()));
  });
  OwningOpRef<ModuleOp> module = ModuleOp::create(kernel.getLoc());
  for (Operation *symbol : used)
    module->push_back(symbol->clone());
  module->push_back(kernel->clone());
  return module;
}

/// "moec_row_12" -> "moec_row". The number of a kernel within its plan must not distinguish it from equal kernels.
StringRef stemOf(StringRef symbol) {
  StringRef stem = symbol.rtrim("0123456789");
  return stem.size() < symbol.size() && stem.ends_with("_") ? stem.drop_back() : symbol;
}

/// Everything on which the machine code depends, as text.
std::string describe(const llvm::Module &module, StringRef machine) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << machine << "\nLLVM " LLVM_VERSION_STRING "\n";
  module.print(stream, nullptr);
  return text;
}

} // namespace

FailureOr<std::vector<std::unique_ptr<KernelPart>>> cutKernels(ModuleOp kernels, StringRef machine) {
  SymbolTable symbols(kernels);
  std::vector<std::unique_ptr<KernelPart>> parts;
  llvm::StringMap<KernelPart *> byKey;
  for (auto kernel : kernels.getOps<LLVM::LLVMFuncOp>()) {
    if (kernel.isExternal())
      continue;
    std::string symbol = kernel.getName().str(), stem = stemOf(symbol).str();
    auto part = std::make_unique<KernelPart>(kernel.getLoc());
    OwningOpRef<ModuleOp> alone = isolate(kernel, symbols);
    cast<LLVM::LLVMFuncOp>(alone->getBody()->back()).setName(stem);
    part->module = translateModuleToLLVMIR(*alone, part->context, stem);
    if (!part->module)
      return emitError(part->loc) << "internal: kernel '" << symbol << "' cannot be translated to LLVM IR";
    part->key = describe(*part->module, machine);
    KernelPart *&known = byKey[part->key];
    if (known) {
      known->kernels.push_back({symbol, known->kernels.front().entry});
      continue;
    }
    known = part.get();
    std::string entry = stem + "_" + llvm::utohexstr(llvm::xxh3_64bits(part->key), /*LowerCase=*/true, /*Width=*/16);
    part->module->getFunction(stem)->setName(entry);
    part->kernels = {{symbol, entry}};
    parts.push_back(std::move(part));
  }
  return parts;
}

LogicalResult compileParts(ArrayRef<std::unique_ptr<KernelPart>> parts, unsigned threads, const KernelCache &cache,
                           llvm::function_ref<void(KernelPart &)> compile) {
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t i = next++; i < parts.size(); i = next++) {
      KernelPart &part = *parts[i];
      if (auto found = cache.find(part.key)) {
        part.compiled = std::move(*found);
        part.wasCached = true;
      } else {
        compile(part);
        if (part.error.empty())
          cache.store(part.key, part.compiled);
      }
      part.module.reset();
    }
  };
  std::vector<std::thread> workers;
  for (unsigned i = 1; i < std::min<size_t>(threads, parts.size()); ++i)
    workers.emplace_back(work);
  work();
  for (std::thread &worker : workers)
    worker.join();
  if (!llvm::all_of(parts, [](const auto &part) { return part->wasCached; }))
    cache.trim();
  for (const std::unique_ptr<KernelPart> &part : parts)
    if (!part->error.empty())
      return emitError(part->loc) << "kernel '" << part->kernels.front().symbol << "': " << part->error;
  return success();
}

} // namespace moec::kernel
