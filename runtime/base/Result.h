// Result<T>: a value, or a Status that says why there is none.
#ifndef MOEC_RUNTIME_BASE_RESULT_H
#define MOEC_RUNTIME_BASE_RESULT_H

#include "runtime/base/Status.h"

#include <cassert>
#include <optional>
#include <utility>

namespace moec::rt {

template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : storage(std::move(value)) {}
  Result(Status status) : failure(std::move(status)) { assert(!failure.isOk() && "an ok Result needs a value"); }

  bool isOk() const { return storage.has_value(); }
  const Status &status() const { return failure; }

  T &value() & {
    assert(storage && "value() of a failed Result");
    return *storage;
  }
  const T &value() const & {
    assert(storage && "value() of a failed Result");
    return *storage;
  }
  T &&value() && {
    assert(storage && "value() of a failed Result");
    return std::move(*storage);
  }
  T *operator->() { return &value(); }
  const T *operator->() const { return &value(); }
  T &operator*() & { return value(); }
  const T &operator*() const & { return value(); }
  T &&operator*() && { return std::move(*this).value(); }

private:
  Status failure;
  std::optional<T> storage;
};

} // namespace moec::rt

#define MOEC_CONCAT_INNER(a, b) a##b
#define MOEC_CONCAT(a, b) MOEC_CONCAT_INNER(a, b)
#define MOEC_ASSIGN_OR_RETURN_INNER(result, declaration, expression)                                                   \
  auto result = (expression);                                                                                          \
  if (!result.isOk())                                                                                                  \
    return result.status();                                                                                            \
  declaration = std::move(result).value()

/// MOEC_ASSIGN_OR_RETURN(Plan plan, readPlan(path));
#define MOEC_ASSIGN_OR_RETURN(declaration, expression)                                                                 \
  MOEC_ASSIGN_OR_RETURN_INNER(MOEC_CONCAT(moecResult, __LINE__), declaration, expression)

#endif // MOEC_RUNTIME_BASE_RESULT_H
