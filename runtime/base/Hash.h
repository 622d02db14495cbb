// XXH3-128, of a whole buffer or of a stream. Detects damage, not deliberate changes.
#ifndef MOEC_RUNTIME_BASE_HASH_H
#define MOEC_RUNTIME_BASE_HASH_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace moec::rt {

/// Canonical (big-endian) bytes, so that hex text and bytes in files have the same order.
using Digest = std::array<uint8_t, 16>;

class Hasher {
public:
  Hasher();
  ~Hasher();
  Hasher(Hasher &&) noexcept;
  Hasher &operator=(Hasher &&) noexcept;

  void update(const void *data, size_t bytes);
  Digest digest() const;

private:
  struct State;
  std::unique_ptr<State> state;
};

Digest hashBytes(std::span<const std::byte> data);
std::string hashHex(std::span<const std::byte> data);
std::string hashHex(const std::string &text);
std::string toHex(const Digest &digest);

} // namespace moec::rt

#endif // MOEC_RUNTIME_BASE_HASH_H
