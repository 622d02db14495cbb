#include "TestSupport.h"

#include "runtime/base/CheckedMath.h"
#include "runtime/base/CpuFeatures.h"
#include "runtime/base/Fields.h"
#include "runtime/base/File.h"
#include "runtime/base/Hash.h"
#include "runtime/base/Random.h"
#include "runtime/base/Text.h"

#include <sys/stat.h>

using namespace moec::rt;
using namespace moec::rt::test;

TEST_CASE("philox gives the published vectors", "[base]") {
  // Random123, kat_vectors, philox 4x32 10.
  CHECK(philox4x32({0, 0, 0, 0}, 0) == PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  uint32_t ones = 0xffffffff;
  CHECK(philox4x32({ones, ones, ones, ones}, ~uint64_t{0}) ==
        PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822) ==
        PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("uniform draws stay in [0, 1) and differ by stream and lane", "[base]") {
  double mean = 0;
  for (uint64_t i = 0; i < 4096; ++i) {
    double draw = randomUniform(7, RandomStream::DataSet, i);
    REQUIRE((draw >= 0 && draw < 1));
    mean += draw / 4096;
  }
  CHECK(mean == Approx(0.5).margin(0.02));
  CHECK(randomBits(7, RandomStream::DataSet, 0) != randomBits(7, RandomStream::WindowOrder, 0));
  CHECK(randomBits(7, RandomStream::WindowOrder, 0, 0) != randomBits(7, RandomStream::WindowOrder, 0, 1));
}

TEST_CASE("xxh3-128 is printed in canonical order", "[base]") {
  CHECK(hashHex(std::string()) == "99aa06d3014798d86001c324468d497f");
  Hasher parts;
  parts.update("ab", 2);
  parts.update("c", 1);
  CHECK(toHex(parts.digest()) == hashHex(std::string("abc")));
}

TEST_CASE("checked arithmetic sees overflow", "[base]") {
  CHECK_FALSE(checkedMul<uint64_t>(uint64_t{1} << 63, 2));
  CHECK_FALSE(checkedAdd<int64_t>(INT64_MAX, 1));
  uint64_t shape[] = {uint64_t{1} << 40, uint64_t{1} << 30};
  CHECK_FALSE(checkedBytes(shape, 4));
  CHECK(checkedBytes({}, 8) == 8);
  CHECK(rangeInside(10, 0, 10));
  CHECK_FALSE(rangeInside(UINT64_MAX, 2, 10));
}

TEST_CASE("status carries code, place and message", "[base]") {
  Status status = Status::error("MOEC-X001", "here", "got ", 3, ", expected ", 4);
  CHECK(status.text() == "MOEC-X001: here: got 3, expected 4");
  CHECK(status.recoded("MOEC-X002", "so: ").text() == "MOEC-X002: here: so: got 3, expected 4");
  CHECK(Status::ok().recoded("MOEC-X002").isOk());
}

TEST_CASE("json is strict", "[base]") {
  CHECK_FALSE(Json::parse(R"({"a": 1, "a": 2})").isOk());
  CHECK_FALSE(Json::parse(R"({"a": 1} x)").isOk());
  CHECK_FALSE(Json::parse("{\"a\": \"\xff\"}").isOk());
  CHECK_FALSE(Json::parse(std::string(100, '[') + std::string(100, ']')).isOk());
  CHECK_FALSE(Json::parse("{/* no */}").isOk());
  Result<Json> same = Json::parse(R"({"b": [1, 2.5, -3, true, null, "x"], "a": {"a": 1}})");
  REQUIRE(same.isOk());
  CHECK(same->dump() == R"({"a":{"a":1},"b":[1,2.5,-3,true,null,"x"]})");
}

TEST_CASE("json keeps whole numbers whole", "[base]") {
  int64_t number = 0;
  CHECK(Json::parse("9223372036854775807")->asInteger(number));
  CHECK(number == INT64_MAX);
  CHECK_FALSE(Json::parse("9223372036854775808")->asInteger(number));
  CHECK_FALSE(Json::parse("1e3")->asInteger(number));
  CHECK(Json::parse("-5")->asInteger(number));
  uint64_t unsignedNumber = 0;
  CHECK(Json::parse("18446744073709551615")->asUnsigned(unsignedNumber));
  CHECK_FALSE(Json::parse("-1")->asUnsigned(unsignedNumber));
  CHECK(Json::number(std::numeric_limits<double>::quiet_NaN()).dump() == "null");
}

TEST_CASE("fields name the pointer of the first failure", "[base]") {
  Json json = Json::parse(R"({"count": 3, "name": 5, "extra": 1})").value();
  FieldErrors errors{"MOEC-X003", "file", {}};
  Fields fields(json, "/top", errors);
  CHECK(fields.integer("count", 0, 9) == 3);
  CHECK(errors.first.isOk());
  fields.string("name");
  fields.integer("missing", 0);
  fields.finish();
  CHECK(errors.first.text() == "MOEC-X003: file:/top/name: must be a string");

  FieldErrors unknown{"MOEC-X003", "file", {}};
  Fields again(json, "", unknown);
  again.integer("count", 0);
  again.integer("name", 0);
  again.finish();
  CHECK(unknown.first.place() == "file:/extra");
}

TEST_CASE("atomic writes replace whole files and leave nothing else", "[base]") {
  TempDir dir;
  REQUIRE_OK(writeFileAtomic(dir / "f", "one"));
  REQUIRE_OK(writeFileAtomic(dir / "f", "two"));
  CHECK(slurp(dir / "f") == "two");
  CHECK_CODE(writeFileAtomic(dir / "no/f", "x"), "MOEC-I002");
  CHECK_CODE(readFile(dir / "f", 2).status(), "MOEC-I001");
  REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
  CHECK_CODE(readFile(dir / "fifo", 10).status(), "MOEC-I001");
  CHECK_CODE(InputFile::open(dir / "fifo").status(), "MOEC-I001");
}

TEST_CASE("bytes are escaped for terminals", "[base]") {
  CHECK(escapeBytes("a\n\t~") == "a\n\t~");
  CHECK(escapeBytes("\x1b[2J") == "\\x1b[2J");
  CHECK(escapeBytes("caf\xc3\xa9 \xe2\x82\xac") == "caf\xc3\xa9 \xe2\x82\xac");
  CHECK(escapeBytes("\xc3") == "\\xc3");
  CHECK(escapeBytes("\\xc3") == "\\\\xc3"); // so that the two can be told apart
  CHECK(base64("") == "");
  CHECK(base64("f") == "Zg==");
  CHECK(base64("fo") == "Zm8=");
  CHECK(base64(std::string("\xff\0\x7f", 3)) == "/wB/");
  CHECK(escapeBytes("\xc0\xaf\xed\xa0\x80") == "\\xc0\\xaf\\xed\\xa0\\x80");
  CHECK(escapeBytes("\xc2\x9b") == "\\xc2\\x9b"); // C1 control: an escape for some terminals
  CHECK(escapeBytes(std::string("\0\x7f\r", 3)) == "\\x00\\x7f\\x0d");
}

TEST_CASE("sizes and times read well", "[base]") {
  CHECK(formatBytes(512) == "512 B");
  CHECK(formatBytes(1536) == "1.50 KiB");
  CHECK(formatDuration(184) == "3:04");
  CHECK(formatDuration(7384) == "2:03:04");
  TextTable table({"a", "n"}, "01");
  table.row({"long", "1"});
  CHECK(table.text() == "a     n\nlong  1\n");
}

#if defined(__x86_64__)
TEST_CASE("cpu features are known by name", "[base]") {
  CHECK(cpuFeature("sse2") == CpuFeature::Present);
  CHECK(cpuFeature("avx1024") == CpuFeature::Unknown);
}
#endif
