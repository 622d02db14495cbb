#include "runtime/base/Status.h"

namespace moec::rt {

static const std::string &emptyString() {
  static const std::string empty;
  return empty;
}

Status::Status(std::string code, std::string place, std::string message)
    : failure(std::make_shared<const Failure>(Failure{std::move(code), std::move(place), std::move(message)})) {}

const std::string &Status::code() const { return failure ? failure->code : emptyString(); }
const std::string &Status::place() const { return failure ? failure->place : emptyString(); }
const std::string &Status::message() const { return failure ? failure->message : emptyString(); }

std::string Status::text() const {
  if (!failure)
    return "ok";
  std::string result = failure->code + ": ";
  if (!failure->place.empty())
    result += failure->place + ": ";
  return result + failure->message;
}

Status Status::recoded(std::string code, const std::string &prefix) const {
  if (!failure)
    return {};
  return Status(std::move(code), failure->place, prefix + failure->message);
}

} // namespace moec::rt
