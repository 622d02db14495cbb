// What lines of metrics.jsonl have beside the metrics of the plan. No metric may be called so: it would be lost, or
// take the place of what readers look for.
#ifndef MOEC_RUNTIME_PLAN_LINEKEYS_H
#define MOEC_RUNTIME_PLAN_LINEKEYS_H

namespace moec::rt::line_key {

inline constexpr char step[] = "step", split[] = "split", time[] = "time_s", tokens[] = "tokens";
inline constexpr char tokensPerSecond[] = "tokens_per_s", unigramBaseline[] = "unigram_baseline";
inline constexpr char sources[] = "sources";

inline constexpr const char *all[] = {step, split, time, tokens, tokensPerSecond, unigramBaseline, sources};

} // namespace moec::rt::line_key

#endif
