// Kernels that were compiled before, in a folder: addressed by everything that their machine code depends on.
#ifndef MOEC_COMPILER_TARGET_KERNEL_KERNELCACHE_H
#define MOEC_COMPILER_TARGET_KERNEL_KERNELCACHE_H

#include "llvm/ADT/StringRef.h"

#include <optional>
#include <string>
#include <vector>

namespace moec::kernel {

struct CompiledKernel {
  std::string text;       // GPUs: PTX
  std::vector<char> code; // CPUs: an object file; GPUs: a cubin, empty when none was assembled
  std::string log;        // of the assembler
};

/// Several processes may use one folder at once. Nothing here fails: a folder that cannot be read or written, and a
/// damaged entry, count as no entry.
class KernelCache {
public:
  /// No folder (""): never holds anything.
  explicit KernelCache(std::string folder, uint64_t maxBytes = kMaxBytes);
  /// $MOEC_CACHE, else $XDG_CACHE_HOME/moec, else ~/.cache/moec, else "".
  static std::string defaultFolder();

  std::optional<CompiledKernel> find(llvm::StringRef key) const;
  void store(llvm::StringRef key, const CompiledKernel &kernel) const;
  /// Removes the entries that were not used for longest, until the rest fits `maxBytes`.
  void trim() const;

  static constexpr uint64_t kMaxBytes = uint64_t(512) << 20;

private:
  std::string pathOf(llvm::StringRef key) const;

  std::string folder;
  uint64_t maxBytes;
};

} // namespace moec::kernel

#endif
