// The backend over an MPI plug-in. Every operation sends a header to each rank of the group, and the bytes if there are
// any; so a rank knows who has come, and that they are at the same operation. Nothing moves by itself: MPI works while
// finish() calls it.
#ifndef MOEC_RUNTIME_COMM_MPI_MPITRANSPORT_H
#define MOEC_RUNTIME_COMM_MPI_MPITRANSPORT_H

#include "runtime/comm/Exchange.h"
#include "runtime/comm/mpi/MpiPlugin.h"

namespace moec::rt {

/// MOEC-N010 with the MPI's own words.
Status mpiError(const MoecMpiPlugin &plugin, int code, const std::string &what, const std::string &section);

/// Says why, and ends all processes of the job.
void endMpiJob(const MoecMpiPlugin &plugin, int rank, const Status &why, int exitCode);

class MpiTransport : public Transport {
public:
  /// MPI runs, and has this rank and size.
  MpiTransport(const MoecMpiPlugin &plugin, std::string name, int rank, int size, int largestTag, uint64_t chunkBytes)
      : Transport(std::move(name), rank, size), plugin(plugin), largestTag(largestTag), chunkBytes(chunkBytes) {}

  std::unique_ptr<Exchange> makeExchange() override;
  Status addGroup(const CommGroup &group) override;
  Status post(Exchange &exchange) override;
  Result<bool> finish(Exchange &exchange, double seconds) override;
  std::vector<int> missing(const Exchange &exchange) override;
  /// Nothing: the others hear of it from abort().
  void fail(const Status &) override {}
  void abort(const Status &why, int exitCode) override;
  Status close() override;

private:
  struct MpiExchange;
  /// One test of all that is open. Whether nothing is.
  Result<bool> advance(MpiExchange &exchange);
  Status headerArrived(MpiExchange &exchange, size_t place);

  const MoecMpiPlugin &plugin;
  int largestTag;
  uint64_t chunkBytes;
};

} // namespace moec::rt

#endif // MOEC_RUNTIME_COMM_MPI_MPITRANSPORT_H
