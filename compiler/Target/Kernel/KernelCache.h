// A folder of compiled kernels. The key of a kernel is everything on which its machine code depends.
#ifndef MOEC_COMPILER_TARGET_KERNEL_KERNELCACHE_H
#define MOEC_COMPILER_TARGET_KERNEL_KERNELCACHE_H

#include "llvm/ADT/StringRef.h"

#include <optional>
#include <string>
#include <vector>

namespace moec::kernel {

struct CompiledKernel {
  std::string text;       // GPUs: PTX
  std::vector<char> code; // CPUs: an object file; GPUs: a cubin, empty if none was assembled
  std::string log;        // of the assembler
};

/// Several processes may use one folder at the same time. No function fails: if the folder cannot be read or written,
/// or an entry is damaged, there is no entry.
class KernelCache {
public:
  /// Without a folder (""), the cache is always empty.
  explicit KernelCache(std::string folder, uint64_t maxBytes = kMaxBytes);
  /// $MOEC_CACHE, else $XDG_CACHE_HOME/moec, else ~/.cache/moec, else "".
  static std::string defaultFolder();

  std::optional<CompiledKernel> find(llvm::StringRef key) const;
  void store(llvm::StringRef key, const CompiledKernel &kernel) const;
  /// Removes the least recently used entries until the rest fits into `maxBytes`.
  void trim() const;

  static constexpr uint64_t kMaxBytes = uint64_t(512) << 20;

private:
  std::string pathOf(llvm::StringRef key) const;

  std::string folder;
  uint64_t maxBytes;
};

} // namespace moec::kernel

#endif
