#include "runtime/base/Glob.h"

#include "runtime/base/File.h"

#include <algorithm>
#include <filesystem>
#include <glob.h>
#include <system_error>

namespace moec::rt {

/// Escapes the characters of `special`, so that glob() takes them literally.
static std::string escaped(const std::string &text, const char *special) {
  std::string result;
  for (char c : text) {
    if (std::string_view(special).find(c) != std::string_view::npos)
      result += '\\';
    result += c;
  }
  return result;
}

Result<std::vector<std::string>> matchFiles(const std::string &directory, const std::string &pattern) {
  std::string full = escaped(pattern, "?[\\");
  if (!std::filesystem::path(pattern).is_absolute() && !directory.empty())
    full = escaped(directory, "*?[\\") + "/" + full;
  glob_t found = {};
  int failure = ::glob(full.c_str(), GLOB_NOSORT | GLOB_ERR, nullptr, &found);
  std::vector<std::string> files;
  for (size_t i = 0; failure == 0 && i < found.gl_pathc; ++i) {
    std::error_code error;
    if (!std::filesystem::is_directory(found.gl_pathv[i], error))
      files.emplace_back(found.gl_pathv[i]);
  }
  Status unread = failure == 0 || failure == GLOB_NOMATCH
                      ? Status::ok()
                      : fileError("MOEC-I001", pattern, "search for files that match");
  ::globfree(&found);
  MOEC_RETURN_IF_ERROR(unread);
  std::sort(files.begin(), files.end(), [](const std::string &a, const std::string &b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                        [](unsigned char x, unsigned char y) { return x < y; });
  });
  return files;
}

} // namespace moec::rt
