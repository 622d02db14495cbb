#include "runtime/comm/Ring.h"

#include "runtime/base/File.h"
#include "runtime/comm/Exchange.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace moec::rt {

/// More would not be a small file; also what a reader accepts.
static constexpr uint32_t kMostRecords = 1u << 20;

static double wallSeconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

static std::string ringPath(const std::string &folder, int rank) {
  return folder + "/rank-" + std::to_string(rank) + ".ring";
}

Result<std::unique_ptr<RingWriter>> RingWriter::create(const std::string &folder, int rank, int size,
                                                       uint32_t capacity) {
  MOEC_RETURN_IF_ERROR(makeDirectories(folder));
  std::string path = ringPath(folder, rank);
  // A new file: the old one may be mapped by a process that has not ended yet.
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return fileError("MOEC-I002", path, "replace this ring");
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (fd.get() < 0)
    return fileError("MOEC-I002", path, "make this ring");
  capacity = std::clamp(capacity, 1u, kMostRecords);
  size_t bytes = sizeof(RingHeader) + capacity * sizeof(RingRecord);
  if (int failure = ::posix_fallocate(fd.get(), 0, off_t(bytes))) {
    errno = failure;
    return fileError("MOEC-I002", path, "take space for this ring");
  }
  void *map = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (map == MAP_FAILED)
    return fileError("MOEC-I002", path, "map this ring");
  RingHeader header;
  header.capacity = capacity;
  header.rank = rank;
  header.size = size;
  header.process = ::getpid();
  header.started = wallSeconds();
  ::gethostname(header.host, sizeof header.host - 1);
  std::memcpy(map, &header, sizeof header);
  return std::unique_ptr<RingWriter>(new RingWriter(map, bytes, capacity));
}

RingWriter::~RingWriter() { ::munmap(map, bytes); }

void RingWriter::add(RingRecord record) {
  if (record.seconds == 0)
    record.seconds = wallSeconds();
  record.step = step;
  record.number = 0;
  auto *slot = static_cast<std::byte *>(map) + sizeof(RingHeader) + written++ % capacity * sizeof(RingRecord);
  // The number goes first when a record is replaced and comes last, so that a reader sees a whole one or none.
  auto *number = reinterpret_cast<uint64_t *>(slot);
  std::atomic_ref<uint64_t>(*number).store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  std::memcpy(slot + sizeof(uint64_t), reinterpret_cast<const std::byte *>(&record) + sizeof(uint64_t),
              sizeof record - sizeof(uint64_t));
  std::atomic_ref<uint64_t>(*number).store(written, std::memory_order_release);
}

void RingWriter::add(RingEvent event, const Exchange &exchange) {
  RingRecord record;
  record.event = event;
  record.kind = uint32_t(exchange.header.kind);
  record.instruction = exchange.header.instruction;
  record.group = exchange.group->id;
  record.leader = exchange.group->ranks.front();
  record.groupSize = uint32_t(exchange.group->size());
  record.sequence = exchange.header.sequence;
  std::memcpy(record.name, exchange.header.name, sizeof record.name - 1);
  add(record);
}

void RingWriter::beginStep(uint64_t newStep) {
  step = newStep;
  add(RingRecord());
}

static bool isPlausible(const RingRecord &record, const RingHeader &header) {
  return record.event >= RingEvent::Step && record.event <= RingEvent::End && std::isfinite(record.seconds) &&
         record.kind <= uint32_t(ExchangeKind::Control) && record.leader >= 0 && record.leader < header.size &&
         record.groupSize <= uint32_t(header.size) && std::memchr(record.name, 0, sizeof record.name);
}

Result<Ring> readRing(const std::string &path) {
  MOEC_ASSIGN_OR_RETURN(InputFile file, InputFile::open(path));
  Ring ring;
  RingHeader &header = ring.header;
  auto wrong = [&](const std::string &what) { return Status::error("MOEC-N011", path, what); };
  if (file.size() < sizeof header)
    return wrong("this file of " + std::to_string(file.size()) + " bytes is too short for a ring");
  MOEC_RETURN_IF_ERROR(file.read(0, std::as_writable_bytes(std::span(&header, 1))));
  if (std::memcmp(header.magic, RingHeader().magic, sizeof header.magic) != 0)
    return wrong("this file is no ring of a rank (it does not begin with MOECRNG1)");
  if (header.recordBytes != sizeof(RingRecord) || header.capacity == 0 || header.capacity > kMostRecords ||
      header.rank < 0 || header.rank >= header.size || !std::isfinite(header.started))
    return wrong("the head of this ring is damaged, or another version of moec wrote it");
  header.host[sizeof header.host - 1] = '\0';
  uint64_t whole = sizeof header + uint64_t(header.capacity) * sizeof(RingRecord);
  if (file.size() != whole)
    return wrong("this ring has " + std::to_string(file.size()) + " bytes instead of " + std::to_string(whole));
  ring.records.resize(header.capacity);
  MOEC_RETURN_IF_ERROR(file.read(sizeof header, std::as_writable_bytes(std::span(ring.records))));
  std::erase_if(ring.records, [&](const RingRecord &r) { return r.number == 0 || !isPlausible(r, header); });
  std::sort(ring.records.begin(), ring.records.end(),
            [](const RingRecord &a, const RingRecord &b) { return a.number < b.number; });
  return ring;
}

} // namespace moec::rt
