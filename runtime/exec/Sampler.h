// Picks the next token from logits.
#ifndef MOEC_RUNTIME_EXEC_SAMPLER_H
#define MOEC_RUNTIME_EXEC_SAMPLER_H

#include <cstdint>
#include <span>

namespace moec::rt {

/// `uniform` in [0, 1) decides. Temperature 0 takes the largest logit (the first of equals); topK 0 takes all.
uint32_t sampleToken(std::span<const double> logits, double temperature, uint32_t topK, double uniform);

} // namespace moec::rt

#endif // MOEC_RUNTIME_EXEC_SAMPLER_H
