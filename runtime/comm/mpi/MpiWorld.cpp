#include "runtime/comm/mpi/MpiWorld.h"

#include "runtime/base/Options.h"
#include "runtime/comm/mpi/MpiTransport.h"

#include <algorithm>
#include <dlfcn.h>
#include <filesystem>

namespace moec::rt {

namespace fs = std::filesystem;

static constexpr std::string_view kPrefix = "libmoec-mpi-", kSuffix = ".so";

std::string mpiPluginFolder() {
  std::error_code failure;
  fs::path program = fs::read_symlink("/proc/self/exe", failure).parent_path();
  fs::path folder = program.parent_path() / "lib" / "moec";
  return fs::is_directory(folder, failure) ? folder.string() : program.string();
}

std::vector<std::string> mpiPlugins(const std::string &folder) {
  std::vector<std::string> names;
  std::error_code failure;
  for (fs::directory_iterator at(folder, failure), end; !failure && at != end; at.increment(failure)) {
    std::string name = at->path().filename().string();
    if (name.size() > kPrefix.size() + kSuffix.size() && name.starts_with(kPrefix) && name.ends_with(kSuffix))
      names.push_back(name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

static std::string listed(const std::vector<std::string> &names) {
  std::string text;
  for (const std::string &name : names)
    text += (text.empty() ? "" : ", ") + name;
  return text;
}

static Status noPlugin(const std::string &place, const std::string &what) {
  return Status::error("MOEC-N008", place, what);
}

/// The plug-in's path, by MOEC_MPI or by the launcher.
static Result<std::string> choosePlugin(const Launch &launch, const std::string &folder) {
  if (launch.mpi.find('/') != std::string::npos)
    return launch.mpi;
  std::vector<std::string> names = mpiPlugins(folder);
  if (names.empty())
    return noPlugin(folder, "this moec was built without MPI, which a job of several processes needs; install one "
                            "(Debian: libopenmpi-dev and openmpi-bin, or libmpich-dev and mpich), then configure and "
                            "build moec again. Ranks that are threads of one process need no MPI");
  std::string wanted = launch.mpi;
  if (wanted.empty() && (launch.launcher == Launcher::OpenMpi || launch.launcher == Launcher::Mpich))
    wanted = launcherName(launch.launcher);
  if (wanted.empty() && launch.launcher == Launcher::Torchrun)
    return noPlugin("", "torchrun started this process, and starts no MPI; start the ranks with mpirun or srun");
  if (wanted.empty() && names.size() == 1)
    wanted = names.front();
  if (wanted.empty())
    return noPlugin("", "which MPI this job uses is not known; say it in MOEC_MPI: " + listed(names));
  if (std::find(names.begin(), names.end(), wanted) == names.end())
    return noPlugin(folder, "there is no plug-in for the MPI \"" + wanted + "\"; there are: " + listed(names) +
                                nearestWord(wanted, names) +
                                ". Install this MPI's compiler wrapper, then configure and build moec again");
  return (fs::path(folder) / (std::string(kPrefix) + wanted + std::string(kSuffix))).string();
}

static Result<const MoecMpiPlugin *> openPlugin(const std::string &path) {
  // Never closed: MPIs leave threads and handlers behind.
  void *library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *reason = ::dlerror();
    return noPlugin(path, std::string("cannot open this plug-in: ") + (reason ? reason : "no reason given") +
                              "; is its MPI still installed?");
  }
  auto function = reinterpret_cast<MoecMpiPluginFunction>(::dlsym(library, MOEC_MPI_PLUGIN_SYMBOL));
  if (!function)
    return noPlugin(path, "this library is no MPI plug-in of moec: it has no " MOEC_MPI_PLUGIN_SYMBOL);
  const MoecMpiPlugin *plugin = function();
  if (plugin->version != MOEC_MPI_PLUGIN_VERSION)
    return noPlugin(path, "this plug-in is of version " + std::to_string(plugin->version) + ", and moec needs " +
                              std::to_string(MOEC_MPI_PLUGIN_VERSION) + "; build both together");
  return plugin;
}

/// "Open MPI v4.1.4" from "Open MPI v4.1.4, package: ...", "MPICH 4.0.2" from "MPICH Version:\t4.0.2\n...".
static std::string shortName(std::string library) {
  library = library.substr(0, library.find_first_of(",\n"));
  if (size_t at = library.find(" Version:"); at != std::string::npos)
    library.erase(at, 9);
  std::replace(library.begin(), library.end(), '\t', ' ');
  return library;
}

static Status otherWorld(const Launch &launch, const std::string &library, int rank, int size) {
  return Status::error(
      "MOEC-N009", "", library, " says that this process is rank ", rank, " of ", size, ", and the launcher (",
      launcherName(launch.launcher), ") that it is rank ", launch.rank, " of ", launch.size,
      "; the ranks were started by another MPI than the one that moec opened. Start them with the mpirun of ", library,
      ", or name the launcher's MPI in MOEC_MPI");
}

Result<std::unique_ptr<Communicator>> joinMpi(const Launch &launch, const CommOptions &options, const MpiOptions &mpi) {
  MOEC_ASSIGN_OR_RETURN(std::string path, choosePlugin(launch, mpi.folder.empty() ? mpiPluginFolder() : mpi.folder));
  MOEC_ASSIGN_OR_RETURN(const MoecMpiPlugin *plugin, openPlugin(path));
  int rank = 0, size = 0, largestTag = 0;
  char text[512] = "";
  int code = plugin->init(&rank, &size, &largestTag, text, sizeof text);
  if (code == -1)
    return noPlugin(path, "this MPI was built without support for threads (MPI_THREAD_FUNNELED)");
  if (code == -2)
    return noPlugin(path, "MPI was ended in this process before; a process joins one job");
  if (code != 0)
    return mpiError(*plugin, code, "starting", "");
  std::string library = shortName(text);
  if (rank != launch.rank || size != launch.size) {
    Status status = otherWorld(launch, library, rank, size);
    if (size > 1) // the others may agree with their launcher, and would wait for this rank
      endMpiJob(*plugin, rank, status, 1);
    plugin->finalize();
    return status;
  }
  return std::make_unique<Communicator>(
      std::make_unique<MpiTransport>(*plugin, "mpi (" + library + ")", rank, size, largestTag, mpi.chunkBytes),
      options);
}

} // namespace moec::rt
