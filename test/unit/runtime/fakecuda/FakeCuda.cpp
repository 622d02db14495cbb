// A GPU driver that pretends: device memory is host memory filled with rubbish, modules are shared objects of the
// processor, and work waits in a queue until somebody waits for it, so that a host that reuses memory too early shows.
#include "FakeCuda.h"

#include "runtime/hal/cuda/CudaTypes.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <elf.h>
#include <functional>
#include <memory>
#include <sstream>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

using namespace moec::rt::cu;

#define MOEC_CUDA(member, symbol, parameters) extern "C" Code symbol parameters;
#include "runtime/hal/cuda/CudaSymbols.inc"
#undef MOEC_CUDA

namespace {

using moec::rt::test::FakeCuda;
using Work = std::function<void()>;

constexpr Code kInvalidValue = 1, kInvalidPtx = 218, kCaptureUnsupported = 900;

FakeCuda fake;
std::deque<Work> queue;
uint64_t enqueued = 0, done = 0;
std::vector<Work> *capture = nullptr; // where work goes while a stream is captured

struct FakeEvent {
  uint64_t position = 0;
};
struct FakeFunction {
  std::string name;
  void (*code)(void *const *, int64_t, void *) = nullptr;
};
struct FakeModule {
  void *library = nullptr;
  int file = -1;
  std::vector<std::unique_ptr<FakeFunction>> functions;
};

template <typename... Parts> Code called(const char *name, const Parts &...parts) {
  std::ostringstream text;
  text << name;
  ((text << ' ' << parts), ...);
  fake.calls.push_back(text.str());
  if (fake.failingCall == name && fake.failAfter-- <= 0)
    return fake.failCode;
  return kSuccess;
}

void enqueue(Work work) {
  if (capture) {
    capture->push_back(std::move(work));
    return;
  }
  queue.push_back(std::move(work));
  ++enqueued;
}

void runUntil(uint64_t position) {
  while (done < position) {
    Work work = std::move(queue.front());
    queue.pop_front();
    work();
    ++done;
  }
}

/// Where in its allocation a pointer points; tests know arena offsets, not addresses.
std::string at(uint64_t address) {
  auto next = fake.memory.upper_bound(address);
  if (next == fake.memory.begin())
    return "outside";
  --next;
  uint64_t offset = address - next->first;
  return offset < next->second ? "@" + std::to_string(offset) : "outside";
}

uint64_t imageBytes(const void *image) {
  Elf64_Ehdr header;
  std::memcpy(&header, image, sizeof header);
  return header.e_shoff + uint64_t{header.e_shnum} * header.e_shentsize;
}

template <typename T> std::string listed(const T *values, uint32_t count) {
  std::string text;
  for (uint32_t i = 0; i < count; ++i)
    text += (i ? "," : "") + std::to_string(values[i]);
  return text;
}

} // namespace

extern "C" FakeCuda *fakecudaControl() { return &fake; }

#define CALLED(...)                                                                                                    \
  if (Code code = called(__func__, ##__VA_ARGS__); code != kSuccess)                                                   \
  return code

Code cuInit(unsigned) {
  CALLED();
  return fake.devices > 0 ? kSuccess : kNoDevice;
}
Code cuDriverGetVersion(int *version) {
  *version = 13000;
  return kSuccess;
}
Code cuGetErrorName(Code code, const char **name) {
  *name = code == 719 ? "CUDA_ERROR_LAUNCH_FAILED" : code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_FAKE";
  return kSuccess;
}
Code cuGetErrorString(Code, const char **text) {
  *text = "pretended";
  return kSuccess;
}
Code cuDeviceGetCount(int *count) {
  *count = fake.devices;
  return kSuccess;
}
Code cuDeviceGet(DeviceId *device, int ordinal) {
  CALLED();
  *device = ordinal;
  return kSuccess;
}
Code cuDeviceGetName(char *name, int length, DeviceId) {
  std::strncpy(name, "Pretended GPU", static_cast<size_t>(length));
  return kSuccess;
}
Code cuDeviceGetAttribute(int *value, int attribute, DeviceId) {
  const std::map<int, int> values = {
      {kCapabilityMajor, fake.major}, {kCapabilityMinor, fake.minor}, {kSharedPerBlockOptin, fake.sharedPerBlock},
      {kMultiprocessors, 132},        {kMemoryClockRateKHz, 1000000}, {kMemoryBusBits, 4096}};
  auto found = values.find(attribute);
  *value = found == values.end() ? 0 : found->second;
  return kSuccess;
}
Code cuDeviceGetPCIBusId(char *id, int, DeviceId) {
  std::strcpy(id, "0000:00:00.0");
  return kSuccess;
}
Code cuDevicePrimaryCtxRetain(Context *context, DeviceId) {
  CALLED();
  ++fake.contextsAlive;
  *context = reinterpret_cast<Context>(&fake);
  return kSuccess;
}
Code cuDevicePrimaryCtxRelease_v2(DeviceId) {
  --fake.contextsAlive;
  return kSuccess;
}
Code cuCtxSetCurrent(Context) {
  CALLED();
  return kSuccess;
}
Code cuMemGetInfo_v2(size_t *free, size_t *total) {
  CALLED();
  *free = fake.freeBytes;
  *total = fake.totalBytes;
  return kSuccess;
}
Code cuMemAlloc_v2(Pointer *pointer, size_t bytes) {
  CALLED(bytes);
  void *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(memory, 0xCD, bytes);
  *pointer = reinterpret_cast<Pointer>(memory);
  fake.memory[*pointer] = bytes;
  uint64_t sum = 0;
  for (auto &[address, size] : fake.memory)
    sum += size;
  fake.mostBytes = std::max(fake.mostBytes, sum);
  return kSuccess;
}
Code cuMemFree_v2(Pointer pointer) {
  runUntil(enqueued);
  fake.memory.erase(pointer);
  std::free(reinterpret_cast<void *>(pointer));
  return kSuccess;
}
Code cuMemHostAlloc(void **pointer, size_t bytes, unsigned) {
  CALLED(bytes);
  *pointer = std::malloc(bytes);
  ++fake.pinnedAlive;
  return kSuccess;
}
Code cuMemFreeHost(void *pointer) {
  --fake.pinnedAlive;
  std::free(pointer);
  return kSuccess;
}
Code cuMemcpyHtoDAsync_v2(Pointer dst, const void *src, size_t bytes, Stream) {
  CALLED(at(dst), bytes);
  enqueue([=] { std::memcpy(reinterpret_cast<void *>(dst), src, bytes); });
  return kSuccess;
}
Code cuMemcpyDtoHAsync_v2(void *dst, Pointer src, size_t bytes, Stream) {
  CALLED(at(src), bytes);
  enqueue([=] { std::memcpy(dst, reinterpret_cast<void *>(src), bytes); });
  return kSuccess;
}
Code cuMemcpyDtoDAsync_v2(Pointer dst, Pointer src, size_t bytes, Stream) {
  CALLED(at(dst), at(src), bytes);
  enqueue([=] { std::memcpy(reinterpret_cast<void *>(dst), reinterpret_cast<void *>(src), bytes); });
  return kSuccess;
}
Code cuMemsetD8Async(Pointer dst, unsigned char value, size_t bytes, Stream) {
  CALLED(at(dst), int(value), bytes);
  enqueue([=] { std::memset(reinterpret_cast<void *>(dst), value, bytes); });
  return kSuccess;
}
Code cuStreamCreate(Stream *stream, unsigned) {
  CALLED();
  ++fake.streamsAlive;
  *stream = reinterpret_cast<Stream>(&queue);
  return kSuccess;
}
Code cuStreamDestroy_v2(Stream) {
  --fake.streamsAlive;
  return kSuccess;
}
Code cuStreamSynchronize(Stream) {
  CALLED();
  if (capture)
    return kCaptureUnsupported;
  runUntil(enqueued);
  return kSuccess;
}
Code cuStreamBeginCapture_v2(Stream, int) {
  CALLED();
  capture = new std::vector<Work>();
  return kSuccess;
}
Code cuStreamEndCapture(Stream, Graph *graph) {
  CALLED();
  *graph = reinterpret_cast<Graph>(std::exchange(capture, nullptr));
  return kSuccess;
}
Code cuGraphInstantiateWithFlags(GraphExec *exec, Graph graph, unsigned long long) {
  CALLED(reinterpret_cast<std::vector<Work> *>(graph)->size());
  ++fake.graphsAlive;
  *exec = reinterpret_cast<GraphExec>(new std::vector<Work>(*reinterpret_cast<std::vector<Work> *>(graph)));
  return kSuccess;
}
Code cuGraphUpload(GraphExec, Stream) { return kSuccess; }
Code cuGraphLaunch(GraphExec exec, Stream) {
  CALLED();
  auto *works = reinterpret_cast<std::vector<Work> *>(exec);
  enqueue([works] {
    for (const Work &work : *works)
      work();
  });
  return kSuccess;
}
Code cuGraphExecDestroy(GraphExec exec) {
  if (exec)
    --fake.graphsAlive;
  delete reinterpret_cast<std::vector<Work> *>(exec);
  return kSuccess;
}
Code cuGraphDestroy(Graph graph) {
  delete reinterpret_cast<std::vector<Work> *>(graph);
  return kSuccess;
}
Code cuEventCreate(Event *event, unsigned) {
  CALLED();
  ++fake.eventsAlive;
  *event = reinterpret_cast<Event>(new FakeEvent());
  return kSuccess;
}
Code cuEventRecord(Event event, Stream) {
  CALLED();
  enqueue([] {});
  reinterpret_cast<FakeEvent *>(event)->position = enqueued;
  return kSuccess;
}
Code cuEventSynchronize(Event event) {
  CALLED();
  runUntil(reinterpret_cast<FakeEvent *>(event)->position);
  return kSuccess;
}
Code cuEventElapsedTime(float *milliseconds, Event begin, Event end) {
  // One piece of work takes a millisecond.
  *milliseconds =
      static_cast<float>(reinterpret_cast<FakeEvent *>(end)->position - reinterpret_cast<FakeEvent *>(begin)->position);
  return kSuccess;
}
Code cuEventDestroy_v2(Event event) {
  --fake.eventsAlive;
  delete reinterpret_cast<FakeEvent *>(event);
  return kSuccess;
}
Code cuModuleLoadDataEx(Module *module, const void *image, unsigned count, int *options, void **values) {
  CALLED();
  if (std::memcmp(image, ELFMAG, SELFMAG) != 0) {
    for (unsigned i = 0; i < count; ++i)
      if (options[i] == kJitErrorLog)
        std::strcpy(static_cast<char *>(values[i]), "ptxas fatal: unexpected rubbish\n");
    return std::strstr(static_cast<const char *>(image), ".version 99") ? kUnsupportedPtxVersion : kInvalidPtx;
  }
  auto made = std::make_unique<FakeModule>();
  made->file = ::memfd_create("fakecuda", 0);
  if (::write(made->file, image, imageBytes(image)) < 0)
    return kInvalidValue;
  made->library = ::dlopen(("/proc/self/fd/" + std::to_string(made->file)).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!made->library)
    return kInvalidValue;
  ++fake.modulesAlive;
  *module = reinterpret_cast<Module>(made.release());
  return kSuccess;
}
Code cuModuleUnload(Module module) {
  --fake.modulesAlive;
  auto *made = reinterpret_cast<FakeModule *>(module);
  ::dlclose(made->library);
  ::close(made->file);
  delete made;
  return kSuccess;
}
Code cuModuleGetFunction(Function *function, Module module, const char *name) {
  CALLED(name);
  auto *made = reinterpret_cast<FakeModule *>(module);
  void *symbol = ::dlsym(made->library, name);
  if (!symbol)
    return kNotFound;
  auto found = std::make_unique<FakeFunction>();
  found->name = name;
  found->code = reinterpret_cast<decltype(found->code)>(symbol);
  *function = reinterpret_cast<Function>(found.get());
  made->functions.push_back(std::move(found));
  return kSuccess;
}
Code cuFuncSetAttribute(Function function, int attribute, int value) {
  CALLED(reinterpret_cast<FakeFunction *>(function)->name, attribute, value);
  return kSuccess;
}
Code cuFuncGetAttribute(int *value, int attribute, Function) {
  *value = attribute == kMaxThreadsPerBlock ? fake.threadsPerBlock : 0;
  return kSuccess;
}
Code cuLaunchKernel(Function function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY,
                    unsigned blockZ, unsigned shared, Stream, void **params, void **) {
  auto *kernel = reinterpret_cast<FakeFunction *>(function);
  auto operands = static_cast<size_t>(fake.kernelParams.at(kernel->name));
  std::vector<void *> args(operands + 1);
  std::string places;
  for (size_t i = 0; i <= operands; ++i) {
    std::memcpy(&args[i], params[i], sizeof(void *));
    places += (i ? "," : "") + at(reinterpret_cast<uint64_t>(args[i]));
  }
  CALLED(kernel->name, "grid", gridX, gridY, gridZ, "block", blockX, blockY, blockZ, "shared", shared, "params",
         places);
  enqueue([=]() mutable {
    for (unsigned block = 0; block < gridX; ++block)
      kernel->code(args.data(), block, args.back());
  });
  return kSuccess;
}
Code cuTensorMapEncodeTiled(TensorMap *map, int type, uint32_t rank, void *address, const uint64_t *dims,
                            const uint64_t *strides, const uint32_t *box, const uint32_t *elementStrides,
                            int interleave, int swizzle, int promotion, int fill) {
  CALLED("type", type, "at", at(reinterpret_cast<uint64_t>(address)), "dims", listed(dims, rank), "strides",
         listed(strides, rank - 1), "box", listed(box, rank), "steps", listed(elementStrides, rank), "interleave",
         interleave, "swizzle", swizzle, "promotion", promotion, "fill", fill);
  map->words[0] = reinterpret_cast<uint64_t>(address);
  return kSuccess;
}
