#include "compiler/Target/GPU/LinkedAssembler.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/Twine.h"
#include <nvPTXCompiler.h>

namespace moec::gpu {

namespace {

using Handle = nvPTXCompilerHandle;

/// One of the compiler's two texts: its size, then its bytes.
std::string textOf(Handle handle, nvPTXCompileResult (*sizeOf)(Handle, size_t *),
                   nvPTXCompileResult (*read)(Handle, char *)) {
  size_t size = 0;
  if (sizeOf(handle, &size) != NVPTXCOMPILE_SUCCESS || size == 0)
    return "";
  std::string text(size + 1, '\0'); // room for a terminator that the size does not count
  if (read(handle, text.data()) != NVPTXCOMPILE_SUCCESS)
    return "";
  text.resize(text.find('\0'));
  return text;
}

class LinkedAssembler final : public Assembler {
public:
  LinkedAssembler(unsigned major, unsigned minor) : version(std::to_string(major) + "." + std::to_string(minor)) {}

  std::string identity() const override { return "nvPTXCompiler " + version; }

  AssemblyResult assemble(llvm::StringRef ptx, llvm::StringRef arch) const override {
    AssemblyResult result;
    Handle handle = nullptr;
    if (auto code = nvPTXCompilerCreate(&handle, ptx.size(), ptx.str().c_str()); code != NVPTXCOMPILE_SUCCESS)
      return {{}, "nvPTXCompilerCreate failed with code " + std::to_string(code)};
    auto cleanup = llvm::scope_exit([&] { nvPTXCompilerDestroy(&handle); });
    std::string name = ("--gpu-name=" + arch).str();
    const char *options[] = {name.c_str(), "-O3", "--verbose"};
    auto code = nvPTXCompilerCompile(handle, std::size(options), options);
    // The same lines that ptxas -v prints.
    result.log = textOf(handle, nvPTXCompilerGetInfoLogSize, nvPTXCompilerGetInfoLog) +
                 textOf(handle, nvPTXCompilerGetErrorLogSize, nvPTXCompilerGetErrorLog);
    if (code != NVPTXCOMPILE_SUCCESS) {
      result.log += "nvPTXCompilerCompile failed with code " + std::to_string(code);
      return result;
    }
    size_t size = 0;
    if (nvPTXCompilerGetCompiledProgramSize(handle, &size) == NVPTXCOMPILE_SUCCESS) {
      result.code.resize(size);
      if (nvPTXCompilerGetCompiledProgram(handle, result.code.data()) != NVPTXCOMPILE_SUCCESS)
        result.code.clear();
    }
    return result;
  }

private:
  std::string version;
};

} // namespace

std::unique_ptr<Assembler> createLinkedAssembler() {
  unsigned major = 0, minor = 0;
  if (nvPTXCompilerGetVersion(&major, &minor) != NVPTXCOMPILE_SUCCESS)
    return nullptr;
  return std::make_unique<LinkedAssembler>(major, minor);
}

} // namespace moec::gpu
