// Threads that divide the indices of a loop by a fixed rule: each thread gets one contiguous part, all of equal size.
// There is no stealing, so every run is the same, and each thread uses the same memory in every step.
#ifndef MOEC_RUNTIME_HAL_CPU_WORKERPOOL_H
#define MOEC_RUNTIME_HAL_CPU_WORKERPOOL_H

#include "runtime/base/Result.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <pthread.h>
#include <vector>

namespace moec::rt {

class WorkerPool {
public:
  using Task = void (*)(void *context, int64_t begin, int64_t end, unsigned thread);

  /// The caller is thread 0; threads - 1 more are started.
  static Result<std::unique_ptr<WorkerPool>> create(unsigned threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool &) = delete;
  WorkerPool &operator=(const WorkerPool &) = delete;

  unsigned threads() const { return numThreads; }

  /// Returns when all of [0, count) is done. A single index runs on the caller without waking a thread.
  void run(Task task, void *context, int64_t count);

private:
  struct Worker {
    WorkerPool *pool;
    unsigned index;
    pthread_t handle;
  };

  explicit WorkerPool(unsigned threads) : numThreads(threads) {}
  static void *enter(void *worker);
  void loop(unsigned index);
  void runPart(unsigned index);

  unsigned numThreads;
  std::vector<std::unique_ptr<Worker>> workers;

  Task task = nullptr; // published by the increment of `generation`
  void *context = nullptr;
  int64_t count = 0;
  bool stopping = false;

  // On separate cache lines: the caller writes one, every worker the other.
  alignas(64) std::atomic<uint32_t> generation{0};
  alignas(64) std::atomic<uint32_t> pending{0};
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_HAL_CPU_WORKERPOOL_H
