// How layers are grouped: runs of a repeated pattern, so that the IR does not grow with depth.
#ifndef MOEC_COMPILER_MODEL_SEGMENTS_H
#define MOEC_COMPILER_MODEL_SEGMENTS_H

#include <cstdint>
#include <string>
#include <vector>

namespace moec {

/// One layer of a segment's period; it stands for layers first, first + step, ... (count of them).
struct LayerStack {
  unsigned number; // over all segments
  int64_t first, step, count;
  bool isMoe;
};

/// A run of layers that repeats `stacks` `count` times.
struct Segment {
  int64_t count;
  std::vector<LayerStack> stacks;
};

/// Which layers are mixtures: i >= first and (i - first) % every == 0. No mixtures: first >= number of layers.
struct MoePattern {
  int64_t first, every;
};

/// The segments: the dense layers before the first mixture, the repeating period, and the beginning of a period that is
/// left over. Empty segments are omitted.
std::vector<Segment> formSegments(int64_t numLayers, MoePattern pattern);

/// Logical name of a state with a copy for each layer of a stack: `layers.{}.<name>`, where {} stands for the layer.
std::string getNameInLayers(const std::string &name);

/// Name of copy `index` of the stack: `layers.{}.x` with first 1 and step 2 -> `layers.<1 + 2 * index>.x`.
std::string getCopyName(std::string logicalName, const LayerStack &stack, int64_t index);

/// Symbol of the state with this logical name. Symbols must be unique, but the stacks of a period share logical names.
/// So the symbols of all stacks except the first end in `#<number>`. No code reads the number back, because states have
/// an attribute with their logical name.
std::string getSymbol(const std::string &logicalName, const LayerStack *stack);

} // namespace moec

#endif
