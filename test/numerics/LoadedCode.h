// The machine code of kernels for this machine's CPU, loaded into the test.
#ifndef MOEC_TEST_NUMERICS_LOADEDCODE_H
#define MOEC_TEST_NUMERICS_LOADEDCODE_H

#include "compiler/Target/Target.h"

#include <cstdlib>
#include <dlfcn.h>
#include <stdexcept>
#include <unistd.h>

namespace moec::test {

class LoadedCode {
public:
  /// Throws std::runtime_error when `code` cannot be loaded. `keepFile`: the file in /tmp stays, to be disassembled.
  explicit LoadedCode(CodeBlob code, bool keepFile = false) : kernels(std::move(code.kernels)) {
    char path[] = "/tmp/moec-code-XXXXXX";
    int file = mkstemp(path);
    bool written = file >= 0 && write(file, code.bytes.data(), code.bytes.size()) == ssize_t(code.bytes.size());
    if (file >= 0)
      close(file);
    handle = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
    std::string error = !written ? "cannot write the shared object" : !handle ? dlerror() : "";
    if (!keepFile)
      unlink(path);
    if (!error.empty())
      throw std::runtime_error(error);
  }
  ~LoadedCode() { dlclose(handle); }
  LoadedCode(const LoadedCode &) = delete;

  /// The kernel that the compiler called `symbol`. Throws std::runtime_error when there is none.
  template <typename Function> Function find(const std::string &symbol) const {
    for (const CodeBlob::Kernel &kernel : kernels)
      if (kernel.symbol == symbol)
        if (void *address = dlsym(handle, kernel.entry.c_str()))
          return reinterpret_cast<Function>(address);
    throw std::runtime_error("no kernel '" + symbol + "'");
  }

private:
  std::vector<CodeBlob::Kernel> kernels;
  void *handle = nullptr;
};

} // namespace moec::test

#endif
