#include "TestSupport.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

namespace moec::rt::test {

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "moec-test-XXXXXX").string();
  REQUIRE(::mkdtemp(pattern.data()) != nullptr);
  folder = pattern;
}

TempDir::~TempDir() {
  std::error_code error;
  std::filesystem::remove_all(folder, error);
}

std::string slurp(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void spill(const std::string &path, const std::string &content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
}

bool exists(const std::string &path) { return std::filesystem::exists(std::filesystem::symlink_status(path)); }

std::string sampleText(size_t bytes, unsigned seed) {
  static const char *const words[] = {"expert ", "router ", "token ", "layer ", "the ", "of ", "loss\n", "gate "};
  std::mt19937 random(seed);
  std::string text;
  while (text.size() < bytes)
    text += words[random() % std::size(words)];
  text.resize(bytes);
  return text;
}

int forkAndWait(void (*enter)(void *), void *context) {
  pid_t child = ::fork();
  if (child == 0) {
    enter(context);
    ::_exit(0);
  }
  int state = 0;
  ::waitpid(child, &state, 0);
  return state;
}

} // namespace moec::rt::test
