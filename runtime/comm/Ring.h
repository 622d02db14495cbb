// Ring: what a rank did last, in a small mapped file that survives SIGKILL (not a power cut). Each rank has one;
// together they tell which rank of a job that hangs or died is behind. Code: MOEC-I001, I002 of base/File.h, and
// MOEC-N011: a file that is no ring, or cut short.
#ifndef MOEC_RUNTIME_COMM_RING_H
#define MOEC_RUNTIME_COMM_RING_H

#include "runtime/base/Result.h"

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace moec::rt {

struct Exchange;

enum class RingEvent : uint32_t {
  Step = 1, // a step begins
  Start,    // an operation was started; the rank goes on
  Wait,     // the rank waits for it
  Done,     // the wait is over
  Failed,   // the wait or the start failed
  End,      // all work is done
};

/// As it lies in the file. Numbers are those of the machine that wrote it.
struct RingRecord {
  uint64_t number = 0; // from 1 on; 0: nothing here, or half written. Written last
  double seconds = 0;  // since 1970; add() fills in a 0
  uint64_t step = 0;   // add() fills it in
  RingEvent event = RingEvent::Step;
  uint32_t kind = 0; // ExchangeKind; 0: no operation
  uint32_t instruction = 0;
  uint32_t group = 0;
  int32_t leader = 0;     // first rank of the group: with `group` it names the ranks that run the operation together
  uint32_t groupSize = 0; // ranks
  uint64_t sequence = 0;  // number of the operation in its group
  char name[72] = {};     // of the value; cut when longer
};
static_assert(std::is_trivially_copyable_v<RingRecord> && sizeof(RingRecord) == 128);

struct RingHeader {
  char magic[8] = {'M', 'O', 'E', 'C', 'R', 'N', 'G', '1'};
  uint32_t recordBytes = sizeof(RingRecord), capacity = 0;
  int32_t rank = 0, size = 0;
  int64_t process = 0;
  double started = 0; // seconds since 1970
  char host[64] = {};
  char unused[24] = {};
};
static_assert(std::is_trivially_copyable_v<RingHeader> && sizeof(RingHeader) == 128);

class RingWriter {
public:
  /// Makes `folder`/rank-R.ring, in place of one that is there. The space is taken at once, so that a full disk is an
  /// error here and no signal later.
  static Result<std::unique_ptr<RingWriter>> create(const std::string &folder, int rank, int size,
                                                    uint32_t capacity = 1024);
  ~RingWriter();
  RingWriter(const RingWriter &) = delete;
  RingWriter &operator=(const RingWriter &) = delete;

  /// The steps of the records from here on.
  void beginStep(uint64_t step);
  void add(RingEvent event, const Exchange &exchange);
  void add(RingRecord record);

private:
  RingWriter(void *map, size_t bytes, uint32_t capacity) : map(map), bytes(bytes), capacity(capacity) {}

  void *map;
  size_t bytes;
  uint32_t capacity;
  uint64_t written = 0, step = 0;
};

/// What a ring holds, oldest record first.
struct Ring {
  RingHeader header;
  std::vector<RingRecord> records;
};

/// Checks everything that it reads; a record that was half written when its rank died is left out.
Result<Ring> readRing(const std::string &path);

/// For people: what each rank of the newest job in this folder did last, and who is behind. Rings that cannot be read,
/// or are missing, are named. An error when there is no ring at all.
Result<std::string> diagnoseRings(const std::string &folder);

} // namespace moec::rt

#endif // MOEC_RUNTIME_COMM_RING_H
