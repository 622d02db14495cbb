#include "runtime/exec/Profile.h"

#include "runtime/base/Text.h"

#include <algorithm>

namespace moec::rt {

double Rates::gigaflops() const { return flops / std::max(seconds, 1e-12) * 1e-9; }
double Rates::gigabytes() const { return bytes / std::max(seconds, 1e-12) * 1e-9; }

double Rates::percentOfLimit(const DeviceLimits &limits) const {
  double best = 0;
  if (limits.flops > 0)
    best = std::max(best, flops / limits.flops);
  if (limits.bytesPerSecond > 0)
    best = std::max(best, bytes / limits.bytesPerSecond);
  return 100 * best / std::max(seconds, 1e-12);
}

Rates ratesOf(const Plan &plan, const TimedLaunch &launch) {
  switch (launch.kind) {
  case Instruction::Kind::Launch:
    return {launch.seconds, plan.kernels[launch.kernel].flops, plan.kernels[launch.kernel].bytes};
  case Instruction::Kind::Copy:
    return {launch.seconds, 0, 2 * static_cast<double>(launch.bytes)};
  default:
    return {launch.seconds, 0, static_cast<double>(launch.bytes)};
  }
}

Profile::Profile(const Plan &plan, DeviceLimits limits)
    : plan(plan), limits(std::move(limits)), kernels(plan.kernels.size()) {}

void Profile::add(const TimedLaunch &launch) {
  Entry &entry = launch.kind == Instruction::Kind::Launch ? kernels[launch.kernel]
                 : launch.kind == Instruction::Kind::Fill ? fills
                                                          : copies;
  Rates one = ratesOf(plan, launch);
  ++entry.calls;
  entry.work.seconds += one.seconds;
  entry.work.flops += one.flops;
  entry.work.bytes += one.bytes;
}

std::string Profile::table() const {
  struct Row {
    std::string name, summary;
    Entry entry;
  };
  std::vector<Row> rows;
  for (size_t i = 0; i < kernels.size(); ++i)
    rows.push_back({plan.kernels[i].name, plan.kernels[i].summary, kernels[i]});
  rows.push_back({"(fill)", "set to zero", fills});
  rows.push_back({"(copy)", "copy", copies});
  std::erase_if(rows, [](const Row &row) { return row.entry.calls == 0; });
  std::sort(rows.begin(), rows.end(),
            [](const Row &a, const Row &b) { return a.entry.work.seconds > b.entry.work.seconds; });

  Row total{"total", "", {}};
  for (const Row &row : rows) {
    total.entry.calls += row.entry.calls;
    total.entry.work.seconds += row.entry.work.seconds;
    total.entry.work.flops += row.entry.work.flops;
    total.entry.work.bytes += row.entry.work.bytes;
  }
  bool known = limits.flops > 0;
  std::vector<std::string> header = {"kernel", "calls", "ms", "us/call", known ? "TFLOP/s" : "GFLOP/s", "GB/s", "%"};
  if (known)
    header.push_back("% of limit");
  header.push_back("what");
  TextTable table(header, known ? "01111111" : "0111111");
  auto addRow = [&](const Row &row) {
    const Rates &work = row.entry.work;
    std::vector<std::string> cells = {
        row.name,
        std::to_string(row.entry.calls),
        formatFixed(work.seconds * 1e3, 2),
        formatFixed(work.seconds * 1e6 / static_cast<double>(std::max<uint64_t>(row.entry.calls, 1)), 1),
        formatFixed(work.gigaflops() * (known ? 1e-3 : 1), 2),
        formatFixed(work.gigabytes(), 2),
        formatFixed(100 * work.seconds / std::max(total.entry.work.seconds, 1e-12), 1)};
    if (known)
      cells.push_back(formatFixed(work.percentOfLimit(limits), 1));
    cells.push_back(row.summary);
    table.row(cells);
  };
  for (const Row &row : rows)
    addRow(row);
  addRow(total);
  if (!known)
    return table.text();
  return table.text() + "limits: " + formatFixed(limits.flops * 1e-12, 1) + " TFLOP/s (bf16), " +
         formatFixed(limits.bytesPerSecond * 1e-9, 0) + " GB/s, of " + limits.name +
         "; % of limit: the time that the nearer limit would take\n";
}

} // namespace moec::rt
