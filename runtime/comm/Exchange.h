// Exchange: the one operation that backends carry out. Whatever a rank asks for becomes a send and a receive for each
// rank of a group; a Transport moves them. The front (Communicator) owns arguments, counters and time limits, so that a
// backend is small. Users include Communicator.h; this header is for backends.
#ifndef MOEC_RUNTIME_COMM_EXCHANGE_H
#define MOEC_RUNTIME_COMM_EXCHANGE_H

#include "runtime/base/Result.h"
#include "runtime/comm/Communicator.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace moec::rt {

enum class ExchangeKind : uint32_t { Barrier = 1, Broadcast, AllGather, AllToAll, ExchangeRows, Control };

/// "all_gather", as in IR and reports.
std::string_view kindName(ExchangeKind kind);

/// What ranks tell each other about an operation, so that two that are not at the same one find out. It crosses
/// processes as it is: all ranks run the same program on machines of one kind.
struct ExchangeHeader {
  uint64_t magic = 0x314d4d4f43454f4d; // "MOECOMM1"
  ExchangeKind kind = ExchangeKind::Barrier;
  int32_t rank = 0;         // of the sender, in the world
  uint64_t sequence = 0;    // number of the operation in its group, from 0
  uint64_t unit = 0;        // the size that all ranks must agree on: bytes for each rank, or of a row
  uint64_t bytes = 0;       // from the sender to the reader of this header
  uint32_t instruction = 0; // CommSite
  char name[84] = {};       // CommSite; cut when longer
};
static_assert(std::is_trivially_copyable_v<ExchangeHeader> && sizeof(ExchangeHeader) == 128);

/// Between this rank and one rank of the group.
struct ExchangePart {
  const std::byte *send = nullptr;
  uint64_t sendBytes = 0;
  std::byte *receive = nullptr;
  uint64_t receiveBytes = 0;
};

/// Ranks that run operations together, in the order of their parts.
struct CommGroup {
  uint32_t id = 0;
  std::vector<int> ranks;
  size_t position = 0;     // of this rank in `ranks`
  uint64_t operations = 0; // started so far
  CommCounters counters;

  size_t size() const { return ranks.size(); }
  /// "group 1 (ranks 0, 2)".
  std::string text() const;
};

/// One operation under way on one rank. A backend derives from it and adds what it must remember.
struct Exchange {
  Exchange() = default;
  Exchange(const Exchange &) = delete;
  Exchange &operator=(const Exchange &) = delete;
  virtual ~Exchange() = default;

  CommGroup *group = nullptr;
  ExchangeHeader header;           // `bytes` is set for each reader
  std::vector<ExchangePart> parts; // by position in the group; its own part is there too
  std::string section;             // of the spec, for reports
  CommRequest request = 0;
};

/// What a backend does. All calls of a rank come from one thread.
class Transport {
public:
  Transport(std::string name, int rank, int size) : backend(std::move(name)), self(rank), ranks(size) {}
  virtual ~Transport() = default;

  const std::string &name() const { return backend; }
  int rank() const { return self; }
  int size() const { return ranks; }

  virtual std::unique_ptr<Exchange> makeExchange() = 0;
  /// Groups come in the same order on all ranks, group 0 (the world) first, and are known to partition the world.
  /// Communicates nothing.
  virtual Status addGroup(const CommGroup &group) = 0;
  /// Takes part in the exchange; never waits for anybody. The exchange stays where it is until finish() said true, or
  /// the transport is gone.
  virtual Status post(Exchange &exchange) = 0;
  /// Whether all parts of this rank were sent and received. Waits for that, but at most `seconds`.
  virtual Result<bool> finish(Exchange &exchange, double seconds) = 0;
  /// Ranks of its group that have not come to this exchange, in order.
  virtual std::vector<int> missing(const Exchange &exchange) = 0;
  /// This rank has failed: what the others are waiting for will not come. Returns.
  virtual void fail(const Status &why) = 0;
  /// As fail(), and the job ends: where ranks are processes it does not return. When it returns, no memory that was
  /// given to an exchange is used any more.
  virtual void abort(const Status &why, int exitCode) = 0;
  /// All ranks are done, none will communicate again.
  virtual Status close() = 0;

private:
  std::string backend;
  int self, ranks;
};

/// MOEC-N005 when two ranks of a group are not at the same operation, or `sender` sends another number of bytes than
/// the rank `receiver` expects from it. Reads the same whichever rank finds it.
Status checkAgreement(const Exchange &exchange, const ExchangeHeader &sender, const ExchangeHeader &receiver,
                      uint64_t expectedBytes);

/// `all_gather of "w" (instruction 3)`.
std::string describeOperation(const ExchangeHeader &header);

/// "rank 3" or "ranks 0-2, 5"; at most a dozen are named.
std::string rankList(const std::vector<int> &ranks);

} // namespace moec::rt

#endif // MOEC_RUNTIME_COMM_EXCHANGE_H
