// The backward of every op against central differences in f64, through the whole lowering and the real kernels.
#include "test/golden/GradientProgram.h"

#include <catch2/catch.hpp>

using namespace moec::test;

namespace {

// Values of f64 kernels have 15 digits; differences of them over a step of 1e-5 about 10; the largest error seen is
// 1e-9.
constexpr double kTolerance = 1e-7;

void check(std::vector<GradientCase> cases) {
  for (const GradientError &error : gradientErrors(cases)) {
    INFO(error.name << " has error " << error.relative);
    CHECK(error.norm > 1e-3); // a gradient that is zero proves nothing
    CHECK(error.relative < kTolerance);
  }
}

const std::vector<int64_t> kShape{6, 5};

/// y = body of scalars %a, %b from parameters of one shape, drawn from [low, high).
GradientCase scalarRule(const std::string &name, const std::string &scalars, double low = -1, double high = 1) {
  GradientCase rule{name, {{"a", kShape, low, high}, {"b", kShape, low, high}}};
  rule.body = mapOp("%y", {{"%a", "<6x5>"}, {"%b", "<6x5>"}}, "<6x5>", scalars);
  rule.shape = kShape;
  return rule;
}

std::string unary(const std::string &op) { return "%s = arith.addf %0, %1 : f64\n%r = " + op + " %s : f64"; }

std::string binary(const std::string &op) { return "%s = arith.mulf %0, %0 : f64\n%r = " + op + " %s, %1 : f64"; }

} // namespace

TEST_CASE("gradients: scalar rules of map", "[gradients]") {
  std::vector<GradientCase> cases;
  for (std::string op : {"addf", "subf", "mulf", "maximumf", "maxnumf", "minimumf", "minnumf"})
    cases.push_back(scalarRule(op, binary("arith." + op)));
  cases.push_back(scalarRule("divf", binary("arith.divf"), 0.5, 2));
  for (std::string op : {"exp", "tanh", "sin", "cos", "absf"})
    cases.push_back(scalarRule(op, unary("math." + op)));
  cases.push_back(scalarRule("sigmoid", unary("moe.sigmoid"), -4, 4));
  for (std::string op : {"log", "log1p", "sqrt", "rsqrt"})
    cases.push_back(scalarRule(op, unary("math." + op), 0.3, 2));
  cases.push_back(scalarRule("negf", "%s = arith.mulf %0, %1 : f64\n%r = arith.negf %s : f64"));
  cases.push_back(scalarRule("fma", "%s = arith.mulf %0, %0 : f64\n%r = math.fma %s, %1, %0 : f64"));
  cases.push_back(scalarRule("select", "%c = arith.cmpf ogt, %0, %1 : f64\n%p = arith.mulf %0, %1 : f64\n"
                                       "%q = arith.mulf %1, %1 : f64\n%r = arith.select %c, %p, %q : f64"));
  // A scalar with several uses, a constant, an operand used twice.
  cases.push_back(scalarRule("silu",
                             "%one = arith.constant 1.0 : f64\n%n = arith.negf %0 : f64\n%e = math.exp %n : f64\n"
                             "%d = arith.addf %one, %e : f64\n%g = arith.divf %0, %d : f64\n"
                             "%h = arith.mulf %g, %0 : f64\n%r = arith.mulf %h, %1 : f64"));
  // Rounding to f32 is exact for multiples of the step, so the differences are too.
  GradientCase rounded = scalarRule("truncf", "%s = arith.addf %0, %1 : f64\n%t = arith.truncf %s : f64 to f32\n"
                                              "%r = arith.extf %t : f32 to f64");
  rounded.step = 0x1p-10;
  cases.push_back(rounded);
  check(cases);
}

TEST_CASE("gradients: broadcasts, positions and several results of map", "[gradients]") {
  std::vector<GradientCase> cases;
  for (std::vector<int64_t> shape : {std::vector<int64_t>{1, 5}, {6, 1}, {1, 1}, {3, 5}, {2, 1}}) {
    std::string text = std::to_string(shape[0]) + "x" + std::to_string(shape[1]);
    GradientCase one{"broadcast_" + text, {{"x", kShape}, {"s", shape}}};
    one.body = mapOp("%y", {{"%x", "<6x5>"}, {"%s", "<" + text + ">"}}, "<6x5>",
                     "%e = math.exp %1 : f64\n%p = arith.mulf %e, %0 : f64\n%r = arith.mulf %p, %0 : f64");
    one.shape = kShape;
    cases.push_back(one);
  }
  GradientCase all{"broadcast_all", {{"r", {6, 1}}, {"c", {1, 5}}, {"s", {1, 1}}}};
  all.body = mapOp("%y", {{"%r", "<6x1>"}, {"%c", "<1x5>"}, {"%s", "<1x1>"}}, "<6x5>",
                   "%p = math.fma %0, %1, %2 : f64\n%r = math.sin %p : f64");
  all.shape = kShape;
  cases.push_back(all);

  GradientCase position{"position", {{"x", kShape}}};
  position.body = "%y = moe.map position(%x) : (<6x5>) -> <6x5> {\n^bb0(%0: f64, %row: i64, %column: i64):\n"
                  "%s_ = arith.addi %row, %column : i64\n%f = arith.sitofp %s_ : i64 to f64\n"
                  "%p = arith.mulf %f, %0 : f64\n%r = arith.mulf %p, %0 : f64\nmoe.yield %r : f64\n}\n";
  position.shape = kShape;
  cases.push_back(position);

  GradientCase results{"two_results", {{"a", kShape}, {"b", {1, 5}}}};
  results.body = "%u, %v = moe.map(%a, %b) : (<6x5>, <1x5>) -> (<6x5>, <6x5>) {\n^bb0(%0: f64, %1: f64):\n"
                 "%p = arith.mulf %0, %1 : f64\n%q = math.exp %p : f64\nmoe.yield %p, %q : f64, f64\n}\n" +
                 mapOp("%y", {{"%u", "<6x5>"}, {"%v", "<6x5>"}}, "<6x5>", "%r = arith.mulf %0, %1 : f64");
  results.shape = kShape;
  cases.push_back(results);
  check(cases);
}

TEST_CASE("gradients: row ops, views and reductions", "[gradients]") {
  std::vector<GradientCase> cases;
  cases.push_back({"rms_norm",
                   {{"x", {6, 7}}, {"s", {1, 7}}},
                   {},
                   "%y = moe.rms_norm %x, %s {eps = 1.0e-2 : f64} : <6x7>, <1x7>\n",
                   {6, 7}});
  cases.push_back({"softmax", {{"x", {6, 7}, -2, 2}}, {}, "%y = moe.softmax %x : <6x7>\n", {6, 7}});
  cases.push_back({"log_sum_exp", {{"x", {6, 7}, -2, 2}}, {}, "%y = moe.log_sum_exp %x : <6x7> -> <6x1>\n", {6, 1}});
  cases.push_back({"row_reduce",
                   {{"x", {6, 7}}},
                   {},
                   square("x", "<6x7>") + "%y = moe.row_reduce sum %x2 : <6x7> -> <6x1>\n",
                   {6, 1}});
  cases.push_back({"col_reduce_groups",
                   {{"x", {12, 5}}},
                   {},
                   square("x", "<12x5>") + "%y = moe.col_reduce %x2 : <12x5> -> <3x5>\n",
                   {3, 5}});
  cases.push_back(
      {"reshape", {{"x", {12, 5}}}, {}, square("x", "<12x5>") + "%y = moe.reshape %x2 : <12x5> -> <4x15>\n", {4, 15}});
  GradientCase take{
      "take", {{"x", {6, 7}}}, {{"ids", {6, 3}, {0, 3, 6, 2, 2, -1, 5, 4, 3, -1, -1, 0, 6, 1, 0, 1, 1, 1}}}};
  take.body = square("x", "<6x7>") + "%y = moe.take %x2, %ids : <6x7>, <6x3i> -> <6x3>\n";
  take.shape = {6, 3};
  cases.push_back(take);
  GradientCase put{"put", {{"x", {6, 3}}}, take.ids};
  put.body = square("x", "<6x3>") + "%y = moe.put %x2, %ids : <6x3>, <6x3i> -> <6x7>\n";
  put.shape = {6, 7};
  cases.push_back(put);
  GradientCase embed{"embed", {{"table", {7, 5}}}, {{"ids", {9, 1}, {3, 1, 3, 6, 0, 0, 3, 2, 5}}}};
  embed.body = "%e = moe.embed %table, %ids : <7x5>, <9x1i> -> <9x5>\n" +
               mapOp("%y", {{"%e", "<9x5>"}}, "<9x5>", "%r = arith.mulf %0, %0 : f64");
  embed.shape = {9, 5};
  cases.push_back(embed);
  for (std::string inverse : {"", "inverse"}) {
    GradientCase rope{"rope_" + inverse, {{"x", {8, 12}}}};
    rope.constants = {{"cos", {4, 3}}, {"sin", {4, 3}}};
    rope.body = square("x", "<8x12>") + "%y = moe.rope " + inverse + " %x2, %cos, %sin : <8x12>, <4x3>\n";
    rope.shape = {8, 12};
    cases.push_back(rope);
  }
  check(cases);
}

TEST_CASE("gradients: products", "[gradients]") {
  std::vector<GradientCase> cases;
  for (bool ta : {false, true})
    for (bool tb : {false, true}) {
      std::string flags = std::string(ta ? "ta " : "") + (tb ? "tb " : "");
      std::vector<int64_t> a = ta ? std::vector<int64_t>{7, 6} : std::vector<int64_t>{6, 7};
      std::vector<int64_t> b = tb ? std::vector<int64_t>{5, 7} : std::vector<int64_t>{7, 5};
      GradientCase product{std::string("matmul_") + (ta ? "t" : "n") + (tb ? "t" : "n"), {{"a", a}, {"b", b}}};
      product.body = "%y = moe.matmul " + flags + "%a, %b : " + (ta ? "<7x6>" : "<6x7>") + ", " +
                     (tb ? "<5x7>" : "<7x5>") + " -> <6x5>\n";
      product.shape = kShape;
      cases.push_back(product);
    }
  // Two products of one A, and an epilogue.
  GradientCase gated{"gated", {{"x", {9, 7}}, {"gate", {7, 18}}, {"up", {7, 18}}, {"down", {18, 7}}}};
  gated.body =
      "%g = moe.matmul %x, %gate : <9x7>, <7x18> -> <9x18>\n%u = moe.matmul %x, %up : <9x7>, <7x18> -> <9x18>\n" +
      mapOp("%h", {{"%g", "<9x18>"}, {"%u", "<9x18>"}}, "<9x18>",
            "%t = math.tanh %0 : f64\n%r = arith.mulf %t, %1 : f64") +
      "%d = moe.matmul %h, %down : <9x18>, <18x7> -> <9x7>\n" +
      mapOp("%y", {{"%x", "<9x7>"}, {"%d", "<9x7>"}}, "<9x7>", "%r = arith.addf %0, %1 : f64");
  gated.shape = {9, 7};
  cases.push_back(gated);
  check(cases);
}

TEST_CASE("gradients: attention", "[gradients]") {
  std::vector<GradientCase> cases;
  cases.push_back({"attention",
                   {{"q", {18, 24}, -2, 2}, {"k", {18, 12}, -2, 2}, {"v", {18, 12}}},
                   {},
                   "%y, %lse = moe.attention %q, %k, %v heads 4 kv_heads 2 seq_len 9 : <18x24>, <18x12> -> <18x4>\n",
                   {18, 24}});
  // Longer than one block.
  cases.push_back({"attention_blocks",
                   {{"q", {75, 8}, -2, 2}, {"k", {75, 4}, -2, 2}, {"v", {75, 4}}},
                   {},
                   "%y, %lse = moe.attention %q, %k, %v heads 2 kv_heads 1 seq_len 75 : <75x8>, <75x4> -> <75x2>\n",
                   {75, 8}});
  // Windows inside one block of 64, and over several with whole blocks outside.
  for (int window : {2, 67, 64}) {
    std::string at = std::to_string(window);
    cases.push_back({"attention_window_" + at,
                     {{"q", {150, 4}, -2, 2}, {"k", {150, 2}, -2, 2}, {"v", {150, 2}}},
                     {},
                     "%y, %lse = moe.attention %q, %k, %v heads 2 kv_heads 1 seq_len 150 window " + at +
                         " : <150x4>, <150x2> -> <150x2>\n",
                     {150, 4}});
  }
  // Queries from an input, so that the gradients of q, k and v meet.
  GradientCase whole{"attention_layer", {{"x", {10, 8}}, {"wq", {8, 8}}, {"wk", {8, 4}}, {"wv", {8, 4}}}};
  whole.constants = {{"cos", {5, 2}}, {"sin", {5, 2}}};
  whole.body = "%q = moe.matmul %x, %wq : <10x8>, <8x8> -> <10x8>\n%k = moe.matmul %x, %wk : <10x8>, <8x4> -> <10x4>\n"
               "%v = moe.matmul %x, %wv : <10x8>, <8x4> -> <10x4>\n"
               "%qr = moe.rope %q, %cos, %sin : <10x8>, <5x2>\n%kr = moe.rope %k, %cos, %sin : <10x4>, <5x2>\n"
               "%y, %lse = moe.attention %qr, %kr, %v heads 2 kv_heads 1 seq_len 5 : <10x8>, <10x4> -> <10x2>\n";
  whole.shape = {10, 8};
  cases.push_back(whole);
  check(cases);
}

TEST_CASE("gradients: routing", "[gradients]") {
  // 10 tokens, 2 slots, 4 experts: one without rows, two slots dropped.
  const std::vector<int64_t> ids{0, 1, 1, 3, 3, 0, 0, -1, 1, 0, 3, 1, -1, 3, 0, 3, 1, 0, 1, 3};
  std::string r = std::to_string(permutedRows(20, 4));
  std::string permute = permuteOp("%ids", "10x2", 4, 20);
  std::string gather =
      "%g = moe.gather_rows %x, %row_token slot_row %slot_row : <10x2i> : <10x6>, <" + r + "x1i> -> <" + r + "x6>\n";
  std::string groups = ", %offsets, %counts : <" + r + "x6>, ";
  auto combine = [&](const std::string &rows, const std::string &weights) {
    return "%y = moe.combine_rows " + rows + ", %slot_row row_slot %row_slot : <" + r + "x1i>" +
           (weights.empty() ? "" : " weights " + weights + " : <10x2>") + " : <" + r + "x6>, <10x2i> -> <10x6>\n";
  };
  std::vector<GradientCase> cases;
  auto add = [&](const std::string &name, std::vector<GradientTensor> parameters, const std::string &body,
                 std::vector<int64_t> shape) {
    GradientCase one{name, std::move(parameters), {{"ids", {10, 2}, ids}}};
    one.body = permute + body;
    one.shape = std::move(shape);
    cases.push_back(one);
  };
  GradientTensor x{"x", {10, 6}}, weights{"weights", {10, 2}, 0.2, 1};
  add("gather_rows", {x},
      gather + square("g", "<" + r + "x6>") + "%y = moe.reshape %g2 : <" + r + "x6> -> <" + r + "x6>\n",
      {permutedRows(20, 4), 6});
  std::string rowsOnly = gather + square("g", "<" + r + "x6>");
  add("combine_rows", {x}, rowsOnly + combine("%g2", ""), {10, 6});
  add("combine_rows_weights", {x, weights}, rowsOnly + combine("%g2", "%weights"), {10, 6});
  add("grouped_matmul", {x, {"w", {4, 6, 6}}, weights},
      gather + "%h = moe.grouped_matmul %g, %w" + groups + "<4x6x6>, <1x5i>, <1x4i> -> <" + r + "x6>\n" +
          combine("%h", "%weights"),
      {10, 6});
  add("grouped_matmul_tb", {x, {"w", {4, 6, 6}}},
      gather + "%h = moe.grouped_matmul tb %g, %w" + groups + "<4x6x6>, <1x5i>, <1x4i> -> <" + r + "x6>\n" +
          combine("%h", ""),
      {10, 6});
  std::string wide = "<" + r + "x11>";
  add("experts", {x, {"gate", {4, 6, 11}}, {"up", {4, 6, 11}}, {"down", {4, 11, 6}}, weights},
      gather + "%a = moe.grouped_matmul %g, %gate" + groups + "<4x6x11>, <1x5i>, <1x4i> -> " + wide + "\n" +
          "%b = moe.grouped_matmul %g, %up" + groups + "<4x6x11>, <1x5i>, <1x4i> -> " + wide + "\n" +
          mapOp("%h", {{"%a", wide}, {"%b", wide}}, wide, "%t = math.tanh %0 : f64\n%r = arith.mulf %t, %1 : f64") +
          "%d = moe.grouped_matmul %h, %down, %offsets, %counts : " + wide + ", <4x11x6>, <1x5i>, <1x4i> -> <" + r +
          "x6>\n" + combine("%d", "%weights"),
      {10, 6});
  // Chosen by scores that are differentiated themselves; the margins of the choice are wider than the step.
  GradientCase chosen{"router", {x, {"router", {6, 4}, -2, 2}, {"w", {4, 6, 6}}}};
  chosen.body =
      "%logits = moe.matmul %x, %router : <10x6>, <6x4> -> <10x4>\n%p = moe.softmax %logits : <10x4>\n"
      "%ids = moe.top_k %p : <10x4> -> <10x2i>\n%taken = moe.take %p, %ids : <10x4>, <10x2i> -> <10x2>\n"
      "%sum = moe.row_reduce sum %taken : <10x2> -> <10x1>\n" +
      mapOp("%weights", {{"%taken", "<10x2>"}, {"%sum", "<10x1>"}}, "<10x2>", "%r = arith.divf %0, %1 : f64") +
      permute + gather + "%h = moe.grouped_matmul %g, %w" + groups + "<4x6x6>, <1x5i>, <1x4i> -> <" + r + "x6>\n" +
      combine("%h", "%weights");
  chosen.shape = {10, 6};
  cases.push_back(chosen);
  check(cases);
}

TEST_CASE("gradients: layers of experts", "[gradients]") {
  std::string r = std::to_string(permutedRows(20, 4));
  std::vector<GradientCase> cases;
  for (std::string remat : {"", "moe.remat"}) {
    std::string mark = remat.empty() ? "" : " {moe.remat}", tail = remat.empty() ? "" : "_remat";
    // As models have it: norm, router, limited capacity, two products, combination and residual; a loss of
    // each layer is carried beside the stream. The table that the stream starts from is also what it ends with.
    GradientCase layers{"experts" + tail,
                        {{"table", {7, 6}},
                         {"scale", {1, 6}, 0.5, 1.5, 3},
                         {"router", {6, 4}, -2, 2, 3},
                         {"up", {4, 6, 9}, -1, 1, 3},
                         {"down", {4, 9, 6}, -1, 1, 3}}};
    layers.ids = {{"tokens", {10, 1}, {3, 1, 4, 6, 0, 2, 5, 5, 3, 6}}};
    layers.body =
        "%x0 = moe.embed %table, %tokens : <7x6>, <10x1i> -> <10x6>\n"
        "%zero = arith.constant dense<0.0> : <1x1>\n"
        "%x3, %lost = moe.repeat %l of 3 carry(%x = %x0 : <10x6>, %sum = %zero : <1x1>) {\n"
        "%s = moe.read @self.scale[%l] : <1x6>\n%wr = moe.read @self.router[%l] : <6x4>\n"
        "%wu = moe.read @self.up[%l] : <4x6x9>\n%wd = moe.read @self.down[%l] : <4x9x6>\n"
        "%n = moe.rms_norm %x, %s {eps = 1.0e-2 : f64" +
        std::string(remat.empty() ? "" : ", moe.remat") +
        "} : <10x6>, <1x6>\n%logits = moe.matmul %n, %wr : <10x6>, <6x4> -> <10x4>\n"
        "%p = moe.softmax %logits" +
        mark + " : <10x4>\n%chosen = moe.top_k %p : <10x4> -> <10x2i>\n%w = moe.take %p, %chosen" + mark +
        " : <10x4>, <10x2i> -> <10x2>\n"
        "%ids = moe.limit_capacity lowest_weight %chosen, %w experts 4 capacity 6 : <10x2i>, <10x2>\n" +
        permuteOp("%ids", "10x2", 4, 20) + "%g = moe.gather_rows %n, %row_token slot_row %slot_row : <10x2i>" + mark +
        " : <10x6>, <" + r + "x1i> -> <" + r + "x6>\n" + "%u = moe.grouped_matmul %g, %wu, %offsets, %counts" + mark +
        " : <" + r + "x6>, <4x6x9>, <1x5i>, <1x4i> -> <" + r + "x9>\n" +
        mapOp("%h", {{"%u", "<" + r + "x9>"}}, "<" + r + "x9>", "%r = math.tanh %0 : f64", mark) +
        "%d = moe.grouped_matmul %h, %wd, %offsets, %counts" + mark + " : <" + r + "x9>, <4x9x6>, <1x5i>, <1x4i> -> <" +
        r + "x6>\n" + "%c = moe.combine_rows %d, %slot_row row_slot %row_slot : <" + r + "x1i> weights %w : <10x2>" +
        mark + " : <" + r + "x6>, <10x2i> -> <10x6>\n" +
        mapOp("%next", {{"%x", "<10x6>"}, {"%c", "<10x6>"}}, "<10x6>", "%r = arith.addf %0, %1 : f64", mark) +
        "%lse = moe.log_sum_exp %logits" + mark + " : <10x4> -> <10x1>\n" + "%part = moe.col_reduce %lse" + mark +
        " : <10x1> -> <1x1>\n" +
        mapOp("%sums", {{"%sum", "<1x1>"}, {"%part", "<1x1>"}}, "<1x1>",
              "%q = arith.mulf %1, %1 : f64\n%r = arith.addf %0, %q : f64", mark) +
        "moe.yield %next, %sums : <10x6>, <1x1>\n}\n"
        "%scores = moe.matmul tb %x3, %table : <10x6>, <7x6> -> <10x7>\n" +
        mapOp("%y", {{"%scores", "<10x7>"}, {"%lost", "<1x1>"}}, "<10x7>",
              "%t = math.tanh %0 : f64\n%k = arith.constant 0.001 : f64\n%r = math.fma %1, %k, %t : f64");
    layers.shape = {10, 7};
    cases.push_back(layers);
  }
  check(cases);
}

TEST_CASE("gradients: repeat", "[gradients]") {
  std::vector<GradientCase> cases;
  for (std::string remat : {"", "moe.remat"}) {
    std::string mark = remat.empty() ? "" : " {moe.remat}", tail = remat.empty() ? "" : "_remat";
    // A network of layers: carried residual stream, a parameter for each layer.
    GradientCase layers{"layers" + tail, {{"x", {6, 5}}, {"s", {1, 5}, -1, 1, 3}, {"w", {5, 5}, -1, 1, 3}}};
    layers.body = "%y = moe.repeat %l of 3 carry(%c = %x : <6x5>) {\n%s = moe.read @self.s[%l] : <1x5>\n"
                  "%n = moe.rms_norm %c, %s {eps = 1.0e-2 : f64" +
                  std::string(remat.empty() ? "" : ", moe.remat") +
                  "} : <6x5>, <1x5>\n%w = moe.read @self.w[%l] : <5x5>\n"
                  "%h = moe.matmul %n, %w" +
                  mark + " : <6x5>, <5x5> -> <6x5>\n" +
                  mapOp("%next", {{"%c", "<6x5>"}, {"%h", "<6x5>"}}, "<6x5>",
                        "%t = math.tanh %1 : f64\n%r = arith.addf %0, %t : f64", mark) +
                  "moe.yield %next : <6x5>\n}\n";
    layers.shape = kShape;
    cases.push_back(layers);
    // Stacked operand and result; a captured parameter and a captured value that depends on one.
    GradientCase stacks{"stacks" + tail, {{"all", {4, 5}, -1, 1, 3}, {"w", {5, 5}}, {"v", {1, 5}}}};
    stacks.body = "%stack = moe.read @self.all : <3x4x5>\n" +
                  mapOp("%e", {{"%v", "<1x5>"}}, "<1x5>", "%r = math.exp %0 : f64") +
                  "%outs = moe.repeat %l of 3 stacked(%p = %stack : <3x4x5>) -> (<3x4x5>) {\n"
                  "%h = moe.matmul %p, %w" +
                  mark + " : <4x5>, <5x5> -> <4x5>\n" +
                  mapOp("%o", {{"%h", "<4x5>"}, {"%e", "<1x5>"}, {"%p", "<4x5>"}}, "<4x5>",
                        "%a = arith.mulf %0, %1 : f64\n%b = math.sin %a : f64\n%r = arith.mulf %b, %2 : f64", mark) +
                  "moe.yield %o : <4x5>\n}\n%y = moe.reshape %outs : <3x4x5> -> <12x5>\n";
    stacks.shape = {12, 5};
    cases.push_back(stacks);
    // Two carried values that change places; one of them is also stacked; counted downwards.
    GradientCase swap{"swap" + tail, {{"x", kShape}, {"z", kShape}, {"s", {1, 5}, -1, 1, 3}}};
    swap.body = "%u, %v, %outs = moe.repeat reverse %l of 3 carry(%a = %x : <6x5>, %b = %z : <6x5>) -> (<3x6x5>) {\n"
                "%s = moe.read @self.s[%l] : <1x5>\n" +
                mapOp("%n", {{"%a", "<6x5>"}, {"%b", "<6x5>"}, {"%s", "<1x5>"}}, "<6x5>",
                      "%p = arith.mulf %0, %2 : f64\n%q = math.sin %p : f64\n%r = arith.addf %q, %1 : f64", mark) +
                "moe.yield %n, %a, %n : <6x5>, <6x5>, <6x5>\n}\n"
                "%flat = moe.reshape %outs : <3x6x5> -> <6x15>\n%sum = moe.row_reduce sum %flat : <6x15> -> <6x1>\n" +
                mapOp("%y", {{"%u", "<6x5>"}, {"%v", "<6x5>"}, {"%sum", "<6x1>"}}, "<6x5>",
                      "%p = arith.mulf %0, %1 : f64\n%r = arith.addf %p, %2 : f64");
    swap.shape = kShape;
    cases.push_back(swap);
  }
  // Every iteration of the outer loop starts the inner one with the same captured value.
  GradientCase nested{"nested", {{"x", kShape}, {"w", {5, 5}, -0.5, 0.5, 2}}};
  nested.body = mapOp("%start", {{"%x", "<6x5>"}}, "<6x5>", "%r = math.sin %0 : f64") +
                "%outs = moe.repeat %l of 2 -> (<2x6x5>) {\n%w = moe.read @self.w[%l] : <5x5>\n"
                "%z = moe.repeat %m of 3 carry(%c = %start : <6x5>) {\n"
                "%h = moe.matmul %c, %w : <6x5>, <5x5> -> <6x5>\n" +
                mapOp("%n", {{"%h", "<6x5>"}, {"%c", "<6x5>"}}, "<6x5>",
                      "%t = math.tanh %0 : f64\n%r = arith.addf %t, %1 : f64") +
                "moe.yield %n : <6x5>\n}\nmoe.yield %z : <6x5>\n}\n%y = moe.reshape %outs : <2x6x5> -> <12x5>\n";
  nested.shape = {12, 5};
  cases.push_back(nested);
  check(cases);
}
