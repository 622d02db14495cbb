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

std::string_view instructionName(Instruction::Kind kind) {
  switch (kind) {
  case Instruction::Kind::Launch:
    return "(launch)";
  case Instruction::Kind::Fill:
    return "(fill)";
  case Instruction::Kind::Copy:
    return "(copy)";
  case Instruction::Kind::Repeat:
    return "(repeat)";
  case Instruction::Kind::Start:
    return "(start)";
  case Instruction::Kind::Wait:
    return "(wait)";
  }
  return "";
}

static std::string_view instructionSummary(Instruction::Kind kind) {
  switch (kind) {
  case Instruction::Kind::Fill:
    return "set to zero";
  case Instruction::Kind::Copy:
    return "copy";
  case Instruction::Kind::Start:
    return "starts an exchange with other ranks";
  case Instruction::Kind::Wait:
    return "waits for an exchange";
  default:
    return "";
  }
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

void Profile::Entry::add(const Entry &other) {
  calls += other.calls;
  work.seconds += other.work.seconds;
  work.flops += other.work.flops;
  work.bytes += other.work.bytes;
  secondsAtLimit += other.secondsAtLimit;
}

Profile::Profile(const Plan &plan, DeviceLimits limits)
    : plan(plan), limits(std::move(limits)), kernels(plan.kernels.size()), sections(plan.locations.size()) {}

void Profile::add(const TimedLaunch &launch) {
  Entry &entry = launch.kind == Instruction::Kind::Launch ? kernels[launch.kernel] : others[launch.kind];
  Entry one{1, ratesOf(plan, launch)};
  one.secondsAtLimit = one.work.seconds * one.work.percentOfLimit(limits) / 100;
  entry.add(one);
  if (launch.location < sections.size())
    sections[launch.location].add(one);
}

std::string Profile::rowsText(const std::string &title, std::vector<Row> rows, bool hasSummary) const {
  std::erase_if(rows, [](const Row &row) { return row.entry.calls == 0; });
  std::sort(rows.begin(), rows.end(),
            [](const Row &a, const Row &b) { return a.entry.work.seconds > b.entry.work.seconds; });
  Row total{"total", "", {}};
  for (const Row &row : rows)
    total.entry.add(row.entry);
  rows.push_back(total);

  bool known = limits.flops > 0;
  std::vector<std::string> header = {title, "calls", "ms", "us/call", known ? "TFLOP/s" : "GFLOP/s", "GB/s", "%"};
  if (known)
    header.push_back("% of limit");
  std::string alignment = "0" + std::string(header.size() - 1, '1');
  if (hasSummary)
    header.push_back("what");
  TextTable table(header, alignment);
  for (const Row &row : rows) {
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
      cells.push_back(formatFixed(100 * row.entry.secondsAtLimit / std::max(work.seconds, 1e-12), 1));
    if (hasSummary)
      cells.push_back(row.summary);
    table.row(cells);
  }
  return table.text();
}

std::string Profile::table() const {
  std::vector<Row> rows;
  for (size_t i = 0; i < kernels.size(); ++i)
    rows.push_back({plan.kernels[i].name, plan.kernels[i].summary, kernels[i]});
  for (const auto &[kind, entry] : others)
    rows.push_back({std::string(instructionName(kind)), std::string(instructionSummary(kind)), entry});
  std::string text = rowsText("kernel", std::move(rows), true);
  if (!sections.empty()) {
    rows.clear();
    for (size_t i = 0; i < sections.size(); ++i)
      rows.push_back({plan.locations[i], "", sections[i]});
    text += "\n" + rowsText("section of the spec", std::move(rows), false);
  }
  if (limits.flops == 0)
    return text;
  return text + "limits: " + formatFixed(limits.flops * 1e-12, 1) + " TFLOP/s (bf16), " +
         formatFixed(limits.bytesPerSecond * 1e-9, 0) + " GB/s, of " + limits.name +
         "; % of limit: the time that the nearer limit would take\n";
}

} // namespace moec::rt
