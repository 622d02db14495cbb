// Reads the tensors of a golden file (safetensors, f64 and integers) as doubles.
#ifndef MOEC_TEST_GOLDEN_GOLDENS_H
#define MOEC_TEST_GOLDEN_GOLDENS_H

#include "runtime/io/Safetensors.h"
#include "test/golden/CompiledModel.h"

#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <unistd.h>

namespace moec::test {

inline std::map<std::string, std::vector<double>> readGoldens(const std::string &path) {
  std::string bytes = readText(path);
  int fd = open(path.c_str(), O_RDONLY);
  auto entries = rt::readSafetensorsHeader(fd, bytes.size(), path);
  close(fd);
  if (!entries.isOk())
    throw std::runtime_error(entries.status().text());
  std::map<std::string, std::vector<double>> tensors;
  for (const rt::SafetensorsEntry &entry : entries.value()) {
    std::vector<double> &values = tensors[entry.name];
    auto convert = [&](auto zero) {
      for (uint64_t at = entry.begin; at < entry.end; at += sizeof(zero)) {
        std::memcpy(&zero, bytes.data() + at, sizeof(zero));
        values.push_back(static_cast<double>(zero));
      }
    };
    if (entry.dtype == "F64")
      convert(double());
    else if (entry.dtype == "I64")
      convert(int64_t());
    else
      convert(int32_t());
  }
  return tensors;
}

} // namespace moec::test

#endif
