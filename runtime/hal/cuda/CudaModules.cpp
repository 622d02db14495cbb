#include "runtime/hal/cuda/CudaModules.h"

#include "runtime/plan/PlanFormat.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace moec::rt::cu {

/// The log of the driver's assembler, without blanks at its end.
static std::string trimmed(const std::vector<char> &log) {
  std::string text(log.data(), ::strnlen(log.data(), log.size()));
  text.erase(text.find_last_not_of(" \n\t") + 1);
  return text;
}

static Result<Module> loadModule(const Driver &driver, const Plan &plan, const PlanBlob &blob) {
  bool isText = blob.name.ends_with(kPtxSuffix);
  std::vector<std::byte> image = blob.bytes;
  image.push_back(std::byte{0}); // PTX is a C string
  std::vector<char> log(16 << 10, '\0');
  int options[] = {kJitErrorLog, kJitErrorLogBytes};
  void *values[] = {log.data(), reinterpret_cast<void *>(log.size())};
  Module module = nullptr;
  Code code = driver.moduleLoadData(&module, image.data(), isText ? 2 : 0, options, values);
  if (code == kSuccess)
    return module;
  std::string said = trimmed(log);
  said = driver.describe(code) + (said.empty() ? "" : ":\n" + said);
  if (code == kNoBinaryForGpu || code == kUnsupportedPtxVersion)
    return Status::error("MOEC-P013", plan.path, "the driver (CUDA ", driver.version(), ") cannot use module \"",
                         blob.name, "\", made for ", plan.target.arch,
                         isText ? "; a newer driver, or a plan compiled where ptxas is at hand, helps: " : ": ", said);
  if (code == kOutOfMemory)
    return Status::error("MOEC-P011", plan.path, "no memory left on the GPU for module \"", blob.name, "\"");
  return Status::error("MOEC-P010", plan.path, "cannot load module \"", blob.name, "\": ", said);
}

static Result<Function> findFunction(const Driver &driver, const Plan &plan, const PlanKernel &kernel, Module module) {
  const PlanLaunch &launch = kernel.launch;
  Function function = nullptr;
  Code code = driver.moduleGetFunction(&function, module, kernel.symbol.c_str());
  if (code == kNotFound)
    return Status::error("MOEC-P010", plan.path, "kernel \"", kernel.name, "\" has no symbol \"", kernel.symbol,
                         "\" in module \"", launch.module, "\"");
  MOEC_RETURN_IF_ERROR(driver.check(code, "cuModuleGetFunction", plan.path, "kernel \"" + kernel.name + "\""));
  int threads = 0;
  code = driver.functionGetAttribute(&threads, kMaxThreadsPerBlock, function);
  MOEC_RETURN_IF_ERROR(driver.check(code, "cuFuncGetAttribute", plan.path, "kernel \"" + kernel.name + "\""));
  if (static_cast<uint32_t>(threads) < launch.threads)
    return Status::error("MOEC-P010", plan.path, "kernel \"", kernel.name, "\" is to run with ", launch.threads,
                         " threads per block, its code can run with ", threads, " at most");
  code = driver.functionSetAttribute(function, kMaxDynamicShared, static_cast<int>(launch.sharedBytes));
  if (code != kSuccess)
    return Status::error("MOEC-P010", plan.path, "kernel \"", kernel.name, "\" cannot have ", launch.sharedBytes,
                         " bytes of shared memory: ", driver.describe(code));
  return function;
}

Result<Modules> Modules::load(const Driver &driver, const Plan &plan) {
  Modules loaded(driver);
  std::map<std::string, Module> byName;
  for (const PlanKernel &kernel : plan.kernels) {
    const std::string &name = kernel.launch.module;
    auto found = byName.find(name);
    if (found == byName.end()) {
      MOEC_ASSIGN_OR_RETURN(Module module, loadModule(driver, plan, *plan.findBlob(name)));
      loaded.modules.push_back(module);
      found = byName.emplace(name, module).first;
    }
    MOEC_ASSIGN_OR_RETURN(Function function, findFunction(driver, plan, kernel, found->second));
    loaded.functions.push_back(function);
  }
  return loaded;
}

Modules::~Modules() {
  for (Module module : modules)
    driver->moduleUnload(module);
}

} // namespace moec::rt::cu
