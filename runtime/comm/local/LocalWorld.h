// Ranks that are threads of one process. Starting an operation deposits its pointers and returns. When all ranks have
// come, whoever waits copies: for itself, and for ranks that compute meanwhile. So nobody spins, and waiting in another
// order than the others do cannot block.
#ifndef MOEC_RUNTIME_COMM_LOCAL_LOCALWORLD_H
#define MOEC_RUNTIME_COMM_LOCAL_LOCALWORLD_H

#include "runtime/comm/Communicator.h"

#include <memory>
#include <vector>

namespace moec::rt {

/// Communicators of ranks 0 .. ranks - 1; each goes to the thread that is this rank. They share their world, and may be
/// destroyed in any order. One rank alone needs no thread: its operations are copies. `ranks` >= 1, or MOEC-N001.
Result<std::vector<std::unique_ptr<Communicator>>> makeLocalWorld(int ranks, const CommOptions &options = {});

} // namespace moec::rt

#endif // MOEC_RUNTIME_COMM_LOCAL_LOCALWORLD_H
