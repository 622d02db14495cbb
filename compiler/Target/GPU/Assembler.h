// PTX -> cubin, with the assembler of this machine.
#ifndef MOEC_COMPILER_TARGET_GPU_ASSEMBLER_H
#define MOEC_COMPILER_TARGET_GPU_ASSEMBLER_H

#include "llvm/ADT/StringRef.h"

#include <memory>
#include <string>
#include <vector>

namespace moec::gpu {

/// The assembler's messages about one kernel.
struct KernelReport {
  std::string symbol;
  int64_t registers = 0, spillBytes = 0, stackBytes = 0;
  std::vector<std::string> warnings; // C75xx: wgmma made slow, or setmaxnreg ignored

  bool isClean() const { return spillBytes == 0 && stackBytes == 0 && warnings.empty(); }
};

struct AssemblyResult {
  std::vector<char> code; // empty: failed
  std::string log;
};

class Assembler {
public:
  virtual ~Assembler() = default;

  /// Name and version, as one line.
  virtual std::string identity() const = 0;
  /// May be called by several threads at once.
  virtual AssemblyResult assemble(llvm::StringRef ptx, llvm::StringRef arch) const = 0;

  /// The first of: $MOEC_PTXAS, $CUDA_HOME/bin/ptxas, ptxas in PATH, /usr/local/cuda/bin/ptxas, the assembler linked
  /// into this program (MOEC_NVPTXCOMPILER). Null if there is none. MOEC_PTXAS=linked hides all except the last,
  /// MOEC_PTXAS=none hides all.
  static std::unique_ptr<Assembler> find();
};

/// Parses the output of `ptxas -v`; the library prints the same.
std::vector<KernelReport> parseAssemblerLog(llvm::StringRef log);

} // namespace moec::gpu

#endif
