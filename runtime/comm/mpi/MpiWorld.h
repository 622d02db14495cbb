// Ranks that are processes which an MPI launcher started (mpirun, mpiexec, srun). moec itself needs no MPI: a plug-in
// for each MPI that was there when moec was built lies in lib/moec beside bin, and is opened when a job asks for it.
// Codes: MOEC-N008 no plug-in that can be used, N009 the launcher is another MPI's, N010 a call to MPI failed.
#ifndef MOEC_RUNTIME_COMM_MPI_MPIWORLD_H
#define MOEC_RUNTIME_COMM_MPI_MPIWORLD_H

#include "runtime/comm/Communicator.h"
#include "runtime/comm/Launch.h"

#include <memory>
#include <string>
#include <vector>

namespace moec::rt {

struct MpiOptions {
  /// Where plug-ins lie; empty: mpiPluginFolder().
  std::string folder;
  /// Larger messages go in parts of this many bytes; at most 2^31 - 1, which is what an `int` of MPI can count.
  uint64_t chunkBytes = 1u << 30;
};

/// lib/moec beside the folder of this program; the folder itself if that is not there.
std::string mpiPluginFolder();
/// Names of the MPIs that have a plug-in there: "mpich", "openmpi". Sorted.
std::vector<std::string> mpiPlugins(const std::string &folder);

/// This process becomes its rank of the job. Launch::mpi chooses the plug-in, by name or path; else the launcher does.
/// MPI's idea of rank and size must be the launcher's: MPI under a launcher of another MPI silently makes every process
/// rank 0 of 1. Once in a process; the thread that calls this is the one that communicates.
Result<std::unique_ptr<Communicator>> joinMpi(const Launch &launch, const CommOptions &options = {},
                                              const MpiOptions &mpi = {});

} // namespace moec::rt

#endif // MOEC_RUNTIME_COMM_MPI_MPIWORLD_H
