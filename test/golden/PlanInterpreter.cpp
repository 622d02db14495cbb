#include "test/golden/PlanInterpreter.h"

#include "compiler/Conversion/MoeToPlan/Passes.h"
#include "compiler/Target/CPU/ObjectEmitter.h"
#include "compiler/tools/RegisterAll.h"
#include "dialects/Moe/Transforms/Passes.h"
#include "dialects/Plan/IR/Plan.h"
#include "dialects/Plan/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "test/numerics/LoadedCode.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <stdexcept>

using namespace mlir;

namespace moec::test {

namespace {

using Kernel = void (*)(void *const *, int64_t, void *);
constexpr int64_t kArenaAlignment = 64;

} // namespace

struct PlanInterpreter::Impl {
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  std::optional<LoadedCode> code;
  unsigned char *arena = nullptr;
  int64_t stateBytes = 0, arenaBytes = 0;
  struct Entry {
    Kernel run;
    int64_t grid;
    unsigned char *scratch;
  };
  std::map<std::string, Entry> kernels;

  /// Offsets of buffers and values of indices, for the function that runs.
  using Values = llvm::DenseMap<Value, int64_t>;

  ~Impl() {
    for (auto &[name, kernel] : kernels)
      std::free(kernel.scratch);
    std::free(arena);
  }

  void lower(PassManager &pm) {
    OpPassManager &function = pm.nest<func::FuncOp>();
    function.addPass(moe::createMoeDifferentiate());
    function.addPass(createCanonicalizerPass());
    function.addPass(createCSEPass());
    function.addPass(moe::createMoeDecompose());
    function.addPass(createCanonicalizerPass());
    function.addPass(createCSEPass());
    function.addPass(moe::createMoeFormDispatches());
    pm.addPass(createMoeToPlan());
    pm.addPass(plan::createPlace());
    pm.addPass(plan::createVerifyPlacement());
  }

  void addKernels() {
    for (auto kernel : module->getOps<plan::KernelOp>()) {
      std::string name = kernel.getSymName().str();
      auto bytes = plan::alignUp(kernel.getScratch() + 1);
      kernels[name] = {code->find<Kernel>(name), static_cast<int64_t>(kernel.getGrid()),
                       static_cast<unsigned char *>(std::aligned_alloc(kArenaAlignment, bytes))};
    }
  }

  plan::StateOp state(const std::string &name) {
    auto found = module->lookupSymbol<plan::StateOp>(name);
    if (!found)
      throw std::runtime_error("no state " + name);
    return found;
  }

  void launch(plan::LaunchOp op, const Values &values) {
    const Entry &kernel = kernels.at(op.getKernel().str());
    std::vector<void *> arguments;
    for (Value operand : op.getOperands())
      arguments.push_back(arena + values.lookup(operand));
    for (int64_t group = 0; group < kernel.grid; ++group)
      kernel.run(arguments.data(), group, kernel.scratch);
  }

  void run(Block &block, Values &values) {
    auto bytes = [](Value buffer) { return cast<plan::BufferType>(buffer.getType()).getBytes(); };
    for (Operation &op : block) {
      if (auto address = dyn_cast<plan::AddressOp>(op)) {
        values[address.getResult()] = *state(address.getState().str()).getOffset();
      } else if (auto alloc = dyn_cast<plan::AllocOp>(op)) {
        values[alloc.getResult()] = *alloc.getOffset();
      } else if (auto slice = dyn_cast<plan::SliceOp>(op)) {
        int64_t index = slice.getIndex() ? values.lookup(slice.getIndex()) : 0;
        values[slice.getResult()] = values.lookup(slice.getSource()) + slice.getOffset() + slice.getStride() * index;
      } else if (auto kernel = dyn_cast<plan::LaunchOp>(op)) {
        launch(kernel, values);
      } else if (auto fill = dyn_cast<plan::FillOp>(op)) {
        std::memset(arena + values.lookup(fill.getDst()), 0, bytes(fill.getDst()));
      } else if (auto copy = dyn_cast<plan::CopyOp>(op)) {
        std::memcpy(arena + values.lookup(copy.getDst()), arena + values.lookup(copy.getSrc()), bytes(copy.getDst()));
      } else if (auto repeat = dyn_cast<plan::RepeatOp>(op)) {
        auto count = static_cast<int64_t>(repeat.getCount());
        for (int64_t i = 0; i < count; ++i) {
          values[repeat.getBody().getArgument(0)] = repeat.getReverse() ? count - 1 - i : i;
          run(repeat.getBody().front(), values);
        }
      } else {
        throw std::runtime_error("an op that the interpreter does not know: " + op.getName().getStringRef().str());
      }
    }
  }
};

PlanInterpreter::PlanInterpreter(const std::string &text) : impl(std::make_unique<Impl>()) {
  DialectRegistry registry;
  registerAllDialects(registry);
  impl->context.appendDialectRegistry(registry);
  impl->context.loadAllAvailableDialects();
  impl->context.disableMultithreading();
  std::string messages;
  ScopedDiagnosticHandler handler(&impl->context, [&](Diagnostic &diagnostic) {
    llvm::raw_string_ostream(messages) << diagnostic.getLocation() << ": " << diagnostic << "\n";
    return success();
  });
  auto fail = [&](const std::string &what) { throw std::runtime_error(what + ": " + messages); };
  impl->module = parseSourceString<ModuleOp>(text, &impl->context);
  if (!impl->module)
    fail("parsing");
  PassManager pm(&impl->context);
  impl->lower(pm);
  if (failed(pm.run(*impl->module)))
    fail("lowering");
  if (std::getenv("MOEC_DUMP_PLAN"))
    impl->module->dump();
  auto kernels = impl->module->lookupSymbol<ModuleOp>(kernelModuleName);
  FailureOr<CodeBlob> code = cpu::assembleKernels(kernels, cpu::CpuTarget::get("native"), {.threads = 2});
  if (failed(code))
    fail("compiling");
  impl->code.emplace(std::move(*code));
  impl->addKernels();
  impl->stateBytes = cast<IntegerAttr>((*impl->module)->getAttr("plan.state_bytes")).getInt();
  impl->arenaBytes = cast<IntegerAttr>((*impl->module)->getAttr("plan.arena_bytes")).getInt();
  impl->arena = static_cast<unsigned char *>(std::aligned_alloc(kArenaAlignment, impl->arenaBytes + kArenaAlignment));
  std::memset(impl->arena, 0, impl->stateBytes);
}

PlanInterpreter::~PlanInterpreter() = default;

void PlanInterpreter::call(const std::string &function) {
  auto found = impl->module->lookupSymbol<plan::FuncOp>(function);
  if (!found)
    throw std::runtime_error("no function " + function);
  std::memset(impl->arena + impl->stateBytes, 0xFF, impl->arenaBytes - impl->stateBytes);
  Impl::Values values;
  impl->run(found.getBody().front(), values);
}

double *PlanInterpreter::floats(const std::string &state) {
  return reinterpret_cast<double *>(impl->arena + *impl->state(state).getOffset());
}

int32_t *PlanInterpreter::ints(const std::string &state) {
  return reinterpret_cast<int32_t *>(impl->arena + *impl->state(state).getOffset());
}

int64_t PlanInterpreter::elements(const std::string &state) const {
  plan::StateOp found = impl->state(state);
  return found.getTensorType().getNumElements() * found.getCount();
}

int64_t PlanInterpreter::numKernels() const { return static_cast<int64_t>(impl->kernels.size()); }

int64_t PlanInterpreter::tileRows() { return cpu::CpuTarget::get("native").tileRows; }

} // namespace moec::test
