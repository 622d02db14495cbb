// Shared by the runtime's tests: folders that go away, files in and out, and checks that print the failure.
#ifndef MOEC_TEST_UNIT_RUNTIME_TESTSUPPORT_H
#define MOEC_TEST_UNIT_RUNTIME_TESTSUPPORT_H

#include "runtime/base/Result.h"

#include <catch2/catch.hpp>

#include <string>

namespace moec::rt::test {

class TempDir {
public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir &) = delete;
  const std::string &path() const { return folder; }
  std::string operator/(const std::string &name) const { return folder + "/" + name; }

private:
  std::string folder;
};

std::string slurp(const std::string &path);
void spill(const std::string &path, const std::string &content);
bool exists(const std::string &path);

/// Text that a bigram model can learn something from; the same for the same seed.
std::string sampleText(size_t bytes, unsigned seed);

/// Runs `child` in a forked process and returns what waitpid said.
int forkAndWait(void (*enter)(void *), void *context);
template <typename Child> int inChild(Child child) {
  return forkAndWait([](void *context) { (*static_cast<Child *>(context))(); }, &child);
}

} // namespace moec::rt::test

#define REQUIRE_OK(expression)                                                                                         \
  do {                                                                                                                 \
    ::moec::rt::Status moecTestStatus = (expression);                                                                  \
    INFO(moecTestStatus.text());                                                                                       \
    REQUIRE(moecTestStatus.isOk());                                                                                    \
  } while (false)

#define CHECK_CODE(expression, expected)                                                                               \
  do {                                                                                                                 \
    ::moec::rt::Status moecTestStatus = (expression);                                                                  \
    INFO(moecTestStatus.text());                                                                                       \
    CHECK(moecTestStatus.code() == (expected));                                                                        \
  } while (false)

#endif // MOEC_TEST_UNIT_RUNTIME_TESTSUPPORT_H
