// Status: the result of every function of the runtime that can fail. It has a code that users can search for, a place
// (file, JSON pointer, tensor name) and a sentence. An ok Status holds no memory.
#ifndef MOEC_RUNTIME_BASE_STATUS_H
#define MOEC_RUNTIME_BASE_STATUS_H

#include <memory>
#include <sstream>
#include <string>
#include <utility>

namespace moec::rt {

class [[nodiscard]] Status {
public:
  Status() = default;

  static Status ok() { return {}; }

  /// The message is the concatenation of `parts`, printed with operator<<.
  template <typename... Parts> static Status error(std::string code, std::string place, const Parts &...parts) {
    std::ostringstream text;
    (text << ... << parts);
    return Status(std::move(code), std::move(place), text.str());
  }

  bool isOk() const { return !failure; }
  explicit operator bool() const = delete; // ok or failed? say isOk()

  /// Empty for an ok status.
  const std::string &code() const;
  const std::string &place() const;
  const std::string &message() const;

  /// "MOEC-P004: file: message", the form that tools print.
  std::string text() const;

  /// The same failure with another code and with `prefix` before its message; ok stays ok.
  Status recoded(std::string code, const std::string &prefix = {}) const;

private:
  struct Failure {
    std::string code, place, message;
  };

  Status(std::string code, std::string place, std::string message);

  std::shared_ptr<const Failure> failure;
};

} // namespace moec::rt

#define MOEC_RETURN_IF_ERROR(expression)                                                                               \
  do {                                                                                                                 \
    ::moec::rt::Status moecStatus = (expression);                                                                      \
    if (!moecStatus.isOk())                                                                                            \
      return moecStatus;                                                                                               \
  } while (false)

#endif // MOEC_RUNTIME_BASE_STATUS_H
