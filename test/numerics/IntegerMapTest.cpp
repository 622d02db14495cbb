// Maps that compute with integers: the same bits from kernels of CPUs, kernels of GPUs and a plain loop.
#include "runtime/base/Philox.h"
#include "test/numerics/Harness.h"
#include "test/numerics/Text.h"
#include <catch2/catch.hpp>
#include <sstream>

using namespace moec::test;

namespace {
// Writes the body of a map in arith.
class Body {
public:
  std::string constant(uint64_t number, const std::string &type = "i64") {
    return line("arith.constant " + std::to_string(static_cast<int64_t>(number)) + " : " + type);
  }
  std::string op(const std::string &name, const std::string &a, const std::string &b, const std::string &type = "i64") {
    return line("arith." + name + " " + a + ", " + b + " : " + type);
  }
  std::string cast(const std::string &name, const std::string &a, const std::string &from, const std::string &to) {
    return line("arith." + name + " " + a + " : " + from + " to " + to);
  }
  std::string select(const std::string &condition, const std::string &a, const std::string &b,
                     const std::string &type) {
    return line("arith.select " + condition + ", " + a + ", " + b + " : " + type);
  }
  std::string text() const { return stream.str(); }

private:
  std::string line(const std::string &right) {
    std::string name = "%v" + std::to_string(count++);
    stream << name << " = " << right << "\n";
    return name;
  }
  std::ostringstream stream;
  int count = 0;
};

constexpr uint64_t kMask = 0xFFFFFFFF;
constexpr uint64_t kSeed = 0x8765432112345678;
constexpr uint32_t kStream = 77, kLayer = 5;

// Words of rt::philox4x32 as names of i64 values that stay below 2^32.
struct PhiloxText {
  Body &body;
  const std::string &mask, &half;

  std::string product(const std::string &word, uint32_t factor) const {
    return body.op("muli", word, body.constant(factor));
  }
  std::string low(const std::string &a) const { return body.op("andi", a, mask); }
  std::string high(const std::string &a) const { return body.op("shrui", a, half); }
  std::string exclusive(const std::string &a, const std::string &b) const { return body.op("xori", a, b); }
  std::string exclusive(const std::string &a, uint32_t key) const { return exclusive(a, body.constant(key)); }
};

// The counter is (element pair, step, stream, layer). Even elements take the first two words, odd ones the others: the
// high 53 bits of 64.
double uniformAt(uint64_t element, uint64_t step) {
  auto words = moec::rt::philox4x32({uint32_t(element / 2), uint32_t(step), kStream, kLayer}, kSeed);
  uint64_t low = words[element % 2 ? 2 : 0], high = words[element % 2 ? 3 : 1];
  return static_cast<double>((low | high << 32) >> 11) * 0x1p-53;
}

// %row and %column are the position, %step and %first i64 scalars.
std::string uniformBody(Body &body, int64_t columns, const std::string &element) {
  std::string mask = body.constant(kMask), half = body.constant(32), one = body.constant(1);
  std::string row = body.op("addi", "%first", "%row");
  std::string i = body.op("addi", body.op("muli", row, body.constant(columns)), "%column");
  std::array<std::string, 4> words = {body.op("andi", body.op("shrui", i, one), mask), body.op("andi", "%step", mask),
                                      body.constant(kStream), body.constant(kLayer)};
  words = moec::rt::philox4x32(words, kSeed, PhiloxText{body, mask, half});
  std::string even = body.op("ori", words[0], body.op("shli", words[1], half));
  std::string odd = body.op("ori", words[2], body.op("shli", words[3], half));
  std::string isOdd = body.op("cmpi ne,", body.op("andi", i, one), body.constant(0));
  std::string word = body.select(isOdd, odd, even, "i64");
  std::string wide = body.cast("sitofp", body.op("shrui", word, body.constant(11)), "i64", "f64");
  std::string scale = "%scale";
  std::string value = body.op("mulf", wide, scale, "f64");
  return element == "f64" ? value : body.cast("truncf", value, "f64", "f32");
}
} // namespace

TEST_CASE("uniform numbers of a map are those of a loop, bit by bit", "[row]") {
  for (std::string element : {"f32", "f64"})
    for (auto [n, c] : {std::pair<int64_t, int64_t>{5, 8}, {7, 3}, {9, 1}, {3, 1100}, {4, 129}}) {
      CAPTURE(element, n, c);
      Body body;
      std::string out = tensor(n, c), one = tensor(1, 1, "i64");
      std::string value = uniformBody(body, c, element);
      CompiledDispatch kernel(dispatchText("row", {{"s", one}, {"f", one}}, out,
                                           "%u = moe.map position(%s, %f) : (" + one + ", " + one + ") -> " + out +
                                               " {\n^bb0(%step: i64, %first: i64, %row: i64, %column: i64):\n"
                                               "%scale = arith.constant 1.1102230246251565e-16 : f64\n" +
                                               body.text() + "moe.yield " + value + " : $T\n}\nmoe.yield %u : " + out),
                              element);
      for (int64_t step : {int64_t(0), int64_t(123456), (int64_t(1) << 32) + 9}) {
        int64_t first = 1000 * (step % 7);
        Array expected({n, c});
        for (int64_t i = 0; i < n * c; ++i) {
          double number = uniformAt(first * c + i, step);
          expected.values[i] = element == "f64" ? number : static_cast<float>(number);
        }
        Outcome outcome =
            kernel.run({Array({1, 1}, static_cast<double>(step)), Array({1, 1}, static_cast<double>(first))});
        CHECK(difference(outcome.results[0], expected, 0) == "");
      }
    }
}

TEST_CASE("integers of a map: both widths in and out, casts, comparisons and shifts", "[row]") {
  for (auto [n, c] : {std::pair<int64_t, int64_t>{6, 7}, {3, 64}, {5, 1}, {2, 1030}}) {
    CAPTURE(n, c);
    std::string narrow = tensor(n, c, "i32"), wide = tensor(n, c, "i64"), columnsOf = tensor(1, c, "i64"),
                floats = tensor(n, c), rowsOf = tensor(n, 1, "i32");
    CompiledDispatch kernel(
        dispatchText("row", {{"a", narrow}, {"b", wide}, {"w", columnsOf}, {"x", floats}, {"m", rowsOf}},
                     narrow + ", " + wide + ", " + floats,
                     "%r:3 = moe.map position(%a, %b, %w, %x, %m) : (" + narrow + ", " + wide + ", " + columnsOf +
                         ", " + floats + ", " + rowsOf + ") -> (" + narrow + ", " + wide + ", " + floats + R"() {
          ^bb0(%i: i32, %j: i64, %k: i64, %f: $T, %n: i32, %row: i64, %column: i64):
            %f0 = arith.constant 0.0 : $T
            %zero = arith.constant 0 : i32
            %three = arith.constant 3 : i64
            %signed = arith.extsi %i : i32 to i64
            %unsigned = arith.extui %i : i32 to i64
            %product = arith.muli %signed, %j : i64
            %up = arith.shrui %product, %three : i64
            %down = arith.shrsi %product, %three : i64
            %less = arith.cmpi slt, %signed, %k : i64
            %below = arith.cmpi ult, %unsigned, %j : i64
            %mixed = arith.select %less, %up, %down : i64
            %place = arith.addi %row, %column : i64
            %sum = arith.addi %mixed, %place : i64
            %low = arith.trunci %sum : i64 to i32
            %positive = arith.cmpf ogt, %f, %f0 : $T
            %pick = arith.select %positive, %low, %n : i32
            %hit = arith.cmpi sge, %pick, %zero : i32
            %bit = arith.extui %hit : i1 to i64
            %marked = arith.xori %sum, %bit : i64
            %kept = arith.select %below, %marked, %unsigned : i64
            %number = arith.sitofp %pick : i32 to $T
            moe.yield %pick, %kept, %number : i32, i64, $T
          }
          moe.yield %r#0, %r#1, %r#2 : )" +
                         narrow + ", " + wide + ", " + floats),
        "f32");
    Array a = Array::integers({n, c}, 1, -50, 50), b = Array::integers({n, c}, 2, -1000, 1000),
          w = Array::integers({1, c}, 3, -20, 20), x = Array::random({n, c}, 4), m = Array::integers({n, 1}, 5, -9, 9);
    Array small({n, c}), large({n, c}), number({n, c});
    for (int64_t row = 0; row < n; ++row)
      for (int64_t column = 0; column < c; ++column) {
        auto i = static_cast<int32_t>(a.at(row, column));
        auto j = static_cast<int64_t>(b.at(row, column)), k = static_cast<int64_t>(w.at(0, column));
        int64_t product = i * j, unsignedI = static_cast<uint32_t>(i);
        int64_t shifted = i < k ? static_cast<int64_t>(static_cast<uint64_t>(product) >> 3) : product >> 3;
        int64_t sum = shifted + row + column;
        int32_t pick = x.at(row, column) > 0 ? static_cast<int32_t>(sum) : static_cast<int32_t>(m.at(row, 0));
        int64_t marked = sum ^ (pick >= 0 ? 1 : 0);
        bool below = static_cast<uint64_t>(unsignedI) < static_cast<uint64_t>(j);
        small.at(row, column) = pick;
        large.at(row, column) = static_cast<double>(below ? marked : unsignedI);
        number.at(row, column) = static_cast<float>(pick);
      }
    Outcome outcome = kernel.run({a, b, w, x, m});
    CHECK(difference(outcome.results[0], small, 0) == "");
    CHECK(difference(outcome.results[1], large, 0) == "");
    CHECK(difference(outcome.results[2], number, 0) == "");
  }
}
