#include "compiler/Model/Segments.h"

#include <algorithm>

namespace moec {

std::vector<Segment> formSegments(int64_t numLayers, MoePattern pattern) {
  std::vector<Segment> segments;
  unsigned number = 0;
  auto addSegment = [&](int64_t first, int64_t period, int64_t count, bool startsWithMoe) {
    if (period == 0 || count == 0)
      return;
    Segment &segment = segments.emplace_back(Segment{count, {}});
    for (int64_t i = 0; i < period; ++i)
      segment.stacks.push_back({number++, first + i, period, count, startsWithMoe && i == 0});
  };
  int64_t dense = std::min(pattern.first, numLayers);
  int64_t repeats = (numLayers - dense) / pattern.every;
  addSegment(0, 1, dense, false);
  addSegment(dense, pattern.every, repeats, true);
  addSegment(dense + repeats * pattern.every, (numLayers - dense) % pattern.every, 1, true);
  return segments;
}

static constexpr char kLayer[] = "{}";

std::string getNameInLayers(const std::string &name) { return std::string("layers.") + kLayer + "." + name; }

std::string getCopyName(std::string logicalName, const LayerStack &stack, int64_t index) {
  if (size_t hole = logicalName.find(kLayer); hole != std::string::npos)
    logicalName.replace(hole, sizeof kLayer - 1, std::to_string(stack.first + stack.step * index));
  return logicalName;
}

std::string getSymbol(const std::string &logicalName, const LayerStack *stack) {
  bool isShared = stack && stack->number > 0 && logicalName.find(kLayer) != std::string::npos;
  return isShared ? logicalName + "#" + std::to_string(stack->number) : logicalName;
}

} // namespace moec
