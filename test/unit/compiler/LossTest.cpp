// The formulas of losses against plain loops.
#include "test/unit/compiler/Bench.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

using namespace moec;
using moec::test::Bench;
using moec::test::Matrix;

namespace {

Matrix randomMatrix(int64_t rows, int64_t cols, uint64_t seed, double low = -1, double high = 1) {
  Matrix m{rows, cols, std::vector<double>(rows * cols)};
  uint64_t state = seed;
  for (double &value : m.values) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    value = low + (high - low) * static_cast<double>(state >> 11) * 0x1p-53;
  }
  return m;
}

double silu(double x) { return x / (1 + std::exp(-x)); }

//===--- erc ---===//

struct GivenNoise : NoiseSource {
  Matrix numbers;
  mlir::Value uniform(TensorBuilder &b, llvm::StringRef, int64_t rows, int64_t cols, bool perToken) override {
    CHECK_FALSE(perToken);
    CHECK(rows == numbers.rows);
    CHECK(cols == numbers.cols);
    return bench->input("numbers", numbers);
  }
  Bench *bench;
};

struct ErcCase {
  int64_t n, width, inner;
  Matrix router;         // [width, outputs], n of them with weights
  Matrix gate, up, down; // stacks
  double alpha = 1;
  std::string activation = "gate", noise = "none";
  Matrix numbers;
};

double ercByMethod(const ErcCase &c, int64_t rowAlign) {
  Bench bench;
  GivenNoise noise;
  noise.numbers = c.numbers;
  noise.bench = &bench;
  LayerValues r{};
  r.noise = &noise;
  r.ffnExperts = c.n, r.numExperts = c.router.cols, r.rowAlign = rowAlign;
  r.router = bench.input("router", c.router);
  r.expertGate = bench.inputStack("gate", c.gate, c.n);
  if (c.activation != "gate") {
    r.expertUp = bench.inputStack("up", c.up, c.n);
    r.expertDown = bench.inputStack("down", c.down, c.n);
  }
  exp::MethodAttr attr = bench.attr("loss", "erc",
                                    {bench.field("activation", c.activation.c_str()), bench.field("alpha", c.alpha),
                                     bench.field("layer_reduce", "sum"), bench.field("noise", c.noise.c_str())});
  return bench.evaluate(bench.find<LossMethod>("loss", "erc").buildLayer(bench.t, attr, r, bench)).values[0];
}

std::vector<std::vector<double>> ercRows(const ErcCase &c) {
  std::vector<std::vector<double>> rows(c.n, std::vector<double>(c.width));
  for (int64_t i = 0; i < c.n; ++i)
    for (int64_t d = 0; d < c.width; ++d)
      rows[i][d] = c.router.at(d, i);
  return rows;
}

double distance(const std::vector<double> &a, const std::vector<double> &b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

std::vector<std::vector<double>> perturbed(const ErcCase &c) {
  auto rows = ercRows(c), result = rows;
  if (c.noise == "none")
    return rows;
  for (int64_t i = 0; i < c.n; ++i) {
    double nearest = INFINITY;
    for (int64_t j = 0; j < c.n; ++j)
      if (j != i)
        nearest = std::min(nearest, distance(rows[i], rows[j]));
    double eps = nearest / (2 * distance(rows[i], std::vector<double>(c.width, 0.0)));
    for (int64_t d = 0; d < c.width; ++d)
      result[i][d] *= 1 - eps + 2 * eps * c.numbers.at(i, d);
  }
  return result;
}

double ercByLoops(const ErcCase &c) {
  auto rows = perturbed(c);
  auto product = [&](const Matrix &stack, int64_t expert, const std::vector<double> &x) {
    std::vector<double> y(stack.cols);
    for (int64_t i = 0; i < stack.cols; ++i)
      for (size_t k = 0; k < x.size(); ++k)
        y[i] += x[k] * stack.at(expert * x.size() + k, i);
    return y;
  };
  std::vector<std::vector<double>> m(c.n, std::vector<double>(c.n)); // [row, expert]
  for (int64_t i = 0; i < c.n; ++i)
    for (int64_t j = 0; j < c.n; ++j) {
      std::vector<double> gate = product(c.gate, j, rows[i]), u = gate, up;
      if (c.activation != "gate")
        up = product(c.up, j, rows[i]);
      for (size_t k = 0; k < u.size(); ++k)
        u[k] = c.activation == "gate"        ? gate[k]
               : c.activation == "up"        ? up[k]
               : c.activation == "silu_gate" ? silu(gate[k])
                                             : silu(gate[k]) * up[k];
      if (c.activation == "output")
        u = product(c.down, j, u);
      m[i][j] = distance(u, std::vector<double>(u.size(), 0.0));
    }
  double sum = 0;
  for (int64_t i = 0; i < c.n; ++i)
    for (int64_t j = 0; j < c.n; ++j)
      if (i != j)
        sum += std::max(m[i][j] - c.alpha * m[i][i], 0.0) + std::max(m[j][i] - c.alpha * m[i][i], 0.0);
  return sum / static_cast<double>(c.n * c.n);
}

ErcCase randomErc(uint64_t seed) {
  ErcCase c{4, 5, 3, randomMatrix(5, 6, seed), {}, {}, {}, 1, "gate", "none", {}}; // two zero experts
  c.gate = randomMatrix(4 * 5, 3, seed + 1);
  c.up = randomMatrix(4 * 5, 3, seed + 2);
  c.down = randomMatrix(4 * 3, 5, seed + 3);
  c.numbers = randomMatrix(4, 5, seed + 4, 0, 1);
  return c;
}

//===--- Activations of a token's experts ---===//

struct Activations {
  int64_t tokens, slots;
  Matrix rows;                  // [R, I]
  std::vector<int64_t> slotRow; // -1: empty
};

/// Rows in an order of their own, with one of padding at the end.
Activations randomActivations(int64_t tokens, int64_t slots, const std::vector<int64_t> &empty) {
  Activations a{tokens, slots, {}, std::vector<int64_t>(tokens * slots, -1)};
  int64_t next = 0;
  for (int64_t i = 0; i < tokens * slots; ++i) {
    int64_t place = (i * 5 + 2) % (tokens * slots);
    if (std::find(empty.begin(), empty.end(), place) == empty.end())
      a.slotRow[place] = next++;
  }
  a.rows = randomMatrix(next + 1, 4, 99);
  std::fill(a.rows.values.end() - 4, a.rows.values.end(), 0.0);
  return a;
}

double specialization(const Activations &a, const char *form, int64_t every) {
  Bench bench;
  Matrix slotRow{a.tokens, a.slots, {}}, rowSlot{a.rows.rows, 1, std::vector<double>(a.rows.rows, -1.0)};
  for (int64_t place = 0; place < a.tokens * a.slots; ++place) {
    slotRow.values.push_back(static_cast<double>(a.slotRow[place]));
    if (a.slotRow[place] >= 0)
      rowSlot.values[a.slotRow[place]] = static_cast<double>(place);
  }
  LayerValues r{};
  r.numTokens = a.tokens, r.topK = a.slots;
  r.activations = bench.input("rows", a.rows);
  r.slotRow = bench.input("slot_row", slotRow, bench.b.getI32Type());
  r.rowSlot = bench.input("row_slot", rowSlot, bench.b.getI32Type());
  exp::MethodAttr attr = bench.attr("loss", "specialization", {bench.field("every", every), bench.field("form", form)});
  return bench.evaluate(bench.find<LossMethod>("loss", "specialization").buildLayer(bench.t, attr, r, bench)).values[0];
}

double specializationByLoops(const Activations &a, const std::string &form, int64_t every) {
  double total = 0;
  for (int64_t token = 0; token < a.tokens; token += every) {
    double sum = 0, pairs = 0;
    for (int64_t i = 0; i < a.slots; ++i)
      for (int64_t j = 0; j < i; ++j) {
        int64_t x = a.slotRow[token * a.slots + i], y = a.slotRow[token * a.slots + j];
        if (x < 0 || y < 0)
          continue;
        double dot = 0, xx = 0, yy = 0;
        for (int64_t c = 0; c < a.rows.cols; ++c) {
          dot += a.rows.at(x, c) * a.rows.at(y, c);
          xx += a.rows.at(x, c) * a.rows.at(x, c);
          yy += a.rows.at(y, c) * a.rows.at(y, c);
        }
        double cosine = dot / std::sqrt(xx * yy);
        sum += form == "cos" ? cosine : form == "abs" ? std::fabs(cosine) : cosine * cosine;
        ++pairs;
      }
    total += pairs > 0 ? sum / pairs : 0;
  }
  return total / static_cast<double>(a.tokens / every);
}

//===--- coupling ---===//

/// Of the second of two layers.
double coupling(const char *pairs, const std::array<Matrix, 2> &probabilities, const std::array<Matrix, 2> &ids) {
  Bench bench;
  const auto &method = bench.find<LossMethod>("loss", "coupling");
  exp::MethodAttr attr = bench.attr(
      "loss", "coupling", {bench.field("detach_hidden", bench.b.getBoolAttr(false)), bench.field("pairs", pairs)});
  LayerValues r{};
  mlir::Value loss;
  for (int layer : {0, 1}) {
    std::string name = std::to_string(layer);
    r.numTokens = ids[layer].rows, r.topK = ids[layer].cols, r.numExperts = probabilities[layer].cols;
    r.probabilities = bench.input("p" + name, probabilities[layer]);
    r.ids = bench.input("ids" + name, ids[layer], bench.b.getI32Type());
    if (layer == 0)
      r.carried = bench.t.fill(0.0, r.numTokens, method.carriedColumns(attr, r));
    loss = method.buildLayer(bench.t, attr, r, bench);
    if (layer == 0) {
      CHECK(bench.evaluate(loss).values[0] == 0); // nothing before the first
      r.carried = method.buildCarried(bench.t, attr, r);
    }
  }
  return bench.evaluate(loss).values[0];
}

} // namespace

TEST_CASE("hidden_z", "[methods]") {
  Bench bench;
  Matrix hidden = randomMatrix(3, 5, 8, -3, 3);
  double expected = 0;
  for (int64_t row = 0; row < 3; ++row) {
    double sum = 0;
    for (int64_t col = 0; col < 5; ++col)
      sum += std::exp(std::fabs(hidden.at(row, col)));
    expected += std::log(sum) * std::log(sum) / 3;
  }
  const auto &method = bench.find<LossMethod>("loss", "hidden_z");
  mlir::Value loss = method.buildHidden(bench.t, bench.attr("loss", "hidden_z", {}), bench.input("hidden", hidden));
  CHECK(bench.evaluate(loss).values[0] == Approx(expected).epsilon(1e-12));
}

TEST_CASE("erc: known values", "[methods]") {
  // Row i of expert j's matrix has length M_ij = [[2, 3], [1, 4]]; rows of the router are those of the identity.
  ErcCase c{2, 2, 1, {2, 2, {1, 0, 0, 1}}, {4, 1, {2, 1, 3, 4}}, {}, {}, 1, "gate", "none", {}};
  CHECK(ercByMethod(c, 1) == Approx(0.25).epsilon(1e-12));
  c.alpha = 0.5;
  CHECK(ercByMethod(c, 1) == Approx(0.75).epsilon(1e-12));
  // Each expert is deaf to all rows but its own; and activities of 0 are no NaN.
  c.gate = {4, 1, {2, 0, 0, 4}};
  CHECK(ercByMethod(c, 1) == Approx(0).margin(1e-12));
  c.router = {2, 2, {0, 0, 0, 0}};
  c.noise = "bounded_uniform";
  c.numbers = randomMatrix(2, 2, 3, 0, 1);
  CHECK(ercByMethod(c, 1) == Approx(0).margin(1e-12));
}

TEST_CASE("erc: against loops, for every activation, with zero experts, noise and groups of rows", "[methods]") {
  for (const char *activation : {"gate", "up", "silu_gate", "swiglu", "output"})
    for (const char *noise : {"none", "bounded_uniform"})
      for (int64_t align : {1, 8}) {
        ErcCase c = randomErc(17);
        c.activation = activation, c.noise = noise, c.alpha = 0.7;
        INFO(activation << " " << noise << " " << align);
        double expected = ercByLoops(c);
        CHECK(expected > 0.01);
        CHECK(ercByMethod(c, align) == Approx(expected).epsilon(1e-11));
      }
}

TEST_CASE("erc: a perturbed row stays nearest to where it was", "[methods]") {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    ErcCase c = randomErc(1000 * seed);
    c.noise = "bounded_uniform";
    auto rows = ercRows(c), moved = perturbed(c); // as in the loops that the method is compared with
    for (int64_t i = 0; i < c.n; ++i)
      for (int64_t j = 0; j < c.n; ++j)
        if (i != j)
          REQUIRE(distance(moved[i], rows[i]) < distance(moved[i], rows[j]));
  }
}

TEST_CASE("specialization: known values, and against loops", "[methods]") {
  Activations equal{1, 3, {3, 2, {1, 2, 2, 4, 0.5, 1}}, {2, 0, 1}};
  Activations crossed{1, 2, {2, 2, {1, 2, -2, 1}}, {0, 1}};
  Activations opposed{1, 2, {2, 2, {1, 2, -1, -2}}, {0, 1}};
  for (const char *form : {"cos", "abs", "squared"}) {
    CHECK(specialization(equal, form, 1) == Approx(1).epsilon(1e-12));
    CHECK(specialization(crossed, form, 1) == Approx(0).margin(1e-12));
    CHECK(specialization(opposed, form, 1) == Approx(form == std::string("cos") ? -1 : 1).epsilon(1e-12));
    // Token 1 has two experts, token 2 one, token 3 none.
    for (int64_t every : {1, 2}) {
      Activations some = randomActivations(6, 3, {4, 7, 8, 9, 10, 11});
      CHECK(specialization(some, form, every) == Approx(specializationByLoops(some, form, every)).epsilon(1e-12));
    }
    Activations single{2, 1, {2, 2, {1, 2, 3, 4}}, {1, 0}};
    CHECK(specialization(single, form, 1) == 0);
  }
  // An activation of zeros has no direction: it goes with none, and is no NaN.
  Activations dead{1, 2, {2, 2, {0, 0, 1, 2}}, {0, 1}};
  CHECK(specialization(dead, "cos", 1) == Approx(0).margin(1e-12));
}

TEST_CASE("coupling: known values, and against loops", "[methods]") {
  Matrix oneHot{2, 3, {1, 0, 0, 0, 1, 0}}, first{2, 2, {0, 1, 1, 2}};
  CHECK(coupling("topk_x_topk", {oneHot, oneHot}, {first, first}) == Approx(-1).epsilon(1e-12));
  Matrix uniform{2, 4, std::vector<double>(8, 0.25)};
  CHECK(coupling("topk_x_topk", {uniform, uniform}, {first, first}) == Approx(-0.25).epsilon(1e-12)); // (2 / 4)^2
  CHECK(coupling("largest_k", {uniform, uniform}, {first, first}) == Approx(-2.0 / 16).epsilon(1e-12));

  std::array<Matrix, 2> p{randomMatrix(5, 6, 1, 0, 1), randomMatrix(5, 6, 2, 0, 1)};
  std::array<Matrix, 2> ids{Matrix{5, 3, {0, 1, 2, 3, 4, 5, 5, 0, 1, 2, 4, 0, 1, 3, 5}},
                            Matrix{5, 3, {5, 3, 1, 0, 4, 2, 1, 0, -1, 2, -1, -1, 4, 3, 2}}};
  double all = 0, largest = 0;
  for (int64_t token = 0; token < 5; ++token) {
    std::vector<double> products;
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 3; ++j) {
        auto e = static_cast<int64_t>(ids[0].at(token, i)), v = static_cast<int64_t>(ids[1].at(token, j));
        products.push_back(v < 0 ? 0 : p[0].at(token, e) * p[1].at(token, v));
      }
    std::sort(products.rbegin(), products.rend());
    for (size_t i = 0; i < products.size(); ++i)
      (i < 3 ? largest : all) -= products[i] / 5;
  }
  CHECK(coupling("largest_k", p, ids) == Approx(largest).epsilon(1e-12));
  CHECK(coupling("topk_x_topk", p, ids) == Approx(all + largest).epsilon(1e-12));
}
