// Speed of the product kernels, one thread, f32: GF/s of each shape beside OpenBLAS (when libopenblas.so.0 can be
// opened) in the same run.
#include "test/numerics/DispatchText.h"
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <functional>
#include <limits>

using namespace moec::test;

namespace {

using Sgemm = void (*)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                       const float *b, int ldb, float beta, float *c, int ldc);
Sgemm sgemm = nullptr;
const char *filter = "";
constexpr int kRounds = 5;

// Of this thread, as CompiledDispatch::time measures.
double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double best(const std::function<void()> &work) {
  double fastest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRounds; ++i) {
    double start = now();
    work();
    fastest = std::min(fastest, now() - start);
  }
  return fastest;
}

// What one core can do at all: independent fused multiply-adds on full vectors. No lambda inside: it would not inherit
// the target.
__attribute__((target("avx512f"))) double peak() {
  using Vector = float __attribute__((vector_size(64)));
  constexpr int kChains = 16, kTrips = 1 << 20;
  Vector sums[kChains] = {}, a = Vector{} + 0.9f, b = Vector{} + 0.1f;
  double fastest = std::numeric_limits<double>::infinity();
  for (int round = 0; round < kRounds; ++round) {
    double start = now();
    for (int i = 0; i < kTrips; ++i)
#pragma clang loop unroll(full)
      for (int c = 0; c < kChains; ++c)
        sums[c] = __builtin_elementwise_fma(sums[c], a, b);
    fastest = std::min(fastest, now() - start);
  }
  volatile float sink = 0;
  for (int c = 0; c < kChains; ++c)
    sink = sink + sums[c][0];
  return 2.0 * 16 * kChains * kTrips / fastest / 1e9;
}

// Rounds of the two are interleaved, so that a slow moment of the machine hits both.
void report(const char *name, double flops, const CompiledDispatch &kernel, const std::vector<Array> &inputs,
            const std::map<std::string, Array> &states, const std::function<void()> &blas) {
  double own = std::numeric_limits<double>::infinity(), other = own;
  for (int round = 0; round < 4; ++round) {
    own = std::min(own, kernel.time(inputs, states, kRounds));
    if (sgemm && blas)
      other = std::min(other, best(blas));
  }
  char text[32] = "-";
  if (std::isfinite(other))
    std::snprintf(text, sizeof(text), "%.1f", flops / other / 1e9);
  std::printf("%-44s %8.1f %10s   grid %4lld  scratch %4lld KiB  compiled in %3.0f ms\n", name, flops / own / 1e9, text,
              static_cast<long long>(kernel.grid()), static_cast<long long>(kernel.scratchBytes() / 1024),
              kernel.compileMilliseconds());
  std::fflush(stdout);
}

bool wanted(const char *name) { return std::strstr(name, filter); }

void dense(const char *name, int M, int N, int K, bool ta, bool tb, bool accumulates = false) {
  if (!wanted(name))
    return;
  std::vector<int64_t> aShape = ta ? std::vector<int64_t>{K, M} : std::vector<int64_t>{M, K},
                       bShape = tb ? std::vector<int64_t>{N, K} : std::vector<int64_t>{K, N};
  std::string full = tensor({M, N}), op = std::string("moe.matmul") + (ta ? " ta" : "") + (tb ? " tb" : "");
  CompiledDispatch kernel(module(accumulates ? "moe.state @g gradient : " + full : "",
                                 {{"a", tensor(aShape)}, {"b", tensor(bShape)}},
                                 accumulates ? std::vector<std::string>{} : std::vector<std::string>{full},
                                 product("%p", op, {{"%a", tensor(aShape)}, {"%b", tensor(bShape)}}, full) +
                                     (accumulates ? "    moe.accumulate @g, %p : " + full + "\n    moe.yield"
                                                  : "    moe.yield %p : " + full)),
                          "f32");
  Array a = Array::random(aShape, 1), b = Array::random(bShape, 2);
  auto fa = a.as<float>(), fb = b.as<float>();
  std::vector<float> fc(M * N);
  std::map<std::string, Array> states;
  if (accumulates)
    states["g"] = Array({M, N});
  report(name, 2.0 * M * N * K, kernel, {a, b}, states, [&] {
    sgemm(101, ta ? 112 : 111, tb ? 112 : 111, M, N, K, 1, fa.data(), ta ? M : K, fb.data(), tb ? K : N,
          accumulates ? 1.0f : 0.0f, fc.data(), N);
  });
}

const std::vector<int64_t> kCounts = {160, 96, 128, 64, 200, 120, 168, 88}; // 1024 rows

// 8 experts, 1024 rows. The baseline is two OpenBLAS calls an expert and a loop.
void swiglu(const char *name, int K, int N, bool gathered) {
  if (!wanted(name))
    return;
  int E = 8, T = 512;
  Groups groups = makeGroups(kCounts, 8, T);
  int64_t R = groups.rows;
  std::string full = tensor({R, N}), weights = tensor({E, K, N}), off = tensor({1, E + 1}, "i32"),
              cnt = tensor({1, E}, "i32"), source = gathered ? tensor({T, K}) : tensor({R, K});
  std::string a = gathered ? "%a" : "%x";
  CompiledDispatch kernel(
      module("",
             {{"x", source},
              {"rows", tensor({R, 1}, "i32")},
              {"wg", weights},
              {"wu", weights},
              {"off", off},
              {"cnt", cnt}},
             {full, full, full},
             (gathered ? "    %a = moe.gather_rows %x, %rows : " + source + ", " + tensor({R, 1}, "i32") + " -> " +
                             tensor({R, K}) + "\n"
                       : std::string("")) +
                 product("%g", "moe.grouped_matmul",
                         {{a, tensor({R, K})}, {"%wg", weights}, {"%off", off}, {"%cnt", cnt}}, full) +
                 product("%u", "moe.grouped_matmul",
                         {{a, tensor({R, K})}, {"%wu", weights}, {"%off", off}, {"%cnt", cnt}}, full) +
                 map("%h", {{"%g", full}, {"%u", full}}, full, "%v: $T, %z: $T", R"(
      %one = arith.constant 1.0 : $T
      %n = arith.negf %v : $T
      %ex = math.exp %n : $T
      %d = arith.addf %one, %ex : $T
      %s = arith.divf %v, %d : $T
      %y = arith.mulf %s, %z : $T
)") +
                 "    moe.yield %g, %u, %h : " + full + ", " + full + ", " + full),
      "f32");
  Array x = Array::random(gathered ? std::vector<int64_t>{T, K} : std::vector<int64_t>{R, K}, 1),
        wg = Array::random({E, K, N}, 2), wu = Array::random({E, K, N}, 3);
  auto fx = Array::random({R, K}, 1).as<float>(), fg = wg.as<float>(), fu = wu.as<float>();
  std::vector<float> g(R * N), u(R * N), h(R * N);
  report(name, 4.0 * 1024 * N * K, kernel, {x, groups.rowToken, wg, wu, groups.offsets, groups.counts}, {}, [&] {
    for (int e = 0; e < E; ++e) {
      auto first = static_cast<int64_t>(groups.offsets.values[e]);
      auto count = static_cast<int>(kCounts[e]);
      sgemm(101, 111, 111, count, N, K, 1, fx.data() + first * K, K, fg.data() + e * K * N, N, 0, g.data() + first * N,
            N);
      sgemm(101, 111, 111, count, N, K, 1, fx.data() + first * K, K, fu.data() + e * K * N, N, 0, u.data() + first * N,
            N);
    }
    for (int64_t i = 0; i < R * N; ++i)
      h[i] = g[i] / (1 + std::exp(-g[i])) * u[i];
  });
}

void grouped(const char *name, int K, int N, bool tb) {
  if (!wanted(name))
    return;
  int E = 8;
  Groups groups = makeGroups(kCounts, 8, 512);
  int64_t R = groups.rows;
  std::string full = tensor({R, N}), weights = tb ? tensor({E, N, K}) : tensor({E, K, N}),
              off = tensor({1, E + 1}, "i32"), cnt = tensor({1, E}, "i32");
  CompiledDispatch kernel(
      module("", {{"x", tensor({R, K})}, {"w", weights}, {"off", off}, {"cnt", cnt}}, {full},
             product("%g", tb ? "moe.grouped_matmul tb" : "moe.grouped_matmul",
                     {{"%x", tensor({R, K})}, {"%w", weights}, {"%off", off}, {"%cnt", cnt}}, full) +
                 "    moe.yield %g : " + full),
      "f32");
  Array x = Array::random({R, K}, 1), w = Array::random({E, K, N}, 2);
  auto fx = x.as<float>(), fw = w.as<float>();
  std::vector<float> g(R * N);
  report(name, 2.0 * 1024 * N * K, kernel, {x, w, groups.offsets, groups.counts}, {}, [&] {
    for (int e = 0; e < E; ++e) {
      auto first = static_cast<int64_t>(groups.offsets.values[e]);
      sgemm(101, 111, tb ? 112 : 111, static_cast<int>(kCounts[e]), N, K, 1, fx.data() + first * K, K,
            fw.data() + e * K * N, tb ? K : N, 0, g.data() + first * N, N);
    }
  });
}

void outer(const char *name, int K, int N) {
  if (!wanted(name))
    return;
  int E = 8;
  Groups groups = makeGroups(kCounts, 8, 512);
  int64_t R = groups.rows;
  std::string full = tensor({E, K, N}), off = tensor({1, E + 1}, "i32"), cnt = tensor({1, E}, "i32");
  CompiledDispatch kernel(
      module("moe.state @g gradient : " + full,
             {{"x", tensor({R, K})}, {"d", tensor({R, N})}, {"off", off}, {"cnt", cnt}}, {},
             product("%g", "moe.grouped_outer",
                     {{"%x", tensor({R, K})}, {"%d", tensor({R, N})}, {"%off", off}, {"%cnt", cnt}}, full) +
                 "    moe.accumulate @g, %g : " + full + "\n    moe.yield"),
      "f32");
  Array x = Array::random({R, K}, 1), d = Array::random({R, N}, 2);
  auto fx = x.as<float>(), fd = d.as<float>();
  std::vector<float> g(static_cast<int64_t>(E) * K * N);
  report(name, 2.0 * 1024 * N * K, kernel, {x, d, groups.offsets, groups.counts}, {{"g", Array({E, K, N})}}, [&] {
    for (int e = 0; e < E; ++e) {
      auto first = static_cast<int64_t>(groups.offsets.values[e]);
      sgemm(101, 112, 111, K, N, static_cast<int>(kCounts[e]), 1, fx.data() + first * K, K, fd.data() + first * N, N, 1,
            g.data() + static_cast<int64_t>(e) * K * N, N);
    }
  });
}

// Causal: half of the S x S products count.
void attention(const char *name, int S, int H, int G, int dh, bool backward) {
  if (!wanted(name))
    return;
  int B = 4;
  std::string q = tensor({B * S, H * dh}), k = tensor({B * S, G * dh}), lse = tensor({B * S, H}),
              attributes =
                  " heads " + std::to_string(H) + " kv_heads " + std::to_string(G) + " seq_len " + std::to_string(S);
  std::string text =
      backward ? module("", {{"q", q}, {"k", k}, {"v", k}, {"o", q}, {"l", lse}, {"g", q}}, {q, k, k},
                        "    %r:3 = moe.attention_grad %q, %k, %v, %o, %l, %g" + attributes + " : " + q + ", " + k +
                            ", " + lse + "\n    moe.yield %r#0, %r#1, %r#2 : " + q + ", " + k + ", " + k,
                        "attention_grad")
               : module("", {{"q", q}, {"k", k}, {"v", k}}, {q, lse},
                        "    %r:2 = moe.attention %q, %k, %v" + attributes + " : " + q + ", " + k + " -> " + lse +
                            "\n    moe.yield %r#0, %r#1 : " + q + ", " + lse,
                        "attention");
  CompiledDispatch kernel(text, "f32");
  std::vector<Array> inputs = {Array::random({B * S, H * dh}, 1), Array::random({B * S, G * dh}, 2),
                               Array::random({B * S, G * dh}, 3)};
  if (backward) {
    inputs.push_back(Array::random({B * S, H * dh}, 4));
    inputs.push_back(Array({B * S, H}, 6.0));
    inputs.push_back(Array::random({B * S, H * dh}, 5));
  }
  double products = (backward ? 5.0 : 2.0) * B * H * 2.0 * dh * S * (S + 1) / 2;
  report(name, products, kernel, inputs, {}, nullptr);
}

} // namespace

int main(int argc, char **argv) {
  if (argc > 1)
    filter = argv[1];
  // Version 0.3.21 does not know newer cores and falls back to AVX2 there; the comparison should be with its best.
  // What the environment says comes first.
  if (__builtin_cpu_supports("avx512f"))
    setenv("OPENBLAS_CORETYPE", "SkylakeX", /*overwrite=*/0);
  if (void *handle = dlopen("libopenblas.so.0", RTLD_NOW)) {
    sgemm = reinterpret_cast<Sgemm>(dlsym(handle, "cblas_sgemm"));
    if (auto setThreads = reinterpret_cast<void (*)(int)>(dlsym(handle, "openblas_set_num_threads")))
      setThreads(1);
  }
  std::printf("one core, multiply-adds on registers: %.1f GF/s\n", peak());
  const char *core = std::getenv("OPENBLAS_CORETYPE");
  std::printf("%-44s %8s %10s   (OpenBLAS core: %s)\n", "GF/s, one thread, f32", "moec", "OpenBLAS",
              core ? core : "its choice");
  dense("dense 512 x 512 x 512", 512, 512, 512, false, false);
  dense("dense 1024 x 1024 x 1024", 1024, 1024, 1024, false, false);
  dense("dense 256 x 512 x 256 (M N K)", 256, 512, 256, false, false);
  dense("dense 1024 x 256 x 256", 1024, 256, 256, false, false);
  dense("dense 1024 x 8 x 256 (router)", 1024, 8, 256, false, false);
  dense("dense dX 1024 x 256 x 512, B transposed", 1024, 256, 512, false, true);
  dense("dense dW 256 x 512 x 1024, A transposed, +=", 256, 512, 1024, true, false, true);
  swiglu("grouped SwiGLU 8 x (K 256, N 512)", 256, 512, false);
  swiglu("grouped SwiGLU 8 x (K 256, N 512), gathered", 256, 512, true);
  swiglu("grouped SwiGLU 8 x (K 512, N 1024)", 512, 1024, false);
  grouped("grouped down 8 x (K 512, N 256)", 512, 256, false);
  grouped("grouped dX 8 x (K 512, N 256), B transposed", 512, 256, true);
  grouped("grouped dX 8 x (K 256, N 512), B transposed", 256, 512, true);
  outer("grouped dW 8 x (256 x 512), +=", 256, 512);
  outer("grouped dW 8 x (512 x 256), +=", 512, 256);
  for (int dh : {32, 64})
    for (bool backward : {false, true}) {
      char name[64];
      std::snprintf(name, sizeof(name), "attention %s S 256 H 8 G 8 dh %d", backward ? "backward" : "forward", dh);
      attention(name, 256, 8, 8, dh, backward);
    }
  attention("attention forward S 256 H 8 G 2 dh 32", 256, 8, 2, 32, false);
  attention("attention backward S 256 H 8 G 2 dh 32", 256, 8, 2, 32, true);
}
