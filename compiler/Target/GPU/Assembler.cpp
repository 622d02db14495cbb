#include "compiler/Target/GPU/Assembler.h"

#ifdef MOEC_HAS_NVPTXCOMPILER
#include "compiler/Target/GPU/LinkedAssembler.h"
#endif

#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"
#include <cstdlib>

using llvm::StringRef;

namespace moec::gpu {

namespace {

/// ptxas as a child process.
class PtxasProcess final : public Assembler {
public:
  static std::unique_ptr<Assembler> create(std::string path) {
    auto made = std::make_unique<PtxasProcess>();
    made->path = std::move(path);
    AssemblyResult answer = made->run({"--version"}, "");
    // The version is in a line such as "Cuda compilation tools, release 13.0, V13.0.88".
    llvm::SmallVector<StringRef> lines;
    StringRef(answer.log).split(lines, '\n');
    for (StringRef line : lines)
      if (line.contains("release"))
        made->version = line.trim().str();
    return made->version.empty() ? nullptr : std::move(made);
  }

  std::string identity() const override { return "ptxas, " + version; }

  AssemblyResult assemble(StringRef ptx, StringRef arch) const override {
    return run({("-arch=" + arch).str(), "-O3", "-v"}, ptx);
  }

private:
  /// Runs ptxas with `arguments`. If `ptx` is not empty, it is the input, and the output is a cubin.
  AssemblyResult run(std::vector<std::string> arguments, StringRef ptx) const {
    llvm::SmallString<128> folder;
    if (std::error_code code = llvm::sys::fs::createUniqueDirectory("moec-ptxas", folder))
      return {{}, "cannot create a temporary folder: " + code.message()};
    auto cleanup = llvm::scope_exit([&] { llvm::sys::fs::remove_directories(folder); });
    std::string input = (folder + "/in.ptx").str(), output = (folder + "/out.cubin").str(),
                log = (folder + "/log").str();
    if (!ptx.empty()) {
      std::error_code code;
      llvm::raw_fd_ostream file(input, code);
      file << ptx;
      file.close();
      if (code || file.has_error()) {
        file.clear_error();
        return {{}, "cannot write '" + input + "'"};
      }
      arguments.insert(arguments.end(), {input, "-o", output});
    }
    std::vector<StringRef> argv = {path};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    std::string message;
    std::optional<StringRef> redirects[] = {StringRef(), StringRef(log), StringRef(log)};
    int status = llvm::sys::ExecuteAndWait(path, argv, std::nullopt, redirects, 0, 0, &message);
    AssemblyResult result;
    if (auto text = llvm::MemoryBuffer::getFile(log))
      result.log = (*text)->getBuffer().str();
    if (status != 0) {
      result.log += message.empty() ? path + " ended with status " + std::to_string(status) : message;
      return result;
    }
    if (!ptx.empty())
      if (auto code = llvm::MemoryBuffer::getFile(output, /*IsText=*/false, /*RequiresNullTerminator=*/false))
        result.code.assign((*code)->getBufferStart(), (*code)->getBufferEnd());
    return result;
  }

  std::string path, version;
};

std::string findPtxas() {
  if (const char *named = std::getenv("MOEC_PTXAS"))
    return named;
  if (const char *home = std::getenv("CUDA_HOME"))
    if (std::string path = std::string(home) + "/bin/ptxas"; llvm::sys::fs::can_execute(path))
      return path;
  if (auto path = llvm::sys::findProgramByName("ptxas"))
    return *path;
  constexpr const char *kUsual = "/usr/local/cuda/bin/ptxas";
  return llvm::sys::fs::can_execute(kUsual) ? kUsual : "";
}

/// The number before `what` in a line such as "  0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads".
int64_t numberBefore(StringRef line, StringRef what) {
  StringRef before = line.take_front(line.find(what)).rtrim();
  StringRef digits = before.take_back(before.size() - (before.find_last_not_of("0123456789") + 1));
  int64_t number = 0;
  return digits.getAsInteger(10, number) ? 0 : number;
}

} // namespace

std::unique_ptr<Assembler> Assembler::find() {
  std::string path = findPtxas();
  if (path == "none")
    return nullptr;
  if (!path.empty() && path != "linked")
    return PtxasProcess::create(path);
#ifdef MOEC_HAS_NVPTXCOMPILER
  return createLinkedAssembler();
#else
  return nullptr;
#endif
}

std::vector<KernelReport> parseAssemblerLog(StringRef log) {
  std::vector<KernelReport> reports;
  // Messages before the first kernel, or without a kernel's name, belong to all kernels; a module has one.
  std::vector<std::string> warnings;
  llvm::SmallVector<StringRef> lines;
  log.split(lines, '\n');
  for (StringRef line : lines) {
    if (line.contains("Compiling entry function")) {
      StringRef symbol = line.split('\'').second.split('\'').first;
      reports.push_back({symbol.str(), 0, 0, 0, {}});
    } else if (size_t at = line.find("(C75"); at != StringRef::npos) {
      warnings.push_back(line.substr(at).trim().str());
    } else if (!reports.empty() && line.contains("bytes stack frame")) {
      reports.back().stackBytes = numberBefore(line, " bytes stack frame");
      reports.back().spillBytes = numberBefore(line, " bytes spill stores") + numberBefore(line, " bytes spill loads");
    } else if (!reports.empty() && line.contains(" registers")) {
      reports.back().registers = numberBefore(line, " registers");
    }
  }
  for (KernelReport &report : reports)
    report.warnings = warnings;
  return reports;
}

} // namespace moec::gpu
