#include "test/numerics/Harness.h"

#include "compiler/Target/CPU/EmitKernel.h"
#include "compiler/Target/CPU/ObjectEmitter.h"
#include "compiler/Target/GPU/EmitKernel.h"
#include "compiler/Target/GPU/SimtBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "test/numerics/Float8.h"
#include "test/numerics/LoadedCode.h"
#include "test/numerics/SimtInterpreter.h"
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <limits>
#include <optional>
#include <stdexcept>
#include <thread>

using namespace mlir;

namespace moec::test {

namespace {
constexpr size_t kGuard = 64;
constexpr unsigned char kGuardByte = 0xCD;

using Kernel = void (*)(void *const *, int64_t, void *);

// A tensor's bytes between guards. For CPUs it starts one element off a 64-byte line: kernels may only assume alignment
// to the element. Timings are taken on a line, as in the arena of a plan; kernels of GPUs rely on it.
class Buffer {
public:
  Buffer(RankedTensorType tensor, int64_t copies, const Array *init, bool onLine) : type(tensor.getElementType()) {
    count = tensor.getNumElements() * copies;
    elementBytes = type.getIntOrFloatBitWidth() / 8;
    storage.assign(3 * kGuard + count * elementBytes + elementBytes, kGuardByte);
    auto address = reinterpret_cast<uintptr_t>(storage.data()) + kGuard;
    shift = kGuard + llvm::alignTo(address, 64) - address + (onLine ? 0 : elementBytes);
    if (!init) {
      // NaN for floats; for integers something that no id or counter is.
      std::memset(data(), isa<FloatType>(type) ? 0xFF : 0x5A, count * elementBytes);
      return;
    }
    if (init->size() != count)
      throw std::runtime_error("an array has " + std::to_string(init->size()) + " elements, its tensor " +
                               std::to_string(count));
    for (int64_t i = 0; i < count; ++i)
      put(i, init->values[i]);
  }

  unsigned char *data() { return storage.data() + shift; }
  size_t bytes() const { return count * elementBytes; }
  bool guardsHold() const {
    for (size_t i = 0; i < storage.size(); ++i)
      if ((i < size_t(shift) || i >= size_t(shift + count * elementBytes)) && storage[i] != kGuardByte)
        return false;
    return true;
  }
  bool sameBits(const Buffer &other) const {
    return std::memcmp(storage.data() + shift, other.storage.data() + other.shift, count * elementBytes) == 0;
  }

  Array get(std::vector<int64_t> shape) {
    Array array(std::move(shape));
    for (int64_t i = 0; i < count; ++i)
      array.values[i] = value(i);
    return array;
  }

private:
  // To nearest, ties to even.
  static uint16_t toBf16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return std::isnan(value) ? 0x7FC0 : static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
  }
  template <typename T> T read(int64_t i) {
    T result;
    std::memcpy(&result, data() + i * sizeof(T), sizeof(T));
    return result;
  }
  template <typename T> void write(int64_t i, T value) { std::memcpy(data() + i * sizeof(T), &value, sizeof(T)); }
  double value(int64_t i) {
    if (type.isF32())
      return read<float>(i);
    if (type.isF64())
      return read<double>(i);
    if (type.isBF16()) {
      uint32_t bits = uint32_t(read<uint16_t>(i)) << 16;
      float value;
      std::memcpy(&value, &bits, sizeof(value));
      return value;
    }
    if (isa<Float8E4M3FNType>(type))
      return float8ToDouble(read<uint8_t>(i));
    return type.isInteger(32) ? read<int32_t>(i) : static_cast<double>(read<int64_t>(i));
  }
  void put(int64_t i, double value) {
    if (type.isF32())
      write<float>(i, static_cast<float>(value));
    else if (type.isF64())
      write<double>(i, value);
    else if (type.isBF16())
      write<uint16_t>(i, toBf16(static_cast<float>(value)));
    else if (isa<Float8E4M3FNType>(type))
      write<uint8_t>(i, doubleToFloat8(value));
    else if (type.isInteger(32))
      write<int32_t>(i, static_cast<int32_t>(value));
    else
      write<int64_t>(i, static_cast<int64_t>(value));
  }

  Type type;
  int64_t count, elementBytes, shift;
  std::vector<unsigned char> storage;
};

std::vector<int64_t> shapeOf(RankedTensorType type) { return std::vector<int64_t>(type.getShape()); }

// Of this thread's own work: a kernel longer than a time slice is not charged for what else the machine does.
double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}
} // namespace

Array::Array(std::vector<int64_t> dims, double fill) : shape(std::move(dims)) {
  int64_t count = 1;
  for (int64_t dim : shape)
    count *= dim;
  values.assign(count, fill);
}

namespace {
uint64_t splitmix(uint64_t &state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}
} // namespace

Array Array::random(std::vector<int64_t> shape, uint64_t seed, double low, double high) {
  Array array(std::move(shape));
  for (double &value : array.values)
    value = static_cast<float>(low + (high - low) * (splitmix(seed) >> 11) * 0x1.0p-53);
  return array;
}

Array Array::integers(std::vector<int64_t> shape, uint64_t seed, int64_t low, int64_t high) {
  Array array(std::move(shape));
  for (double &value : array.values)
    value = static_cast<double>(low + static_cast<int64_t>(splitmix(seed) % static_cast<uint64_t>(high - low)));
  return array;
}

struct CompiledDispatch::Impl {
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  OwningOpRef<ModuleOp> kernels; // GPU targets: interpreted
  bool onGpu = false;
  moe::DispatchOp dispatch;
  llvm::SmallVector<moe::DispatchParam> params;
  KernelInfo info;                    // the only kernel of a CPU target
  std::vector<KernelInfo> gpuKernels; // in order
  std::optional<LoadedCode> code;
  Kernel kernel = nullptr;
  double milliseconds = 0;
  char indexBase[64] = {};

  struct Memory {
    std::vector<std::unique_ptr<Buffer>> buffers; // inputs and results by parameter; null for states
    std::map<std::string, std::unique_ptr<Buffer>> states;
    std::vector<void *> args;
  };

  Memory fill(const std::vector<Array> &inputs, const std::map<std::string, Array> &given, int64_t copy,
              bool onLine = false) {
    onLine |= onGpu;
    Memory memory;
    size_t nextInput = 0;
    for (auto state : module->getOps<moe::StateOp>()) {
      auto found = given.find(state.getSymName().str());
      memory.states[state.getSymName().str()] = std::make_unique<Buffer>(
          state.getTensorType(), state.getCopies(), found == given.end() ? nullptr : &found->second, onLine);
    }
    for (const auto &[name, array] : given)
      if (!memory.states.count(name))
        throw std::runtime_error("the module has no state '" + name + "'");
    for (const moe::DispatchParam &param : params) {
      memory.buffers.emplace_back();
      if (param.kind == moe::DispatchParam::Kind::State) {
        auto state = module->lookupSymbol<moe::StateOp>(param.state);
        unsigned char *base = memory.states[param.state.getValue().str()]->data();
        memory.args.push_back(base + (param.copy ? copy * state.getCopyBytes() : 0));
        continue;
      }
      if (param.kind == moe::DispatchParam::Kind::Base || param.kind == moe::DispatchParam::Kind::Index) {
        memory.args.push_back(indexBase + (param.copy ? copy : 0));
        continue;
      }
      const Array *init = nullptr;
      if (param.kind == moe::DispatchParam::Kind::Input) {
        if (nextInput >= inputs.size())
          throw std::runtime_error("the dispatch has more tensor operands than the test gave");
        init = &inputs[nextInput++];
      }
      memory.buffers.back() = std::make_unique<Buffer>(param.type, 1, init, onLine);
      memory.args.push_back(memory.buffers.back()->data());
    }
    return memory;
  }

  enum class Order { Forward, Reverse, TwoThreads };
  void launch(Memory &memory, Order order) {
    if (onGpu)
      return interpret(memory, order);
    auto work = [&](int64_t from, int64_t to, int64_t step) {
      auto *scratch = static_cast<unsigned char *>(std::aligned_alloc(64, info.scratchBytes / 64 * 64 + 192));
      for (int64_t group = from; group != to; group += step) {
        std::memset(scratch, 0xFF, info.scratchBytes);
        std::memset(scratch + info.scratchBytes, kGuardByte, kGuard);
        kernel(memory.args.data(), group, scratch);
        for (size_t i = 0; i < kGuard; ++i)
          if (scratch[info.scratchBytes + i] != kGuardByte)
            throw std::runtime_error("the kernel wrote beyond its scratch");
      }
      std::free(scratch);
    };
    int64_t half = info.grid / 2;
    if (order == Order::Forward)
      return work(0, info.grid, 1);
    if (order == Order::Reverse)
      return work(info.grid - 1, -1, -1);
    std::thread other([&] { work(0, half, 1); });
    work(info.grid - 1, half - 1, -1);
    other.join();
  }

  // Kernel after kernel, block after block. Counters at the start of scratch are zero before and after each; the rest
  // starts as NaN.
  void interpret(Memory &memory, Order order) {
    int64_t scratchBytes = 0;
    for (const KernelInfo &kernel : gpuKernels)
      scratchBytes = std::max(scratchBytes, kernel.scratchBytes);
    std::vector<unsigned char> scratch(scratchBytes + 64, 0xFF);
    unsigned char *start = scratch.data() + llvm::offsetToAlignedAddr(scratch.data(), llvm::Align(64));
    int64_t counters = std::min<int64_t>(scratchBytes, gpu::SimtBuilder::kCounterBytes);
    std::memset(start, 0, counters);
    std::vector<void *> arguments = memory.args;
    arguments.push_back(start);
    for (const KernelInfo &kernel : gpuKernels) {
      auto launchOf = [&](const char *name) { return cast<IntegerAttr>(kernel.launch.get(name)).getInt(); };
      SimtInterpreter gpu(*kernels, kernel.symbol, launchOf("threads"), launchOf("shared"));
      gpu.addMemory(start, scratchBytes);
      for (auto &buffer : memory.buffers)
        if (buffer)
          gpu.addMemory(buffer->data(), buffer->bytes());
      for (auto &[name, buffer] : memory.states)
        gpu.addMemory(buffer->data(), buffer->bytes());
      for (int64_t i = 0; i < kernel.grid; ++i)
        gpu.run(arguments, order == Order::Forward ? i : kernel.grid - 1 - i, kernel.grid);
      if (std::any_of(start, start + counters, [](unsigned char byte) { return byte != 0; }))
        throw std::runtime_error("the kernel leaves counters that are not zero");
    }
  }
};

CompiledDispatch::CompiledDispatch(std::string text, const std::string &element, const std::string &targetName)
    : impl(std::make_unique<Impl>()) {
  for (size_t at; (at = text.find("$T")) != std::string::npos;)
    text.replace(at, 2, element);
  MLIRContext &context = impl->context;
  context.disableMultithreading();
  context.loadDialect<moe::MoeDialect, arith::ArithDialect, math::MathDialect, func::FuncDialect, scf::SCFDialect,
                      vector::VectorDialect, LLVM::LLVMDialect, NVVM::NVVMDialect>();
  std::string messages;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    messages += diagnostic.str() + "\n";
    return success();
  });
  auto fail = [&](const std::string &what) { throw std::runtime_error(what + ": " + messages + "\n" + text); };

  impl->module = parseSourceString<ModuleOp>(text, &context);
  if (!impl->module)
    fail("parsing");
  impl->module->walk([&](moe::DispatchOp op) { impl->dispatch = op; });
  if (!impl->dispatch)
    fail("no dispatch");
  impl->params = moe::collectDispatchParams(impl->dispatch);

  // MOEC_NUMERICS_TARGET=x86-64-v3 runs every test with the vectors of another machine.
  const char *other = std::getenv("MOEC_NUMERICS_TARGET");
  std::string name = other && targetName == "native" ? other : targetName;
  double start = now();
  OwningOpRef<ModuleOp> kernels = ModuleOp::create(impl->module->getLoc());
  gpu::GpuTarget gpuTarget = gpu::GpuTarget::get(name);
  cpu::CpuTarget target = cpu::CpuTarget::get(name);
  impl->onGpu = !gpuTarget.arch.empty();
  if (!impl->onGpu && target.triple.empty())
    fail("unknown target");
  gpuTarget.family = nullptr; // the interpreter has none
  if (impl->onGpu) {
    FailureOr<std::vector<KernelInfo>> infos = gpu::emitKernels(impl->dispatch, *kernels, "moec_kernel", gpuTarget);
    if (failed(infos))
      fail("emitting");
    impl->gpuKernels = *infos;
    impl->info = infos->front();
  } else {
    FailureOr<KernelInfo> info = cpu::emitKernel(impl->dispatch, *kernels, "moec_kernel", target);
    if (failed(info))
      fail("emitting");
    impl->info = *info;
  }
  if (std::getenv("MOEC_DUMP_KERNELS"))
    kernels->dump();
  if (failed(verify(*kernels)))
    fail("verifying the kernel");
  if (impl->onGpu) {
    impl->kernels = std::move(kernels);
    return;
  }
  FailureOr<CodeBlob> code = cpu::assembleKernels(*kernels, target, {.useCache = false});
  if (failed(code))
    fail("compiling");
  impl->milliseconds = (now() - start) * 1e3;

  impl->code.emplace(std::move(*code), /*keepFile=*/std::getenv("MOEC_DUMP_KERNELS") != nullptr);
  impl->kernel = impl->code->find<Kernel>(impl->info.symbol);
}

CompiledDispatch::~CompiledDispatch() = default;

int64_t CompiledDispatch::grid() const { return impl->info.grid; }
int64_t CompiledDispatch::scratchBytes() const { return impl->info.scratchBytes; }
double CompiledDispatch::compileMilliseconds() const { return impl->milliseconds; }

Outcome CompiledDispatch::run(const std::vector<Array> &inputs, const std::map<std::string, Array> &states,
                              int64_t copy) const {
  Impl::Memory memory = impl->fill(inputs, states, copy);
  impl->launch(memory, Impl::Order::Forward);
  // One workgroup has one order.
  bool isAlone = impl->onGpu ? llvm::all_of(impl->gpuKernels, [](const KernelInfo &kernel) { return kernel.grid == 1; })
                             : impl->info.grid == 1;
  for (Impl::Order order : {Impl::Order::Reverse, Impl::Order::TwoThreads}) {
    if (isAlone || (impl->onGpu && order == Impl::Order::TwoThreads))
      continue;
    Impl::Memory again = impl->fill(inputs, states, copy);
    impl->launch(again, order);
    for (size_t i = 0; i < memory.buffers.size(); ++i)
      if (memory.buffers[i] && !memory.buffers[i]->sameBits(*again.buffers[i]))
        throw std::runtime_error("the order of workgroups changed operand " + std::to_string(i));
    for (auto &[name, buffer] : memory.states)
      if (!buffer->sameBits(*again.states[name]))
        throw std::runtime_error("the order of workgroups changed state '" + name + "'");
  }
  Outcome outcome;
  for (size_t i = 0; i < memory.buffers.size(); ++i) {
    if (!memory.buffers[i])
      continue;
    if (!memory.buffers[i]->guardsHold())
      throw std::runtime_error("the kernel wrote outside operand " + std::to_string(i));
    if (impl->params[i].kind == moe::DispatchParam::Kind::Result)
      outcome.results.push_back(memory.buffers[i]->get(shapeOf(impl->params[i].type)));
  }
  for (auto &[name, buffer] : memory.states) {
    if (!buffer->guardsHold())
      throw std::runtime_error("the kernel wrote outside state '" + name + "'");
    auto state = impl->module->lookupSymbol<moe::StateOp>(name);
    std::vector<int64_t> shape = shapeOf(state.getTensorType());
    if (state.getCount())
      shape.insert(shape.begin(), state.getCopies());
    outcome.states[name] = buffer->get(shape);
  }
  return outcome;
}

double CompiledDispatch::time(const std::vector<Array> &inputs, const std::map<std::string, Array> &states,
                              int repeats) const {
  Impl::Memory memory = impl->fill(inputs, states, 0, /*onLine=*/true);
  auto *scratch = std::aligned_alloc(64, impl->info.scratchBytes / 64 * 64 + 64);
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repeats; ++i) {
    double start = now();
    for (int64_t group = 0; group < impl->info.grid; ++group)
      impl->kernel(memory.args.data(), group, scratch);
    best = std::min(best, now() - start);
  }
  std::free(scratch);
  return best;
}

std::string difference(const Array &actual, const Array &expected, double tolerance) {
  if (actual.size() != expected.size())
    return "sizes differ: " + std::to_string(actual.size()) + " and " + std::to_string(expected.size());
  double scale = 0;
  for (double value : expected.values)
    if (std::isfinite(value))
      scale = std::max(scale, std::fabs(value));
  if (scale == 0)
    scale = 1;
  double worst = 0;
  int64_t where = -1;
  for (int64_t i = 0; i < actual.size(); ++i) {
    double a = actual.values[i], e = expected.values[i];
    if (a == e || (std::isnan(a) && std::isnan(e)))
      continue;
    double error =
        std::isfinite(a) && std::isfinite(e) ? std::fabs(a - e) / scale : std::numeric_limits<double>::infinity();
    if (error > worst) {
      worst = error;
      where = i;
    }
  }
  if (worst <= tolerance)
    return "";
  char text[256];
  std::snprintf(text, sizeof(text), "element %lld is %.17g, expected %.17g (scaled error %.3g, allowed %.3g)",
                static_cast<long long>(where), actual.values[where], expected.values[where], worst, tolerance);
  return text;
}

double toleranceOf(const std::string &element) { return element == "f64" ? 1e-12 : 1e-5; }

} // namespace moec::test
