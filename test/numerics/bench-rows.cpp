// Speed of row kernels beside plain C++ loops (-O3 -ffast-math -march=native, so that the compiler may vectorise sums;
// see CMakeLists.txt), one thread, best of many. GB/s counts each operand once for each time it must be read or
// written.
#include "test/numerics/Harness.h"
#include "test/numerics/Text.h"
#include <chrono>
#include <cstdio>
#include <cstdlib>

using namespace moec::test;

// bench-rows-loops.cpp
void plainNorm(const float *x, const float *y, const float *scale, float *h, float *out, long rows, long columns);
void plainSoftmax(const float *x, float *out, long rows, long columns);
void plainSwiglu(const float *g, const float *u, const float *d, float *h, float *dg, float *du, long count);
void plainAdam(float *p, float *m, float *v, float *g, float rate, long count);

namespace {
// On a line of their own, as operands are in the arena.
struct Floats {
  explicit Floats(const Array &array) : Floats(array.size()) {
    std::copy(array.values.begin(), array.values.end(), memory);
  }
  explicit Floats(int64_t count) : memory(static_cast<float *>(std::aligned_alloc(64, (count * 4 + 63) / 64 * 64))) {}
  ~Floats() { std::free(memory); }
  Floats(const Floats &) = delete;
  float *data() { return memory; }
  float *memory;
};

template <typename F> double best(F &&run, int repeats) {
  double least = 1e9;
  for (int i = 0; i < repeats; ++i) {
    auto start = std::chrono::steady_clock::now();
    run();
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return least;
}

void report(const char *name, const CompiledDispatch &kernel, double bytes, double generated, double plain) {
  std::printf(
      "%-34s %7.1f us %6.1f GB/s   plain loop %7.1f us %6.1f GB/s   x%.2f   (%lld groups, compiled in %.0f ms)\n", name,
      generated * 1e6, bytes / generated * 1e-9, plain * 1e6, bytes / plain * 1e-9, plain / generated,
      static_cast<long long>(kernel.grid()), kernel.compileMilliseconds());
}

std::string reduce(const std::string &result, const std::string &kind, const std::string &value, int64_t n, int64_t c) {
  return result + " = moe.row_reduce " + kind + " " + value + " : " + tensor(n, c) + " -> " + tensor(n, 1) + "\n";
}
} // namespace

int main() {
  const int repeats = 300;
  for (auto [n, c] : {std::pair<int64_t, int64_t>{1024, 256}, {1024, 1024}}) {
    std::printf("rows %lld, columns %lld, f32\n", static_cast<long long>(n), static_cast<long long>(c));
    std::string x = tensor(n, c), one = tensor(n, 1), row = tensor(1, c), three = x + ", " + x + ", " + x;
    Array a = Array::random({n, c}, 1), b = Array::random({n, c}, 2), d = Array::random({n, c}, 3),
          scale = Array::random({1, c}, 4);
    Floats fa(a), fb(b), fd(d), fs(scale), o1(n * c), o2(n * c), o3(n * c);
    double matrix = 4.0 * n * c;

    CompiledDispatch norm(
        dispatchText("row", {{"x", x}, {"y", x}, {"s", row}}, x + ", " + x,
                     mapText("%h", {{"%x", x, "a"}, {"%y", x, "b"}}, x, "%p = arith.addf %a, %b : $T", "p") +
                         mapText("%sq", {{"%h", x, "a"}}, x, "%p = arith.mulf %a, %a : $T", "p") +
                         reduce("%sum", "sum", "%sq", n, c) +
                         mapText("%rr", {{"%sum", one, "a"}}, one,
                                 "%c = arith.constant " + std::to_string(c) +
                                     ".0 : $T\n%e = arith.constant 1.0e-5 : $T\n%m = arith.divf %a, %c : $T\n"
                                     "%q = arith.addf %m, %e : $T\n%r = math.rsqrt %q : $T",
                                 "r") +
                         mapText("%n", {{"%h", x, "a"}, {"%rr", one, "r"}, {"%s", row, "w"}}, x,
                                 "%p = arith.mulf %a, %r : $T\n%q = arith.mulf %p, %w : $T", "q") +
                         "moe.yield %h, %n : " + x + ", " + x),
        "f32");
    report("residual + rms norm", norm, 4 * matrix, norm.time({a, b, scale}, {}, repeats),
           best([&] { plainNorm(fa.data(), fb.data(), fs.data(), o1.data(), o2.data(), n, c); }, repeats));

    CompiledDispatch softmax(
        dispatchText("row", {{"x", x}}, x,
                     reduce("%max", "max", "%x", n, c) +
                         mapText("%e", {{"%x", x, "a"}, {"%max", one, "m"}}, x,
                                 "%d = arith.subf %a, %m : $T\n%p = math.exp %d : $T", "p") +
                         reduce("%sum", "sum", "%e", n, c) +
                         mapText("%y", {{"%e", x, "a"}, {"%sum", one, "s"}}, x, "%p = arith.divf %a, %s : $T", "p") +
                         "moe.yield %y : " + x),
        "f32");
    report("softmax", softmax, 2 * matrix, softmax.time({a}, {}, repeats),
           best([&] { plainSoftmax(fa.data(), o1.data(), n, c); }, repeats / 10));

    CompiledDispatch swiglu(dispatchText("row", {{"g", x}, {"u", x}, {"d", x}}, three,
                                         "%y:3 = moe.map(%g, %u, %d) : (" + three + ") -> (" + three + R"() {
        ^bb0(%a: $T, %b: $T, %dy: $T):
          %one = arith.constant 1.0 : $T
          %neg = arith.negf %a : $T
          %e = math.exp %neg : $T
          %den = arith.addf %one, %e : $T
          %s = arith.divf %one, %den : $T
          %silu = arith.mulf %a, %s : $T
          %h = arith.mulf %silu, %b : $T
          %rest = arith.subf %one, %s : $T
          %t = arith.mulf %silu, %rest : $T
          %slope = arith.addf %s, %t : $T
          %db = arith.mulf %dy, %b : $T
          %da = arith.mulf %db, %slope : $T
          %du = arith.mulf %dy, %silu : $T
          moe.yield %h, %da, %du : $T, $T, $T
        }
        moe.yield %y#0, %y#1, %y#2 : )" + three),
                            "f32");
    report("SwiGLU, value and gradients", swiglu, 6 * matrix, swiglu.time({a, b, d}, {}, repeats),
           best([&] { plainSwiglu(fa.data(), fb.data(), fd.data(), o1.data(), o2.data(), o3.data(), n * c); },
                repeats / 10));

    std::string states = "moe.state @rate counter : tensor<1x1x$T>\n", reads;
    for (std::string name : {"p", "m", "v", "g"}) {
      states += "moe.state @" + name + " optimizer : " + x + "\n";
      reads += "%" + name + " = moe.read @" + name + " : " + x + "\n";
    }
    CompiledDispatch adam(
        dispatchText("row", {}, "",
                     reads + "%rate = moe.read @rate : tensor<1x1x$T>\n%n:3 = moe.map(%p, %m, %v, %g, %rate) : (" + x +
                         ", " + three + ", tensor<1x1x$T>) -> (" + three + R"() {
        ^bb0(%a: $T, %b: $T, %c: $T, %d: $T, %lr: $T):
          %b1 = arith.constant 0.9 : $T
          %b2 = arith.constant 0.95 : $T
          %o1 = arith.constant 0.1 : $T
          %o2 = arith.constant 0.05 : $T
          %eps = arith.constant 1.0e-8 : $T
          %decay = arith.constant 0.01 : $T
          %m0 = arith.mulf %b, %b1 : $T
          %m1 = arith.mulf %d, %o1 : $T
          %mn = arith.addf %m0, %m1 : $T
          %v0 = arith.mulf %c, %b2 : $T
          %dd = arith.mulf %d, %d : $T
          %v1 = arith.mulf %dd, %o2 : $T
          %vn = arith.addf %v0, %v1 : $T
          %root = math.sqrt %vn : $T
          %den = arith.addf %root, %eps : $T
          %u0 = arith.divf %mn, %den : $T
          %u1 = arith.mulf %a, %decay : $T
          %u = arith.addf %u0, %u1 : $T
          %step = arith.mulf %u, %lr : $T
          %pn = arith.subf %a, %step : $T
          moe.yield %pn, %mn, %vn : $T, $T, $T
        }
        moe.write @p, %n#0 : )" +
                         x + "\nmoe.write @m, %n#1 : " + x + "\nmoe.write @v, %n#2 : " + x + "\nmoe.yield",
                     states),
        "f32");
    Array v = Array::random({n, c}, 5, 0, 1);
    Floats fv(v), fg(d);
    report("AdamW, three states in place", adam, 7 * matrix,
           adam.time({}, {{"p", a}, {"m", b}, {"v", v}, {"g", d}, {"rate", Array({1, 1}, 1e-3)}}, repeats),
           best([&] { plainAdam(fa.data(), fb.data(), fv.data(), fg.data(), 1e-3f, n * c); }, repeats));
  }

  // Routing of 2048 tokens, 8 of 64 experts.
  int64_t n = 2048, k = 8, e = 64, r = (n * k + e * 7 + 7) / 8 * 8;
  std::string idsType = tensor(n, k, "i32"), weights = tensor(n, k), scores = tensor(n, e), rows = tensor(r, 1, "i32");
  Array ids = Array::integers({n, k}, 1, 0, e), one({n, k}, 3.0), w = Array::random({n, k}, 2),
        s = Array::random({n, e}, 3);
  CompiledDispatch topK(
      dispatchText("row", {{"s", scores}}, idsType,
                   "%t = moe.top_k %s : " + scores + " -> " + idsType + "\nmoe.yield %t : " + idsType),
      "f32");
  CompiledDispatch permute(dispatchText("permute", {{"ids", idsType}}, rows + ", " + idsType,
                                        "%o, %c, %rt, %rs, %sr = moe.permute %ids experts 64 align 8 : " + idsType +
                                            " -> tensor<1x65xi32>, tensor<1x64xi32>, " + rows +
                                            "\nmoe.yield %rt, %sr : " + rows + ", " + idsType),
                           "f32");
  CompiledDispatch limit(dispatchText("limit_capacity", {{"ids", idsType}, {"w", weights}}, idsType,
                                      "%l = moe.limit_capacity lowest_weight %ids, %w experts 64 capacity 200 : " +
                                          idsType + ", " + weights + "\nmoe.yield %l : " + idsType),
                         "f32");
  std::printf("routing of %lld tokens, %lld of %lld experts: top_k %.0f us, permute %.0f us, limit_capacity %.0f us "
              "(all to one expert: %.0f us)\n",
              static_cast<long long>(n), static_cast<long long>(k), static_cast<long long>(e),
              topK.time({s}, {}, 100) * 1e6, permute.time({ids}, {}, 100) * 1e6, limit.time({ids, w}, {}, 100) * 1e6,
              limit.time({one, w}, {}, 100) * 1e6);
}
