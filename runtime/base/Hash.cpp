#include "runtime/base/Hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

namespace moec::rt {

struct Hasher::State {
  XXH3_state_t xxh;
};

// XXH3_state_t asks for 64-byte alignment, which aligned operator new gives.
Hasher::Hasher() : state(std::make_unique<State>()) { XXH3_128bits_reset(&state->xxh); }
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher &&) noexcept = default;
Hasher &Hasher::operator=(Hasher &&) noexcept = default;

void Hasher::update(const void *data, size_t bytes) { XXH3_128bits_update(&state->xxh, data, bytes); }

static Digest canonical(XXH128_hash_t hash) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  Digest digest;
  std::memcpy(digest.data(), bytes.digest, digest.size());
  return digest;
}

Digest Hasher::digest() const { return canonical(XXH3_128bits_digest(&state->xxh)); }

Digest hashBytes(std::span<const std::byte> data) { return canonical(XXH3_128bits(data.data(), data.size())); }

std::string hashHex(std::span<const std::byte> data) { return toHex(hashBytes(data)); }

std::string hashHex(const std::string &text) { return hashHex(std::as_bytes(std::span(text))); }

std::string toHex(const Digest &digest) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (uint8_t byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

} // namespace moec::rt
