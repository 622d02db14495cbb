#include "runtime/exec/Trace.h"

#include "runtime/base/Json.h"
#include "runtime/exec/Profile.h"

#include <cmath>

namespace moec::rt {

/// Readable numbers: four digits after the point are more than the clock knows.
static Json rounded(double value) { return Json::number(std::round(value * 1e4) / 1e4); }

static Json metadata(const char *name, const char *key, const std::string &value) {
  Json args = Json::object(), event = Json::object();
  args.set(key, Json::string(value));
  event.set("ph", Json::string("M"));
  event.set("name", Json::string(name));
  event.set("pid", Json::integer(0));
  event.set("tid", Json::integer(0));
  event.set("args", std::move(args));
  return event;
}

static Json eventOf(const Plan &plan, const DeviceLimits &limits, const TimedLaunch &launch) {
  bool isLaunch = launch.kind == Instruction::Kind::Launch;
  std::string name = isLaunch ? plan.kernels[launch.kernel].name : std::string(instructionName(launch.kind));
  Rates rates = ratesOf(plan, launch);
  Json args = Json::object();
  args.set("kernel", Json::string(name));
  args.set("stream", Json::integer(0));
  args.set("ms", rounded(launch.seconds * 1e3));
  args.set("GB/s", rounded(rates.gigabytes()));
  args.set("TFLOP/s", rounded(rates.gigaflops() * 1e-3));
  if (limits.flops > 0)
    args.set("percent of limit", rounded(rates.percentOfLimit(limits)));
  if (isLaunch) {
    args.set("what", Json::string(plan.kernels[launch.kernel].summary));
    args.set("from", Json::string(plan.kernels[launch.kernel].loc));
  }
  if (launch.location < plan.locations.size())
    args.set("section", Json::string(plan.locations[launch.location]));
  Json event = Json::object();
  event.set("ph", Json::string("X"));
  event.set("name", Json::string(name));
  bool isExchange = launch.kind == Instruction::Kind::Start || launch.kind == Instruction::Kind::Wait;
  event.set("cat", Json::string(isLaunch ? "kernel" : isExchange ? "exchange" : "memory"));
  event.set("pid", Json::integer(0));
  event.set("tid", Json::integer(0));
  event.set("ts", rounded(launch.begin * 1e6)); // microseconds
  event.set("dur", rounded(launch.seconds * 1e6));
  event.set("args", std::move(args));
  return event;
}

std::string chromeTrace(const Plan &plan, const DeviceLimits &limits, int64_t step,
                        std::span<const TimedLaunch> launches) {
  Json events = Json::array();
  std::string device = limits.name.empty() ? std::string(targetKindName(plan.target.kind)) : limits.name;
  events.append(metadata("process_name", "name", plan.name + " on " + device));
  events.append(metadata("thread_name", "name", "stream 0"));
  for (const TimedLaunch &launch : launches)
    events.append(eventOf(plan, limits, launch));
  Json about = Json::object();
  about.set("plan", Json::string(plan.name));
  about.set("step", Json::integer(step));
  about.set("device", Json::string(device));
  about.set("limit_tflops", rounded(limits.flops * 1e-12));
  about.set("limit_gb_per_s", rounded(limits.bytesPerSecond * 1e-9));
  Json trace = Json::object();
  trace.set("traceEvents", std::move(events));
  trace.set("displayTimeUnit", Json::string("ms"));
  trace.set("otherData", std::move(about));
  return trace.dump() + "\n";
}

} // namespace moec::rt
