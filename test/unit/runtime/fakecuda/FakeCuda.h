// Control of the pretended GPU driver: tests find this table in libfakecuda as `fakecudaControl`.
#ifndef MOEC_TEST_UNIT_RUNTIME_FAKECUDA_FAKECUDA_H
#define MOEC_TEST_UNIT_RUNTIME_FAKECUDA_FAKECUDA_H

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace moec::rt::test {

struct FakeCuda {
  // What the pretended GPU is like.
  int devices = 1, major = 9, minor = 0;
  uint64_t totalBytes = uint64_t{1} << 30, freeBytes = uint64_t{1} << 30;
  int sharedPerBlock = 232448, threadsPerBlock = 1024;
  std::map<std::string, int> kernelParams; // symbol -> operands; a launch must know how many pointers to read

  /// This call fails with this code once it was made `failAfter` times.
  std::string failingCall;
  int failAfter = 0, failCode = 0;

  // What happened.
  std::vector<std::string> calls;      // every call, with what matters of its arguments
  std::map<uint64_t, uint64_t> memory; // allocations of device memory now alive: address -> bytes
  uint64_t mostBytes = 0, pinnedAlive = 0;
  int modulesAlive = 0, graphsAlive = 0, eventsAlive = 0, streamsAlive = 0, contextsAlive = 0;

  /// Calls whose text begins so.
  size_t count(const std::string &prefix) const {
    size_t found = 0;
    for (const std::string &call : calls)
      found += call.starts_with(prefix);
    return found;
  }
  bool nothingLeft() const {
    return memory.empty() && pinnedAlive == 0 && modulesAlive == 0 && graphsAlive == 0 && eventsAlive == 0 &&
           streamsAlive == 0 && contextsAlive == 0;
  }
};

} // namespace moec::rt::test

#endif // MOEC_TEST_UNIT_RUNTIME_FAKECUDA_FAKECUDA_H
