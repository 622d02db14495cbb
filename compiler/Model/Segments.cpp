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
      segment.slots.push_back({number++, first + i, period, count, startsWithMoe && i == 0});
  };
  int64_t dense = std::min(pattern.first, numLayers);
  int64_t repeats = (numLayers - dense) / pattern.every;
  addSegment(0, 1, dense, false);
  addSegment(dense, pattern.every, repeats, true);
  addSegment(dense + repeats * pattern.every, (numLayers - dense) % pattern.every, 1, true);
  return segments;
}

std::string getSlotSymbol(const LayerSlot &slot, const std::string &name) {
  std::string symbol = "layers.{}." + name;
  return slot.number == 0 ? symbol : symbol + "#" + std::to_string(slot.number);
}

std::string getLogicalName(std::string symbol, int64_t first, int64_t step, int64_t index) {
  symbol = symbol.substr(0, symbol.find('#'));
  size_t hole = symbol.find("{}");
  if (hole != std::string::npos)
    symbol.replace(hole, 2, std::to_string(first + step * index));
  return symbol;
}

} // namespace moec
