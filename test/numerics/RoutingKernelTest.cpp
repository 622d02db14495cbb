// Templates permute, limit_capacity and count_ids under friendly and adversarial routing.
#include "runtime/kernels/RoutingLoops.h"
#include "test/numerics/Harness.h"
#include "test/numerics/Text.h"
#include <catch2/catch.hpp>
#include <cmath>

using namespace moec::test;
namespace loops = moec::loops;

namespace {
struct Routing {
  std::string name;
  int64_t tokens, slots, experts;
  Array ids;
};

std::vector<Routing> routings() {
  std::vector<Routing> all;
  auto addCase = [&](std::string name, int64_t n, int64_t k, int64_t e, Array ids) {
    all.push_back({name, n, k, e, std::move(ids)});
  };
  addCase("random", 37, 2, 8, Array::integers({37, 2}, 1, 0, 8));
  addCase("dropped slots", 37, 3, 5, Array::integers({37, 3}, 2, -1, 5));
  addCase("all to one expert", 29, 2, 6, Array({29, 2}, 3.0));
  addCase("an empty expert", 20, 1, 4, Array::integers({20, 1}, 3, 0, 3));
  addCase("one token", 1, 2, 4, Array({1, 2}, std::vector<double>{3, 0}));
  addCase("everything dropped", 5, 2, 3, Array({5, 2}, -1.0));
  Array every({7, 4});
  for (int64_t i = 0; i < every.size(); ++i)
    every.values[i] = double((i + i / 4) % 4);
  addCase("K = E", 7, 4, 4, every);
  addCase("one expert", 6, 1, 1, Array({6, 1}, 0.0));
  return all;
}
} // namespace

TEST_CASE("permute", "[routing]") {
  for (const Routing &routing : routings())
    for (int64_t align : {1, 4, 8}) {
      auto [name, n, k, e, ids] = routing;
      CAPTURE(name, align);
      int64_t r = loops::permutedRows(n * k, e, align);
      std::string idsType = tensor(n, k, "i32"), offsets = tensor(1, e + 1, "i32"), counts = tensor(1, e, "i32"),
                  rows = tensor(r, 1, "i32");
      std::string results = offsets + ", " + counts + ", " + rows + ", " + rows + ", " + idsType;
      std::string op = "%o, %c, %rt, %rs, %sr = moe.permute %ids experts " + std::to_string(e) + " align " +
                       std::to_string(align) + " : " + idsType + " -> " + offsets + ", " + counts + ", " + rows + "\n";
      CompiledDispatch kernel(
          dispatchText("permute", {{"ids", idsType}}, results, op + "moe.yield %o, %c, %rt, %rs, %sr : " + results),
          "f32");
      Array o({1, e + 1}), c({1, e}), rt({r, 1}), rs({r, 1}), sr({n, k});
      loops::permute(ids.data(), o.data(), c.data(), rt.data(), rs.data(), sr.data(), n, k, e, align, r);
      Outcome outcome = kernel.run({ids});
      CHECK(difference(outcome.results[0], o, 0) == "");
      CHECK(difference(outcome.results[1], c, 0) == "");
      CHECK(difference(outcome.results[2], rt, 0) == "");
      CHECK(difference(outcome.results[3], rs, 0) == "");
      CHECK(difference(outcome.results[4], sr, 0) == "");

      // Results that nobody wants live in scratch.
      CompiledDispatch some(dispatchText("permute", {{"ids", idsType}}, rows, op + "moe.yield %rs : " + rows), "f32");
      CHECK(difference(some.run({ids}).results[0], rs, 0) == "");
    }
}

TEST_CASE("permute with a limit", "[routing]") {
  // Experts chose tokens: ids [N, E], of which few are set. Then with more than promised, which have no row. (Fewer
  // than 4096 slots: one block, as blocks that wait for each other cannot be interpreted.)
  struct Case {
    int64_t tokens, experts, align, set, limit;
  };
  for (auto [n, e, align, set, limit] : {Case{40, 8, 4, 24, 24},
                                         {60, 64, 8, 128, 128},
                                         {6, 3, 1, 18, 18},
                                         {9, 5, 1, 8, 7},
                                         {40, 8, 4, 200, 16},
                                         {60, 64, 8, 3840, 1}}) {
    CAPTURE(n, e, align, set, limit);
    int64_t r = loops::permutedRows(limit, e, align);
    Array ids({n, e}, -1.0);
    for (int64_t i = 0; i < set; ++i) {
      int64_t expert = i % e, token = (i / e * 7 + expert * 3) % n;
      while (ids.at(token, expert) >= 0)
        token = (token + 1) % n;
      ids.at(token, expert) = static_cast<double>(expert);
    }
    std::string idsType = tensor(n, e, "i32"), offsets = tensor(1, e + 1, "i32"), counts = tensor(1, e, "i32"),
                rows = tensor(r, 1, "i32");
    std::string results = offsets + ", " + counts + ", " + rows + ", " + rows + ", " + idsType;
    CompiledDispatch kernel(dispatchText("permute", {{"ids", idsType}}, results,
                                         "%o, %c, %rt, %rs, %sr = moe.permute %ids experts " + std::to_string(e) +
                                             " align " + std::to_string(align) + " limit " + std::to_string(limit) +
                                             " : " + idsType + " -> " + offsets + ", " + counts + ", " + rows +
                                             "\nmoe.yield %o, %c, %rt, %rs, %sr : " + results),
                            "f32");
    Array o({1, e + 1}), c({1, e}), rt({r, 1}), rs({r, 1}), sr({n, e});
    loops::permute(ids.data(), o.data(), c.data(), rt.data(), rs.data(), sr.data(), n, e, e, align, r);
    Outcome outcome = kernel.run({ids});
    CHECK(difference(outcome.results[0], o, 0) == "");
    CHECK(difference(outcome.results[1], c, 0) == "");
    CHECK(difference(outcome.results[2], rt, 0) == "");
    CHECK(difference(outcome.results[3], rs, 0) == "");
    CHECK(difference(outcome.results[4], sr, 0) == "");
  }
}

TEST_CASE("column_kth", "[routing]") {
  struct Case {
    int64_t rows, columns, groups, n;
  };
  for (std::string element : {"f32", "f64"})
    for (auto [rows, e, g, n] : {Case{37, 5, 1, 4},
                                 {37, 5, 1, 1},
                                 {37, 5, 1, 37},
                                 {96, 3, 4, 7},
                                 {8, 9, 8, 1},
                                 {20, 150, 2, 4},
                                 {700, 2, 1, 300},
                                 {1, 1, 1, 1}}) {
      CAPTURE(element, rows, e, g, n);
      std::string in = tensor(rows, e), out = tensor(g, e), places = tensor(g, e, "i32");
      std::string op = " = moe.column_kth %x n " + std::to_string(n) + " : " + in + " -> " + out;
      CompiledDispatch kernel(dispatchText("column_kth", {{"x", in}}, out + ", " + places,
                                           "%t, %r" + op + ", " + places + "\nmoe.write @seen, %t : " + out +
                                               "\nmoe.yield %t, %r : " + out + ", " + places,
                                           "moe.state @seen balance : " + out),
                              element);
      CompiledDispatch alone(dispatchText("column_kth", {{"x", in}}, out, "%t" + op + "\nmoe.yield %t : " + out),
                             element);
      Array random = Array::random({rows, e}, 5), tied = Array::integers({rows, e}, 6, -2, 3), odd = random;
      for (int64_t i = 0; i < odd.size(); i += 3)
        odd.values[i] = i % 2 ? NAN : (i % 4 ? INFINITY : -INFINITY);
      for (const Array &x : {random, tied, odd, Array({rows, e}, static_cast<double>(NAN)), Array({rows, e}, -0.0)}) {
        Array expected({g, e}), last({g, e});
        loops::columnKth(x.data(), expected.data(), last.data(), rows, e, g, n);
        Outcome outcome = kernel.run({x});
        CHECK(difference(outcome.results[0], expected, 0) == "");
        CHECK(difference(outcome.results[1], last, 0) == "");
        CHECK(difference(alone.run({x}).results[0], expected, 0) == "");
        CHECK(difference(outcome.states["seen"], expected, 0) == "");
      }
    }
}

TEST_CASE("column_kth of a rank known at run time", "[routing]") {
  constexpr int64_t rows = 96, e = 5, g = 2, most = 40;
  std::string in = tensor(rows, e), out = tensor(g, e), places = tensor(g, e, "i32"), one = tensor(1, 1, "i64");
  for (std::string element : {"f32", "f64"}) {
    CompiledDispatch kernel(dispatchText("column_kth", {{"x", in}, {"rank", one}}, out + ", " + places,
                                         "%t, %r = moe.column_kth %x n " + std::to_string(most) +
                                             " rank %rank : " + in + ", " + one + " -> " + out + ", " + places +
                                             "\nmoe.yield %t, %r : " + out + ", " + places),
                            element);
    Array x = Array::integers({rows, e}, 8, 0, 9);
    // Beyond 1 .. n the nearest counts.
    for (int64_t rank : {-3, 0, 1, 2, 17, 40, 41, 1000}) {
      CAPTURE(element, rank);
      Array expected({g, e}), last({g, e});
      loops::columnKth(x.data(), expected.data(), last.data(), rows, e, g, std::clamp<int64_t>(rank, 1, most));
      Outcome outcome = kernel.run({x, Array({1, 1}, static_cast<double>(rank))});
      CHECK(difference(outcome.results[0], expected, 0) == "");
      CHECK(difference(outcome.results[1], last, 0) == "");
    }
  }
}

TEST_CASE("column_kth of columns that no block's registers hold", "[routing][gpu]") {
  // 17000 rows of f64 are 17 keys of 1024 threads, one more than fit.
  int64_t rows = 17000, n = 5000;
  std::string in = tensor(rows, 1), out = tensor(1, 1), place = tensor(1, 1, "i32");
  CompiledDispatch kernel(dispatchText("column_kth", {{"x", in}}, out + ", " + place,
                                       "%t, %r = moe.column_kth %x n " + std::to_string(n) + " : " + in + " -> " + out +
                                           ", " + place + "\nmoe.yield %t, %r : " + out + ", " + place),
                          "f64", "sm_90a");
  Array x = Array::integers({rows, 1}, 8, 0, 100), expected({1, 1}), last({1, 1});
  loops::columnKth(x.data(), expected.data(), last.data(), rows, 1, 1, n);
  Outcome outcome = kernel.run({x});
  CHECK(difference(outcome.results[0], expected, 0) == "");
  CHECK(difference(outcome.results[1], last, 0) == "");
  CHECK(kernel.scratchBytes() >= rows * 8);
}

TEST_CASE("limit_capacity", "[routing]") {
  for (std::string element : {"f32", "f64"})
    for (const Routing &routing : routings())
      for (int64_t capacity : {1, 3, 100})
        for (bool byPosition : {false, true}) {
          auto [name, n, k, e, ids] = routing;
          CAPTURE(element, name, capacity, byPosition);
          std::string idsType = tensor(n, k, "i32"), weights = tensor(n, k);
          CompiledDispatch kernel(dispatchText("limit_capacity", {{"ids", idsType}, {"w", weights}}, idsType,
                                               std::string("%l = moe.limit_capacity ") +
                                                   (byPosition ? "position" : "lowest_weight") + " %ids, %w experts " +
                                                   std::to_string(e) + " capacity " + std::to_string(capacity) + " : " +
                                                   idsType + ", " + weights + "\nmoe.yield %l : " + idsType),
                                  element);
          Array random = Array::random({n, k}, 5), tied = Array::integers({n, k}, 6, -1, 2), odd = random;
          for (int64_t i = 0; i < odd.size(); i += 3)
            odd.values[i] = i % 2 ? NAN : (i % 4 ? -0.0 : -INFINITY);
          for (const Array &w : {random, tied, odd}) {
            Array expected({n, k});
            loops::limitCapacity(ids.data(), w.data(), expected.data(), n, k, e, capacity, byPosition);
            CHECK(difference(kernel.run({ids, w}).results[0], expected, 0) == "");
          }
        }
}

TEST_CASE("limit_capacity to room known at run time", "[routing]") {
  std::string one = tensor(1, 1, "i64");
  for (const Routing &routing : routings())
    for (bool byPosition : {false, true}) {
      auto [name, n, k, e, ids] = routing;
      std::string idsType = tensor(n, k, "i32"), weights = tensor(n, k);
      CompiledDispatch kernel(dispatchText("limit_capacity", {{"ids", idsType}, {"w", weights}, {"room", one}}, idsType,
                                           std::string("%l = moe.limit_capacity ") +
                                               (byPosition ? "position" : "lowest_weight") + " %ids, %w experts " +
                                               std::to_string(e) + " capacity 4 room %room : " + idsType + ", " +
                                               weights + ", " + one + "\nmoe.yield %l : " + idsType),
                              "f32");
      Array w = Array::integers({n, k}, 6, -1, 2);
      // More than the capacity is no room beyond it, and less than none is none.
      for (int64_t room : {-1, 0, 1, 3, 4, 9}) {
        CAPTURE(name, byPosition, room);
        Array expected({n, k});
        loops::limitCapacity(ids.data(), w.data(), expected.data(), n, k, e, std::clamp<int64_t>(room, 0, 4),
                             byPosition);
        CHECK(difference(kernel.run({ids, w, Array({1, 1}, static_cast<double>(room))}).results[0], expected, 0) == "");
      }
    }
}

TEST_CASE("count_ids, by group and into a counter", "[routing]") {
  for (const Routing &routing : routings()) {
    auto [name, n, k, e, ids] = routing;
    for (int64_t g : {int64_t(1), n}) {
      CAPTURE(name, g);
      std::string idsType = tensor(n, k, "i32"), counts = tensor(g, e, "i64");
      std::string op = "%c = moe.count_ids %ids : " + idsType + " -> " + counts + "\n";
      CompiledDispatch kernel(dispatchText("count_ids", {{"ids", idsType}}, counts,
                                           op + "moe.accumulate @load, %c : " + counts + "\nmoe.yield %c : " + counts,
                                           "moe.state @load counter : " + counts),
                              "f32");
      Array expected({g, e}), total({g, e}, 5.0);
      loops::countIds(ids.data(), expected.data(), n, k, e, g);
      Outcome outcome = kernel.run({ids}, {{"load", total}});
      CHECK(difference(outcome.results[0], expected, 0) == "");
      for (int64_t i = 0; i < total.size(); ++i)
        total.values[i] += expected.values[i];
      CHECK(difference(outcome.states["load"], total, 0) == "");
    }
  }
}
