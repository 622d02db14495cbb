// What the rings of a job say together. Operations of a group have numbers, and all its ranks run them in order: so the
// rank that waits longest in vain, and the rank that has not come, can be told from numbers alone.
#include "runtime/base/Text.h"
#include "runtime/comm/Exchange.h"
#include "runtime/comm/Ring.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

namespace moec::rt {

namespace fs = std::filesystem;

namespace {
/// The ranks that run operations together: number of the group, and its first rank.
using Cell = std::pair<uint32_t, int32_t>;
/// An operation: these ranks, and its number.
using Key = std::pair<Cell, uint64_t>;

struct RankView {
  const Ring *ring = nullptr;
  const RingRecord *last = nullptr;           // of any event
  std::map<Cell, const RingRecord *> started; // the newest operation of each cell
  const RingRecord *stuck = nullptr;          // the wait that has not ended, or failed
};

struct Folder {
  std::map<int, Ring> rings; // of the newest job
  std::vector<std::string> remarks;
};
} // namespace

static Key keyOf(const RingRecord &record) { return {{record.group, record.leader}, record.sequence}; }

static std::string operation(const RingRecord &record) {
  return std::string(kindName(ExchangeKind(record.kind))) + " of \"" + escapeBytes(record.name) + "\" (instruction " +
         std::to_string(record.instruction) + "), operation " + std::to_string(record.sequence) + " of group " +
         std::to_string(record.group) + " (" + std::to_string(record.groupSize) +
         (record.groupSize == 1 ? " rank" : " ranks from rank " + std::to_string(record.leader)) + ")";
}

static Result<Folder> readFolder(const std::string &path) {
  Folder folder;
  std::vector<std::string> paths;
  std::error_code failure;
  for (fs::directory_iterator at(path, failure), end; !failure && at != end; at.increment(failure))
    if (at->path().extension() == ".ring")
      paths.push_back(at->path().string());
  if (failure)
    return Status::error("MOEC-I001", path, "cannot read this folder: ", failure.message());
  if (paths.empty())
    return Status::error("MOEC-N011", path, "there is no ring in this folder (rank-0.ring, ...)");
  std::sort(paths.begin(), paths.end());
  std::vector<Ring> rings;
  for (const std::string &file : paths) {
    Result<Ring> ring = readRing(file);
    if (ring.isOk())
      rings.push_back(std::move(*ring));
    else
      folder.remarks.push_back(ring.status().text());
  }
  if (rings.empty())
    return Status::error("MOEC-N011", path, "no ring in this folder can be read: ", folder.remarks.front());
  // A job of fewer ranks leaves rings of the one before.
  auto newest = std::max_element(rings.begin(), rings.end(),
                                 [](const Ring &a, const Ring &b) { return a.header.started < b.header.started; });
  int size = newest->header.size;
  for (Ring &ring : rings) {
    int rank = ring.header.rank;
    if (ring.header.size != size)
      folder.remarks.push_back("the ring of rank " + std::to_string(rank) + " is of another job, of " +
                               std::to_string(ring.header.size) + " ranks");
    else if (!folder.rings.emplace(rank, std::move(ring)).second)
      folder.remarks.push_back("there are two rings of rank " + std::to_string(rank) + "; the second is left out");
  }
  return folder;
}

static RankView viewOf(const Ring &ring) {
  RankView view;
  view.ring = &ring;
  for (const RingRecord &record : ring.records) {
    view.last = &record;
    if (record.kind == 0)
      continue;
    Cell cell{record.group, record.leader};
    // Waits may come in another order than starts. A start that failed, since the job had, is none.
    const RingRecord *&newest = view.started[cell];
    bool isStarted = record.event != RingEvent::Failed || (newest && newest->sequence >= record.sequence);
    if (isStarted && (!newest || newest->sequence <= record.sequence))
      newest = &record;
    if (record.event == RingEvent::Wait || (record.event == RingEvent::Failed && isStarted))
      view.stuck = &record;
    else if (record.event == RingEvent::Done)
      view.stuck = nullptr;
  }
  return view;
}

static std::string doing(const RankView &view) {
  if (!view.last)
    return "nothing yet";
  switch (view.last->event) {
  case RingEvent::Step:
    return "computes, at the beginning of a step";
  case RingEvent::Start:
    return "computes, after starting " + operation(*view.last);
  case RingEvent::Wait:
    return "waits in " + operation(*view.last);
  case RingEvent::Done:
    return "computes, after " + operation(*view.last);
  case RingEvent::Failed:
    return "failed in " + operation(*view.last);
  case RingEvent::End:
    return "ended well";
  }
  return "unknown";
}

/// For each operation that ranks are stuck in, but one: who has not come to it.
static std::string verdict(const std::map<int, RankView> &views, const std::optional<Key> &except) {
  // The same operation is described once, with all that wait in it.
  std::map<Key, std::vector<int>> waits;
  for (const auto &[rank, view] : views)
    if (view.stuck)
      waits[keyOf(*view.stuck)].push_back(rank);
  std::string text;
  for (const auto &[key, waiting] : waits) {
    if (key == except)
      continue;
    const auto &[cell, sequence] = key;
    const RingRecord &record = *views.at(waiting.front()).stuck;
    std::vector<int> behind;
    size_t come = 0;
    for (const auto &[rank, view] : views) {
      auto found = view.started.find(cell);
      bool isMember = found != view.started.end();
      if (isMember && found->second && found->second->sequence >= sequence)
        ++come;
      else if (isMember || cell.first == kWorldGroup)
        behind.push_back(rank); // of a group whose operations it never ran, a rank may not be a member
    }
    text +=
        rankList(waiting) + (waiting.size() == 1 ? " is stuck in " : " are stuck in ") + operation(record) + ", and ";
    if (!behind.empty())
      text += rankList(behind) + (behind.size() == 1 ? " has not come to it\n" : " have not come to it\n");
    else if (come < record.groupSize)
      text += std::to_string(come) + " of its ranks have come to it, as far as the rings tell\n";
    else
      text += "all have come to it: its bytes have not arrived\n";
  }
  return text;
}

/// Two ranks that are at different operations under one number, and that number.
static std::pair<std::string, std::optional<Key>> disagreement(const std::map<int, RankView> &views) {
  std::map<Key, std::pair<int, const RingRecord *>> first;
  for (const auto &[rank, view] : views)
    for (const RingRecord &record : view.ring->records) {
      if (record.kind == 0)
        continue;
      auto [at, isNew] = first.try_emplace(keyOf(record), rank, &record);
      const RingRecord &other = *at->second.second;
      if (!isNew && (other.kind != record.kind || other.instruction != record.instruction ||
                     std::string_view(other.name) != record.name))
        return {rankList({at->second.first}) + " is at " + operation(other) + ", and " + rankList({rank}) + " at " +
                    operation(record) + ": they run different operations\n",
                at->first};
    }
  return {};
}

Result<std::string> diagnoseRings(const std::string &path) {
  MOEC_ASSIGN_OR_RETURN(Folder folder, readFolder(path));
  int size = folder.rings.begin()->second.header.size;
  std::map<int, RankView> views;
  double newest = 0;
  for (const auto &[rank, ring] : folder.rings) {
    views.emplace(rank, viewOf(ring));
    if (!ring.records.empty())
      newest = std::max(newest, ring.records.back().seconds);
  }
  TextTable table({"rank", "host", "process", "step", "seconds before the last record", "what it did last"}, "101110");
  std::vector<int> absent;
  for (int rank = 0; rank < size; ++rank) {
    auto found = views.find(rank);
    if (found == views.end()) {
      absent.push_back(rank);
      continue;
    }
    const RankView &view = found->second;
    table.row({std::to_string(rank), escapeBytes(view.ring->header.host), std::to_string(view.ring->header.process),
               view.last ? std::to_string(view.last->step) : "-",
               view.last ? formatFixed(newest - view.last->seconds, 1) : "-", doing(view)});
  }
  std::string text = table.text();
  for (const std::string &remark : folder.remarks)
    text += remark + "\n";
  if (!absent.empty())
    text += "no ring of " + rankList(absent) + "\n";
  auto [words, differing] = disagreement(views);
  text += words + verdict(views, differing);
  uint64_t least = UINT64_MAX, most = 0;
  for (const auto &[rank, view] : views)
    if (view.last) {
      least = std::min(least, view.last->step);
      most = std::max(most, view.last->step);
    }
  std::vector<int> late;
  for (const auto &[rank, view] : views)
    if (view.last && view.last->step < most)
      late.push_back(rank);
  if (!late.empty())
    text += rankList(late) + (late.size() == 1 ? " is" : " are") + " behind: at step " + std::to_string(least) +
            ", others at step " + std::to_string(most) + "\n";
  return text;
}

} // namespace moec::rt
