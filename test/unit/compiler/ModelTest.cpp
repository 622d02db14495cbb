// Segments, name patterns, parameter counts, and that the size of the IR does not depend on depth.
#include "compiler/Model/ModelBuilder.h"
#include "compiler/Model/Parameters.h"
#include "compiler/Model/Patterns.h"
#include "compiler/tools/RegisterAll.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

using namespace moec;

namespace {

class Fixture {
public:
  Fixture() : context(makeRegistry()) { context.loadAllAvailableDialects(); }

  mlir::MLIRContext context;

  /// The base experiment with pieces of its text replaced.
  exp::ExperimentOp parse(std::initializer_list<std::pair<std::string, std::string>> changes) {
    std::ifstream file(MOEC_TEST_DIR "/compiler/Model/Inputs/base.mlir");
    std::stringstream text;
    text << file.rdbuf();
    std::string source = text.str();
    for (auto &[from, to] : changes) {
      size_t at = source.find(from);
      REQUIRE(at != std::string::npos);
      source.replace(at, from.size(), to);
    }
    module = mlir::parseSourceString<mlir::ModuleOp>(source, &context);
    REQUIRE(module);
    return *module->getOps<exp::ExperimentOp>().begin();
  }

  int64_t countOps(exp::ExperimentOp experiment) {
    mlir::OwningOpRef<mlir::ModuleOp> out = mlir::ModuleOp::create(mlir::UnknownLoc::get(&context));
    REQUIRE(mlir::succeeded(buildModel(experiment, *out)));
    REQUIRE(mlir::succeeded(mlir::verify(*out)));
    int64_t count = 0;
    out->walk([&](mlir::Operation *) { ++count; });
    return count;
  }

private:
  static mlir::DialectRegistry makeRegistry() {
    mlir::DialectRegistry registry;
    registerAllDialects(registry);
    return registry;
  }
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

std::string layers(int64_t count) { return "num_layers = " + std::to_string(count) + " "; }

} // namespace

TEST_CASE("patterns select parameters by name", "[model]") {
  CHECK(matchesPattern("embed", "embed"));
  CHECK_FALSE(matchesPattern("embed", "embedding"));
  CHECK(matchesPattern("*.norm.*", "layers.3.attention.norm.scale"));
  CHECK_FALSE(matchesPattern("*.norm.*", "layers.3.attention.q_norm.scale"));
  CHECK(matchesPattern("*norm.scale", "final_norm.scale"));
  CHECK(matchesPattern("layers.*.{attention,moe}.*", "layers.12.moe.experts.up"));
  CHECK_FALSE(matchesPattern("layers.*.{attention,moe}.*", "layers.12.ffn.up"));
  CHECK(matchesPattern("layers.{0..3}.*", "layers.3.ffn.up"));
  CHECK_FALSE(matchesPattern("layers.{0..3}.*", "layers.4.ffn.up"));
  CHECK_FALSE(matchesPattern("layers.{0..3}.*", "layers.31.ffn.up"));
  CHECK_FALSE(matchesPattern("layers.{0..3}.*", "layers.03.ffn.up"));
  CHECK(matchesPattern("layers.{0..1,7}.*", "layers.7.ffn.up"));
  CHECK(matchesPattern("*", ""));
  CHECK_FALSE(matchesPattern("", "x"));
  CHECK_FALSE(matchesPattern("layers.{0..x}.*", "layers.0.ffn.up"));
}

TEST_CASE("segments: prefix, period, rest", "[model]") {
  auto describe = [](int64_t numLayers, MoePattern pattern) {
    std::string text;
    for (const Segment &segment : formSegments(numLayers, pattern)) {
      text += text.empty() ? "" : " ";
      text += std::to_string(segment.count) + "x";
      for (const LayerStack &stack : segment.stacks)
        text += (stack.isMoe ? "M" : "d") + std::to_string(stack.first);
    }
    return text;
  };
  CHECK(describe(4, {0, 1}) == "4xM0");
  CHECK(describe(4, {4, 1}) == "4xd0");
  CHECK(describe(61, {3, 1}) == "3xd0 58xM3");
  CHECK(describe(5, {1, 2}) == "1xd0 2xM1d2");
  CHECK(describe(6, {1, 2}) == "1xd0 2xM1d2 1xM5");
  CHECK(describe(6, {1, 4}) == "1xd0 1xM1d2d3d4 1xM5");
  CHECK(describe(3, {1, 4}) == "1xd0 1xM1d2");
  CHECK(describe(4, {9, 2}) == "4xd0");
}

TEST_CASE("every layer is in one stack", "[model]") {
  for (int64_t numLayers : {1, 2, 7, 24})
    for (int64_t first : {0, 1, 3})
      for (int64_t every : {1, 2, 3, 5}) {
        std::vector<int> seen(numLayers);
        for (const Segment &segment : formSegments(numLayers, {first, every}))
          for (const LayerStack &stack : segment.stacks)
            for (int64_t i = 0; i < stack.count; ++i) {
              int64_t layer = stack.first + stack.step * i;
              REQUIRE(layer < numLayers);
              ++seen[layer];
              CHECK(stack.isMoe == (layer >= first && (layer - first) % every == 0));
            }
        CHECK(seen == std::vector<int>(numLayers, 1));
      }
}

TEST_CASE("logical names", "[model]") {
  LayerStack first{.number = 0, .first = 0, .step = 1, .count = 4, .isMoe = false};
  LayerStack third{.number = 2, .first = 1, .step = 2, .count = 4, .isMoe = true};
  std::string router = getNameInLayers("moe.router");
  CHECK(router == "layers.{}.moe.router");
  CHECK(getCopyName(router, third, 3) == "layers.7.moe.router");
  CHECK(getCopyName("optimizer.m.layers.{}.ffn.up", first, 3) == "optimizer.m.layers.3.ffn.up");
  CHECK(getCopyName("embed", first, 0) == "embed");
  // Symbols tell stacks apart, names do not.
  CHECK(getSymbol(router, &first) == "layers.{}.moe.router");
  CHECK(getSymbol(router, &third) == "layers.{}.moe.router#2");
  CHECK(getSymbol("metric.loss", &third) == "metric.loss");
  CHECK(getSymbol("embed", nullptr) == "embed");
}

TEST_CASE_METHOD(Fixture, "the IR does not grow with depth", "[model]") {
  int64_t two = countOps(parse({{layers(4), layers(2)}}));
  CHECK(countOps(parse({{layers(4), layers(20)}})) == two);
  CHECK(countOps(parse({{layers(4), layers(61)}})) == two);
  std::pair<std::string, std::string> ffn{"// ffn", "exp.ffn {kind = \"swiglu\", inner_size = 64 : i64}"};
  std::pair<std::string, std::string> pattern{"first_layer = 0 : i64, every = 1", "first_layer = 1 : i64, every = 2"};
  int64_t five = countOps(parse({{layers(4), layers(5)}, pattern, ffn}));
  CHECK(countOps(parse({{layers(4), layers(61)}, pattern, ffn})) == five);
}

TEST_CASE_METHOD(Fixture, "the IR does not grow with experts", "[model]") {
  CHECK(countOps(parse({})) == countOps(parse({{"num_experts = 8 ", "num_experts = 128 "}})));
}

TEST_CASE_METHOD(Fixture, "parameter counts", "[model]") {
  ParameterCounts counts = countParameters(parse({}));
  int64_t attention = 32 + 32 * 32 + 2 * 32 * 16 + 32 * 32, router = 32 + 32 * 8, expert = 3 * 32 * 48;
  int64_t outside = 2 * 256 * 32 + 32;
  CHECK(counts.total == outside + 4 * (attention + router + 8 * expert));
  CHECK(counts.active == outside + 4 * (attention + router + 2 * expert));

  // What a token meets of the experts, by how it is routed; zero experts have rows in the router and no weights.
  auto active = [&](std::initializer_list<std::pair<std::string, std::string>> changes) {
    return countParameters(parse(changes)).active;
  };
  std::pair<std::string, std::string> zero{"drop = ", "zero_experts = 4 : i64, drop = "};
  std::string wide = "drop = \"lowest_weight\"", choice = "#exp.method<\"routing\", \"token_choice\", {}>";
  std::string balance = "scale = 1.0 : f64", at = "expected = 1.5 : f64, rate = 0.05 : f64, decay_from = 0 : i64";
  int64_t router12 = 32 + 32 * 12, rest = outside + 4 * attention;
  CHECK(active({zero}) == rest + 4 * (router12 + expert * 2 * 8 / 12));
  CHECK(active({zero, {balance, balance + ", balance = #exp.method<\"balance\", \"budget_bias\", {" + at + "}>"}}) ==
        rest + 4 * router12 + expert * 4 * 3 / 2);
  CHECK(active({{wide, wide + ", top_k_per_layer = array<f64: 2.0, 1.0, 1.0, 1.0>"}}) ==
        rest + 4 * router + expert * (2 + 1 + 1 + 1));
  std::string experts = "#exp.method<\"routing\", \"expert_choice\", {capacity_factor = 3.0 : f64, scope = \"batch\", "
                        "see_future = true, then.at = 0 : i64, then.capacity_factor = 1.0 : f64, then.over = 0 : i64, "
                        "then.stages = 4 : i64}>";
  CHECK(active({{choice, experts}, {"weight = 0.01", "weight = 0.0"}}) == rest + 4 * (router + 3 * expert));
  // A shortcut layer has attention and a dense block twice.
  std::pair<std::string, std::string> ffn{"// ffn", "exp.ffn {kind = \"swiglu\", inner_size = 64 : i64}"};
  ParameterCounts shortcut = countParameters(parse({ffn, {wide, wide + ", block = \"shortcut\""}}));
  CHECK(shortcut.total == outside + 4 * (2 * attention + 2 * (32 + 3 * 32 * 64) + 32 * 8 + 8 * expert));
}

TEST_CASE_METHOD(Fixture, "the same experts in smaller parts have the same parameters, and a token meets as many",
                 "[model]") {
  auto split = [&](int64_t parts) {
    auto text = [](int64_t number) { return std::to_string(number) + " : i64"; };
    return countParameters(parse({{"num_experts = 8 : i64", "num_experts = " + text(8 * parts)},
                                  {"top_k = 2 : i64", "top_k = " + text(2 * parts)},
                                  {"expert_inner_size = 48 : i64", "expert_inner_size = " + text(48 / parts)}}));
  };
  ParameterCounts whole = split(1);
  for (int64_t parts : {2, 4}) {
    int64_t routers = 4 * 32 * 8 * (parts - 1); // alone these grow
    CHECK(split(parts).total == whole.total + routers);
    CHECK(split(parts).active == whole.active + routers);
  }
}
