// Launch: which rank of how many this process is, by the variables that launchers set. A pure function, so that tests
// need no launcher. Code: MOEC-N007.
#ifndef MOEC_RUNTIME_COMM_LAUNCH_H
#define MOEC_RUNTIME_COMM_LAUNCH_H

#include "runtime/base/Result.h"
#include "runtime/comm/Communicator.h"

#include <map>
#include <optional>
#include <string>

namespace moec::rt {

enum class Launcher {
  None,     // one process
  Explicit, // options, or MOEC_RANK and MOEC_WORLD_SIZE
  Torchrun, // RANK, WORLD_SIZE
  Slurm,    // srun: SLURM_PROCID, SLURM_NTASKS
  OpenMpi,  // OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE
  Mpich,    // PMI_RANK, PMI_SIZE (Hydra)
};

/// "openmpi", as MOEC_LAUNCHER and MOEC_MPI say it.
std::string_view launcherName(Launcher launcher);

using Environment = std::map<std::string, std::string>;
/// Of this process.
Environment currentEnvironment();

/// What a command line says; goes before variables.
struct LaunchOptions {
  std::optional<int> rank, size;
};

struct Launch {
  Launcher launcher = Launcher::None;
  int rank = 0, size = 1;
  /// Rank among the processes of this machine, and how many these are, where the launcher tells.
  std::optional<int> localRank, localSize;
  /// Which MPI: a plug-in's name or path (MOEC_MPI). Empty: the launcher's own.
  std::string mpi;
  /// For the user, when not empty.
  std::string warning;
};

/// Options, else MOEC_RANK and MOEC_WORLD_SIZE (MOEC_LOCAL_RANK, MOEC_LOCAL_SIZE), else the one launcher whose
/// variables are there. Errors: half of a pair, text that is no number, a rank beyond the size, two launchers that
/// disagree. MOEC_LAUNCHER (none, torchrun, slurm, openmpi, mpich) says which one counts. An empty variable is one that
/// is not set.
Result<Launch> detectLaunch(const Environment &environment, const LaunchOptions &options = {});

/// MOEC_START_SECONDS, MOEC_WAIT_SECONDS and MOEC_RING_DIR, or the defaults.
Result<CommOptions> commOptions(const Environment &environment);

} // namespace moec::rt

#endif // MOEC_RUNTIME_COMM_LAUNCH_H
