#include "TestSupport.h"

#include "runtime/base/File.h"
#include "runtime/io/Safetensors.h"

#include <cstring>
#include <fcntl.h>

using namespace moec::rt;
using namespace moec::rt::test;

static std::string container(const std::string &header, size_t dataBytes) {
  uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + std::string(dataBytes, 'd');
}

static Result<std::vector<SafetensorsEntry>> read(const std::string &content) {
  TempDir dir;
  std::string path = dir / "x.safetensors";
  spill(path, content);
  UniqueFd fd(::open(path.c_str(), O_RDONLY));
  return readSafetensorsHeader(fd.get(), content.size(), path);
}

static std::string entry(const std::string &name, const std::string &dtype, const std::string &shape,
                         const std::string &offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

TEST_CASE("what is written is read back, aligned", "[safetensors]") {
  std::vector<SafetensorsEntry> entries = {{"b", "F64", {2, 3}, 0, 0},
                                           {"scalar", "I64", {}, 0, 0},
                                           {"empty", "F32", {0, 4}, 0, 0},
                                           {"a", "BOOL", {5}, 0, 0}};
  std::string header = safetensorsHeader(entries);
  CHECK(header.size() % 8 == 0);
  auto found = read(header + std::string(48 + 8 + 5, 'd'));
  REQUIRE_OK(found.status());
  REQUIRE(found->size() == 4);
  CHECK((*found)[0].name == "b");
  CHECK((*found)[0].begin == header.size());
  CHECK((*found)[1].name == "scalar");
  CHECK((*found)[2].begin == (*found)[2].end);
  CHECK((*found)[3].end == header.size() + 61);
}

TEST_CASE("the published example is read", "[safetensors]") {
  auto found = read(container(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]}}  )",
      12));
  REQUIRE_OK(found.status());
  CHECK(found->size() == 2);
}

TEST_CASE("bad containers are refused", "[safetensors]") {
  CHECK_CODE(read("").status(), "MOEC-C009");
  CHECK_CODE(read("1234567").status(), "MOEC-C009");
  CHECK_CODE(read(std::string(8, '\xff')).status(), "MOEC-C009");
  std::string huge = container("{}", 0);
  huge[7] = '\x80'; // header length 2^63
  CHECK_CODE(read(huge).status(), "MOEC-C009");
  CHECK_CODE(read(container("", 0)).status(), "MOEC-C009");
  CHECK_CODE(read(container(" {}", 0)).status(), "MOEC-C009");
  CHECK_CODE(read(container("[]", 0)).status(), "MOEC-C009");
  CHECK_CODE(read(container("{\"a\":", 0)).status(), "MOEC-C009");
  CHECK_CODE(read(container("{\"a\xff\":1}", 0)).status(), "MOEC-C009");
  CHECK_CODE(read(container("{\"__metadata__\":{\"x\":1}}", 0)).status(), "MOEC-C009");
  std::string twice = "{" + entry("a", "U8", "[1]", "[0,1]") + "," + entry("a", "U8", "[1]", "[0,1]") + "}";
  CHECK_CODE(read(container(twice, 1)).status(), "MOEC-C009");
}

TEST_CASE("bad entries are refused", "[safetensors]") {
  auto one = [](const std::string &dtype, const std::string &shape, const std::string &offsets, size_t data) {
    return read(container("{" + entry("a", dtype, shape, offsets) + "}", data)).status();
  };
  REQUIRE_OK(one("F32", "[2]", "[0,8]", 8));
  CHECK_CODE(one("F33", "[2]", "[0,8]", 8), "MOEC-C010");
  CHECK_CODE(one("F32", "[2]", "[0,9]", 9), "MOEC-C010");
  CHECK_CODE(one("F32", "[2]", "[8,0]", 8), "MOEC-C010");
  CHECK_CODE(one("F32", "[2]", "[1,9]", 9), "MOEC-C010"); // a hole at the start
  CHECK_CODE(one("F32", "[2]", "[0,8]", 9), "MOEC-C010"); // bytes after the end
  CHECK_CODE(one("F32", "[2]", "[0,8]", 7), "MOEC-C010"); // and missing
  CHECK_CODE(one("F32", "[-2]", "[0,8]", 8), "MOEC-C010");
  CHECK_CODE(one("F32", "[2e0]", "[0,8]", 8), "MOEC-C010");
  CHECK_CODE(one("F32", "2", "[0,8]", 8), "MOEC-C010");
  CHECK_CODE(one("F32", "[2]", "[0]", 8), "MOEC-C010");
  CHECK_CODE(one("F32", "[9223372036854775808]", "[0,8]", 8), "MOEC-C010");
  CHECK_CODE(one("F32", "[4294967296,4294967296]", "[0,0]", 0), "MOEC-C010"); // 2^64 elements wrap to 0
  CHECK_CODE(one("F32", "[2],\"more\":1", "[0,8]", 8), "MOEC-C010");
  auto two = [](const std::string &first, const std::string &second, size_t data) {
    return read(container("{" + entry("a", "U8", "[4]", first) + "," + entry("b", "U8", "[4]", second) + "}", data))
        .status();
  };
  REQUIRE_OK(two("[4,8]", "[0,4]", 8));
  CHECK_CODE(two("[0,4]", "[2,6]", 6), "MOEC-C010");
  CHECK_CODE(two("[0,4]", "[5,9]", 9), "MOEC-C010");
  CHECK_CODE(two("[0,4]", "[0,4]", 4), "MOEC-C010");
  CHECK_CODE(read(container("{\"a\":[]}", 0)).status(), "MOEC-C010");
}
