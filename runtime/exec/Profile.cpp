#include "runtime/exec/Profile.h"

#include "runtime/base/Text.h"

#include <algorithm>

namespace moec::rt {

Profile::Profile(const Plan &plan) : plan(plan), kernels(plan.kernels.size()) {}

std::string Profile::table() const {
  struct Row {
    std::string name, summary;
    Entry entry;
    double flops;
  };
  std::vector<Row> rows;
  for (size_t i = 0; i < kernels.size(); ++i) {
    Entry entry = kernels[i];
    auto calls = static_cast<double>(entry.calls);
    entry.bytes = calls * plan.kernels[i].bytes;
    rows.push_back({plan.kernels[i].name, plan.kernels[i].summary, entry, calls * plan.kernels[i].flops});
  }
  rows.push_back({"(fill)", "set to zero", fills, 0});
  rows.push_back({"(copy)", "copy", copies, 0});
  std::erase_if(rows, [](const Row &row) { return row.entry.calls == 0; });
  std::sort(rows.begin(), rows.end(), [](const Row &a, const Row &b) { return a.entry.seconds > b.entry.seconds; });

  Row total{"total", "", {}, 0};
  for (const Row &row : rows) {
    total.entry.calls += row.entry.calls;
    total.entry.seconds += row.entry.seconds;
    total.entry.bytes += row.entry.bytes;
    total.flops += row.flops;
  }
  TextTable table({"kernel", "calls", "ms", "us/call", "GFLOP/s", "GB/s", "%", "what"}, "0111111");
  auto addRow = [&](const Row &row) {
    double seconds = std::max(row.entry.seconds, 1e-12);
    table.row({row.name, std::to_string(row.entry.calls), formatFixed(row.entry.seconds * 1e3, 2),
               formatFixed(row.entry.seconds * 1e6 / static_cast<double>(std::max<uint64_t>(row.entry.calls, 1)), 1),
               formatFixed(row.flops / seconds * 1e-9, 2), formatFixed(row.entry.bytes / seconds * 1e-9, 2),
               formatFixed(100 * row.entry.seconds / std::max(total.entry.seconds, 1e-12), 1), row.summary});
  };
  for (const Row &row : rows)
    addRow(row);
  addRow(total);
  return table.text();
}

} // namespace moec::rt
