// How layers are grouped: runs of a repeated pattern, so that the IR does not grow with depth.
#ifndef MOEC_COMPILER_MODEL_SEGMENTS_H
#define MOEC_COMPILER_MODEL_SEGMENTS_H

#include <cstdint>
#include <string>
#include <vector>

namespace moec {

/// One layer of a segment's period; it stands for layers first, first + step, ... (count of them).
struct LayerSlot {
  unsigned number; // over all segments
  int64_t first, step, count;
  bool isMoe;
};

/// A run of layers that repeats `slots` `count` times.
struct Segment {
  int64_t count;
  std::vector<LayerSlot> slots;
};

/// Which layers are mixtures: i >= first and (i - first) % every == 0. No mixtures: first >= number of layers.
struct MoePattern {
  int64_t first, every;
};

/// The dense layers before the first mixture, the repeating period, and what is left of a period. Empty runs are left
/// out.
std::vector<Segment> formSegments(int64_t numLayers, MoePattern pattern);

/// Symbol of a state of the slot: `layers.{}.<name>`, with `#<number>` behind it for all slots but the first, since
/// symbols are unique while names of layers take turns.
std::string getSlotSymbol(const LayerSlot &slot, const std::string &name);

/// The name a user sees of copy `index`: `layers.{}.x#2` with first 1 and step 2 -> `layers.<1 + 2 * index>.x`.
std::string getLogicalName(std::string symbol, int64_t first, int64_t step, int64_t index);

} // namespace moec

#endif
