#include "TinyPlan.h"

#include "runtime/api/moec.h"
#include "runtime/exec/Sampler.h"
#include "runtime/plan/PlanReader.h"

using namespace moec::rt;
using namespace moec::rt::test;

TEST_CASE("sampling is greedy at 0, limited by top-k, and follows the weights", "[generate]") {
  std::vector<double> logits = {0, 3, 1, 3, -1};
  CHECK(sampleToken(logits, 0, 0, 0.99) == 1);
  for (int i = 0; i < 100; ++i) {
    uint32_t token = sampleToken(logits, 10, 2, i / 100.0);
    REQUIRE((token == 1 || token == 3));
  }
  CHECK(sampleToken(logits, 1, 1, 0.999999) == 1);
  // Equal logits: each of four gets a quarter.
  std::vector<double> equal(4, 2.5);
  for (uint32_t i = 0; i < 4; ++i)
    CHECK(sampleToken(equal, 1, 0, 0.25 * i + 0.1) == i);
  CHECK(sampleToken({logits.data(), 1}, 1, 5, 0.5) == 0);
  std::vector<double> wide = {-1e300, 700, -1e300};
  CHECK(sampleToken(wide, 0.01, 0, 0.5) == 1);
}

TEST_CASE("generation is repeatable, seeded, and knows the language it saw", "[generate]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path(), {.steps = 150, .saveEvery = 150, .logEvery = 150});
  RunOptions options;
  options.runDir = dir / "run";
  options.out = nullptr;
  options.threads = 1;
  REQUIRE_OK(train(plan, options).status());

  GenerateOptions request;
  request.prompt = "route";
  request.bytes = 60;
  request.temperature = 0;
  Result<std::string> greedy = generate(plan, options, request);
  REQUIRE_OK(greedy.status());
  CHECK(greedy->size() == 60);
  CHECK(greedy->starts_with("r "));

  request.temperature = 1;
  Result<std::string> one = generate(plan, options, request);
  REQUIRE_OK(one.status());
  options.threads = 2;
  options.poison = true;
  CHECK(*generate(plan, options, request) == *one);
  request.seed = 5;
  CHECK(*generate(plan, options, request) != *one);
  // The window slides: the text may be much longer than it (16), and one byte is enough to start.
  request.prompt = "";
  request.bytes = 1;
  CHECK(generate(plan, options, request)->size() == 1);
  request.temperature = -1;
  CHECK_CODE(generate(plan, options, request).status(), "MOEC-R005");
}

TEST_CASE("a plan without logits cannot generate", "[generate]") {
  TempDir dir;
  nlohmann::json manifest = tinyManifest(dir.path());
  manifest["generate"] = nullptr;
  std::string file = buildTiny(manifest);
  Plan plan = parsePlan(std::as_bytes(std::span(file)), "x").value();
  CHECK_CODE(generate(plan, {}, {}).status(), "MOEC-R006");
}

TEST_CASE("prompts stay in the vocabulary", "[generate]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  plan.generate->vocabulary = 128;
  GenerateOptions request;
  request.prompt = "caf\xc3\xa9";
  CHECK_CODE(generate(plan, {}, request).status(), "MOEC-D003");
}
