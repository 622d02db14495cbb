#include "runtime/hal/cpu/WorkerPool.h"

#include <algorithm>
#include <cstring>

namespace moec::rt {

/// Kernels keep small tiles on the stack; this is far more than they use and no more than the usual default.
static constexpr size_t kStackBytes = 8u << 20;

/// Spins before sleeping, because launches follow each other within microseconds; few enough to do no harm on a shared
/// core.
static constexpr int kSpins = 2000;

static void pauseCpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Waits until `value` is no longer `old`.
static uint32_t waitChange(std::atomic<uint32_t> &value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    uint32_t now = value.load(std::memory_order_acquire);
    if (now != old)
      return now;
    pauseCpu();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

Result<std::unique_ptr<WorkerPool>> WorkerPool::create(unsigned threads) {
  std::unique_ptr<WorkerPool> pool(new WorkerPool(threads));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  int failure = 0;
  for (unsigned i = 1; i < threads && failure == 0; ++i) {
    auto worker = std::make_unique<Worker>(Worker{pool.get(), i, {}});
    failure = pthread_create(&worker->handle, &attributes, enter, worker.get());
    if (failure == 0)
      pool->workers.push_back(std::move(worker));
  }
  pthread_attr_destroy(&attributes);
  if (failure != 0)
    return Status::error("MOEC-P011", "", "cannot start ", threads, " threads: ", std::strerror(failure));
  return pool;
}

WorkerPool::~WorkerPool() {
  stopping = true;
  generation.fetch_add(1, std::memory_order_release);
  generation.notify_all();
  for (auto &worker : workers)
    pthread_join(worker->handle, nullptr);
}

void *WorkerPool::enter(void *worker) {
  auto *self = static_cast<Worker *>(worker);
  self->pool->loop(self->index);
  return nullptr;
}

void WorkerPool::loop(unsigned index) {
  uint32_t seen = 0;
  while (true) {
    seen = waitChange(generation, seen);
    if (stopping)
      return;
    runPart(index);
    if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1)
      pending.notify_one();
  }
}

void WorkerPool::runPart(unsigned index) {
  int64_t base = count / numThreads, rest = count % numThreads;
  // Equal parts; the first `rest` threads take one index more. No product can overflow.
  int64_t begin = base * index + std::min<int64_t>(index, rest);
  int64_t end = begin + base + (index < rest ? 1 : 0);
  if (begin < end)
    task(context, begin, end, index);
}

void WorkerPool::run(Task newTask, void *newContext, int64_t newCount) {
  if (newCount <= 1 || numThreads == 1) {
    if (newCount > 0)
      newTask(newContext, 0, newCount, 0);
    return;
  }
  task = newTask;
  context = newContext;
  count = newCount;
  pending.store(numThreads - 1, std::memory_order_relaxed);
  generation.fetch_add(1, std::memory_order_release);
  generation.notify_all();
  runPart(0);
  for (uint32_t left = pending.load(std::memory_order_acquire); left != 0;)
    left = waitChange(pending, left);
}

} // namespace moec::rt
