// The functions of a moe module by name: the model builder makes them, passes look for them, a plan's programs and
// manifest call them.
#ifndef MOEC_DIALECTS_MOE_IR_FUNCTIONNAMES_H
#define MOEC_DIALECTS_MOE_IR_FUNCTIONNAMES_H

namespace moec::moe {

inline constexpr char kInitFunction[] = "init";                        // initial values of all states that keep one
inline constexpr char kBeginStepFunction[] = "begin_step";             // zeros in gradients, sums and counts of a step
inline constexpr char kForwardBackwardFunction[] = "forward_backward"; // of one micro-batch
inline constexpr char kSumLevelFunction[] = "sum_level_"; // after a micro-batch, with a number: see dist-order-sums
inline constexpr char kSumAllFunction[] = "sum_all";      // after the last micro-batch of a rank
inline constexpr char kUpdateFunction[] = "update";       // a step of optimizer and balancing
inline constexpr char kEvaluateFunction[] = "evaluate";   // the losses of one micro-batch, token by token
inline constexpr char kLogitsFunction[] = "logits";       // scores of the next token of one window
inline constexpr char kRefreshFunction[] = "refresh"; // copies of parameters in other types, after a checkpoint is read

} // namespace moec::moe

#endif
