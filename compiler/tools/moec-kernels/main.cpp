// Compiles the dispatches of a file one by one: moec-kernels FILE.mlir -o DIR writes their machine code and
// kernels.json with a launch record for each. For tests and measurements of single kernels; plans come from moec.
#include "compiler/Target/All/Targets.h"
#include "compiler/tools/RegisterAll.h"
#include "dialects/Tile/IR/Tile.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace {

llvm::cl::opt<std::string> inputFile(llvm::cl::Positional, llvm::cl::desc("FILE.mlir"), llvm::cl::Required);
llvm::cl::opt<std::string> outputFolder("o", llvm::cl::desc("Folder to write to; none: only compile"));
llvm::cl::opt<std::string> targetName("target", llvm::cl::desc("Machine to compile for"), llvm::cl::init("sm_90a"));
llvm::cl::opt<unsigned> threads("compile-threads", llvm::cl::desc("Threads that assemble"), llvm::cl::init(1));
llvm::cl::opt<bool> verbose("verbose-kernels", llvm::cl::desc("Print what the assembler says of each kernel"));
llvm::cl::opt<bool> strict("strict-kernels", llvm::cl::desc("Spilled registers and slow tensor-core code are errors"));
llvm::cl::opt<bool> printKernels("print-kernels", llvm::cl::desc("Print the kernels before they are lowered"));

llvm::json::Value toJson(Attribute attribute) {
  if (auto integer = dyn_cast<IntegerAttr>(attribute))
    return integer.getInt();
  if (auto text = dyn_cast<StringAttr>(attribute))
    return text.str();
  if (auto numbers = dyn_cast<DenseI64ArrayAttr>(attribute))
    return llvm::json::Array(numbers.asArrayRef());
  if (auto list = dyn_cast<ArrayAttr>(attribute)) {
    llvm::json::Array json;
    for (Attribute element : list)
      json.push_back(toJson(element));
    return json;
  }
  llvm::json::Object json;
  for (NamedAttribute entry : cast<DictionaryAttr>(attribute))
    json[entry.getName().str()] = toJson(entry.getValue());
  return json;
}

llvm::json::Array describeParams(moec::moe::DispatchOp dispatch) {
  using Kind = moec::moe::DispatchParam::Kind;
  llvm::json::Array list;
  for (const moec::moe::DispatchParam &param : moec::moe::collectDispatchParams(dispatch)) {
    if (!param.type)
      continue;
    std::string type;
    llvm::raw_string_ostream(type) << param.type.getElementType();
    StringRef kind = param.kind == Kind::Input ? "input" : param.kind == Kind::State ? "state" : "result";
    list.push_back(llvm::json::Object{{"kind", kind},
                                      {"state", param.state ? param.state.getValue().str() : ""},
                                      {"dtype", type},
                                      {"shape", llvm::json::Array(param.type.getShape())},
                                      {"read", param.isRead},
                                      {"written", param.isWritten}});
  }
  return list;
}

LogicalResult writeFile(const Twine &path, StringRef bytes) {
  std::error_code error;
  llvm::raw_fd_ostream file(path.str(), error);
  file << bytes;
  file.close();
  if (!error && !file.has_error())
    return success();
  llvm::errs() << "error: cannot write " << path << "\n";
  return failure();
}

LogicalResult run(MLIRContext &context) {
  OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(inputFile, &context);
  auto target = moec::createTarget(targetName);
  if (!module)
    return failure();
  if (!target)
    return module->emitError(moec::unknownTarget(targetName));
  OwningOpRef<ModuleOp> kernels = ModuleOp::create(module->getLoc());
  llvm::json::Array list;
  llvm::StringMap<unsigned> numbers;
  WalkResult walk = module->walk([&](moec::moe::DispatchOp dispatch) {
    auto function = dispatch->getParentOfType<mlir::func::FuncOp>();
    std::string symbol = function ? function.getSymName().str() : "kernel";
    if (unsigned number = numbers[symbol]++)
      symbol += "_" + std::to_string(number);
    FailureOr<std::vector<moec::KernelInfo>> made = target->emitKernels(dispatch, *kernels, symbol);
    if (failed(made))
      return WalkResult::interrupt();
    for (const moec::KernelInfo &info : *made) {
      llvm::json::Object record{{"dispatch", symbol},
                                {"symbol", info.symbol},
                                {"grid", info.grid},
                                {"scratch", info.scratchBytes},
                                {"flops", info.flops},
                                {"bytes", info.bytes},
                                {"params", describeParams(dispatch)}};
      if (info.launch)
        record["launch"] = toJson(info.launch);
      list.push_back(std::move(record));
    }
    return WalkResult::advance();
  });
  if (walk.wasInterrupted())
    return failure();
  if (printKernels)
    kernels->print(llvm::outs());
  auto blobs = target->assemble(*kernels, {.threads = threads, .verbose = verbose, .strictKernels = strict});
  if (failed(blobs))
    return failure();
  if (outputFolder.empty())
    return success();
  if (llvm::sys::fs::create_directories(outputFolder)) {
    llvm::errs() << "error: cannot make " << outputFolder << "\n";
    return failure();
  }
  for (const moec::CodeBlob &blob : *blobs) {
    if (failed(writeFile(outputFolder + "/" + blob.name, StringRef(blob.bytes.data(), blob.bytes.size()))))
      return failure();
    for (llvm::json::Value &record : list)
      for (const moec::CodeBlob::Kernel &kernel : blob.kernels)
        if (record.getAsObject()->getString("symbol") == llvm::StringRef(kernel.symbol)) {
          (*record.getAsObject())["module"] = blob.name;
          (*record.getAsObject())["entry"] = kernel.entry;
        }
  }
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(std::move(list));
  return writeFile(outputFolder + "/kernels.json", text);
}

} // namespace

int main(int argc, char **argv) {
  llvm::cl::ParseCommandLineOptions(argc, argv, "compiles single dispatches\n");
  DialectRegistry registry;
  moec::registerAllDialects(registry);
  registry.insert<NVVM::NVVMDialect>();
  MLIRContext context(registry);
  context.loadAllAvailableDialects();
  return succeeded(run(context)) ? 0 : 1;
}
