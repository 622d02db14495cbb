// The lockstep tool with the tiny plan as reference and as a plan for a pretended GPU.
#include "../../gpu/lockstep/Lockstep.h"
#include "../../gpu/lockstep/Compare.h"
#include "../../gpu/lockstep/Values.h"
#include "CudaPlan.h"

#include "runtime/plan/PlanReader.h"

#include <cmath>
#include <functional>

using namespace moec::rt;
using namespace moec::rt::test;
using nlohmann::json;

static Plan planOf(const std::string &file, const std::string &name) {
  Result<Plan> plan = parsePlan(std::as_bytes(std::span(file)), name);
  REQUIRE_OK(plan.status());
  return std::move(plan).value();
}

static Plan reference(bool forgetsToZero = false) {
  json manifest = tinyManifest("/data", {.forgetsToZero = forgetsToZero});
  addOperandInfo(manifest);
  return planOf(buildTiny(manifest), "ref.moec");
}

static const LockstepRow *find(const LockstepReport &report, const std::string &kernel, size_t operand) {
  for (const LockstepRow &row : report.rows)
    if (row.kernel == kernel && row.operand == operand)
      return &row;
  return nullptr;
}

TEST_CASE("values keep their numbers in every type", "[lockstep]") {
  std::vector<double> numbers = {0, 1, -2.5, 448, 0.00390625, -1e30};
  for (DType type : {DType::F64, DType::F32, DType::BF16}) {
    std::vector<double> back = decode(encode(numbers, type), type);
    for (size_t i = 0; i + 1 < numbers.size(); ++i)
      CHECK(back[i] == numbers[i]);
    CHECK(back.back() == Approx(-1e30).epsilon(0.01));
  }
  // Ties go to even, and a double just above a tie goes up: rounding in two steps would not.
  std::vector<double> ties = {1 + 1.0 / 256, 1 + 3.0 / 256, 1 + 1.0 / 256 + 1e-12, 1 + 3.0 / 256 - 1e-12, NAN};
  std::vector<double> rounded = decode(encode(ties, DType::BF16), DType::BF16);
  CHECK(rounded[0] == 1);
  CHECK(rounded[1] == 1 + 4.0 / 256);
  CHECK(rounded[2] == 1 + 2.0 / 256);
  CHECK(rounded[3] == 1 + 2.0 / 256);
  CHECK(std::isnan(rounded[4]));
  // f8 stops at 448; below 2^-6 its numbers are 2^-9 apart.
  numbers = {0, 1, -2.5, 448, 0x1p-6, 0x1p-9, -7 * 0x1p-9, 1e30, 17, 0x1p-10, 0x1.8p-9};
  std::vector<double> small = {0, 1, -2.5, 448, 0x1p-6, 0x1p-9, -7 * 0x1p-9, 448, 16, 0, 0x1p-8};
  CHECK(decode(encode(numbers, DType::F8E4M3), DType::F8E4M3) == small);
  CHECK(std::isnan(decode(encode(std::vector<double>{NAN}, DType::F8E4M3), DType::F8E4M3)[0]));
  std::vector<double> counts = {0, -1, 100};
  for (DType type : {DType::I64, DType::I32, DType::I16, DType::I8})
    CHECK(decode(encode(counts, type), type) == counts);
}

TEST_CASE("errors are measured by results, or by the terms that cancelled", "[lockstep]") {
  std::vector<double> want = {3, 4, 0}, have = {3, 4.5, 0}, all = {0, 0, 0};
  Difference found = compareFloats(want, have, all, {});
  CHECK(found.relative == Approx(0.5 / 4)); // the worst element; the whole is 0.5 / 5
  CHECK(found.absolute == 0.5);
  CHECK(compareFloats(want, have, {0, NAN, 0}, {}).relative == 0);
  CHECK(compareFloats(want, {3, NAN, 0}, all, {}).notFinite == 1);
  CHECK(compareFloats({0, 0}, {1e-3, 0}, {0, 0}, {}).relative == 1e-3);
  // One element of a million that is wrong.
  std::vector<double> many(1'000'000, 1.0), one = many;
  one[77] = 0;
  CHECK(compareFloats(many, one, many, {}).relative == 1);

  // x0 - x1 with nearly equal terms: rounding of them is no error, as much as the terms is.
  std::mt19937_64 random(1);
  std::vector<double> largest(2);
  for (int i = 0; i < 8; ++i) {
    std::vector<double> x = {1, 1 - 1e-9};
    perturb(x, random);
    largest = std::max(largest, termsOf({1e-9, 5}, {x[0] - x[1], 5}));
  }
  CHECK(largest[0] == Approx(2).epsilon(1e-6));
  CHECK(largest[1] == 0);
  CHECK(compareFloats({1e-9}, {6e-8}, {0}, {2}).relative == Approx(3e-8).epsilon(0.02));
  CHECK(compareFloats({1e-9}, {1}, {0}, {2}).relative == Approx(0.5));
}

TEST_CASE("e4m3 results are measured in steps of their type", "[lockstep]") {
  std::vector<double> want(200, 1.0), all(200, 0.0);
  want[0] = 128, want[1] = 448, want[2] = -15, want[3] = 0x1p-9;
  auto with = [&](size_t at, double value) {
    std::vector<double> have = want;
    have[at] = value;
    return compareFloat8(want, have, all, {});
  };
  // Neighbours: 8 or 16 of 128 at a tie, 32 of 448, across a power of two, to zero from both sides.
  for (auto [at, value] : {std::pair<size_t, double>{0, 144}, {0, 120}, {1, 416}, {2, -16}, {3, 0}, {3, 0x1p-8}}) {
    Difference found = with(at, value);
    CHECK(found.relative == 0);
    CHECK(found.absolute == std::abs(want[at] - value));
    CHECK(found.oneStep == 1);
    CHECK(found.compared == 200);
    CHECK(fewSteps(found));
  }
  // Two steps are an error of their whole size, and so is another sign.
  CHECK(with(0, 160).relative == Approx(32.0 / 448));
  CHECK(with(0, 160).oneStep == 0);
  CHECK(with(2, 15).relative == Approx(30.0 / 448));
  CHECK(with(0, NAN).notFinite == 1);
  // What the reference has not rounded yet is rounded as the type does: ties to even.
  CHECK(compareFloat8({136, 152}, {128, 160}, {0, 0}, {}).oneStep == 0);
  CHECK(compareFloat8({136, 152}, {128, 160}, {0, 0}, {}).relative == 0);
  // One in a hundred is luck; a kernel that cuts off, or rounds ties away from zero, is not.
  std::vector<double> values(4096), cut(4096), away(4096);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = 64 + static_cast<double>(i % 64);
    cut[i] = std::floor(values[i] / 8) * 8; // between 64 and 128 numbers are 8 apart
    away[i] = std::floor(values[i] / 8 + 0.5) * 8;
  }
  std::vector<double> numbers(4096, 0.0);
  CHECK_FALSE(fewSteps(compareFloat8(values, cut, numbers, {})));
  CHECK_FALSE(fewSteps(compareFloat8(values, away, numbers, {})));
  Difference found = compareFloat8(values, decode(encode(values, DType::F8E4M3), DType::F8E4M3), numbers, {});
  CHECK(found.oneStep == 0);
  CHECK(found.absolute == 0);
}

TEST_CASE("equal plans are equal in every dispatch", "[lockstep]") {
  FakeDriver fake;
  Plan ref = reference(), gpu = planOf(buildCuda(cudaManifest("/data")), "gpu.moec");
  LockstepOptions options;
  options.steps = 2;
  if (GENERATE(false, true))
    options.seed = 5;
  Result<LockstepReport> report = runLockstep(ref, gpu, options);
  REQUIRE_OK(report.status());
  INFO(report->table());
  CHECK(report->good);
  for (const LockstepRow &row : report->rows)
    CHECK(row.worstRelative == 0);
  const LockstepRow *update = find(*report, "tiny_update", 0), *bias = find(*report, "tiny_update_bias", 0);
  REQUIRE(update);
  CHECK(update->launches == 2);
  CHECK(bias->launches == 4); // two layers, two steps
  CHECK(find(*report, "tiny_sum", 3)->wrongIntegers == 0);
  CHECK(find(*report, "tiny_logits", 4)->launches == 1);
  CHECK(find(*report, "tiny_explode", 0) == nullptr);
}

TEST_CASE("a kernel that does another thing is found, and only that", "[lockstep]") {
  FakeDriver fake;
  json manifest = cudaManifest("/data");
  manifest["kernels"][5]["symbol"] = "tiny_bias"; // leaves the bias as it is
  Plan ref = reference(), gpu = planOf(buildCuda(manifest), "gpu.moec");
  Result<LockstepReport> report = runLockstep(ref, gpu, {});
  REQUIRE_OK(report.status());
  INFO(report->table());
  CHECK_FALSE(report->good);
  CHECK(report->rows[0].kernel == "tiny_update_bias");
  CHECK_FALSE(report->rows[0].good);
  CHECK(report->rows[1].good);
  LockstepOptions only;
  only.only = "tiny_forward";
  report = runLockstep(ref, gpu, only);
  REQUIRE_OK(report.status());
  CHECK(report->good);
  CHECK(report->rows.size() == 2);
  LockstepOptions one;
  one.function = "logits";
  report = runLockstep(ref, gpu, one);
  REQUIRE_OK(report.status());
  CHECK(report->good);
}

// The launches of `kernel` in a body, nested ones too.
static void forLaunches(json &body, uint64_t kernel, const std::function<void(json &)> &visit) {
  for (json &op : body) {
    if (op.contains("body"))
      forLaunches(op["body"], kernel, visit);
    if (op.contains("kernel") && op["kernel"] == kernel)
      visit(op);
  }
}

TEST_CASE("plans need not agree on what is made in place", "[lockstep]") {
  FakeDriver fake;
  json manifest = tinyManifest("/data");
  addOperandInfo(manifest);
  // Only the reference has the mean in the place of the sum.
  int changed = 0;
  for (json &function : manifest["functions"])
    forLaunches(function["body"], 6, [&](json &launch) {
      launch["args"][2] = launch["args"][1];
      ++changed;
    });
  REQUIRE(changed > 0);
  Plan ref = planOf(buildTiny(manifest), "ref.moec"), gpu = planOf(buildCuda(cudaManifest("/data")), "gpu.moec");
  for (bool swapped : {false, true}) {
    Result<LockstepReport> report = runLockstep(swapped ? gpu : ref, swapped ? ref : gpu, {});
    REQUIRE_OK(report.status());
    INFO(report->table());
    CHECK(report->good);
    CHECK(find(*report, "tiny_finish", 2)->worstRelative == 0);
  }
}

TEST_CASE("writes to what is no result are found when all memory is watched", "[lockstep]") {
  FakeDriver fake;
  LockstepOptions options;
  options.guard = true;
  Plan ref = reference(), good = planOf(buildCuda(cudaManifest("/data")), "gpu.moec");
  CHECK(runLockstep(ref, good, options)->good);
  json manifest = cudaManifest("/data");
  manifest["kernels"][4]["writes"] = {0}; // and the momentum
  Result<LockstepReport> report = runLockstep(ref, planOf(buildCuda(manifest), "gpu.moec"), options);
  REQUIRE_OK(report.status());
  INFO(report->table());
  CHECK_FALSE(report->good);
  REQUIRE(report->strays.size() == 1);
  CHECK(report->strays[0].find("kernel \"tiny_update\"") == 0);
  CHECK(report->table().find("1 wrote elsewhere") != std::string::npos);
}

TEST_CASE("a dispatch of several kernels is compared as one", "[lockstep]") {
  FakeDriver fake;
  json manifest = cudaManifest("/data");
  // The second launch of the same kernel does the same again: it only writes.
  json &body = manifest["functions"][2]["body"];
  body.insert(body.begin() + 2, body[2]);
  Plan ref = reference(), gpu = planOf(buildCuda(manifest), "gpu.moec");
  Result<LockstepReport> report = runLockstep(ref, gpu, {});
  REQUIRE_OK(report.status());
  INFO(report->table());
  CHECK(report->good);
}

TEST_CASE("plans of another structure are refused", "[lockstep]") {
  FakeDriver fake;
  Plan ref = reference(true), gpu = planOf(buildCuda(cudaManifest("/data")), "gpu.moec");
  Status status = runLockstep(ref, gpu, {}).status();
  CHECK_CODE(status, "MOEC-R004");
  CHECK(status.text().find("\"forward_backward\" has 5 dispatches, the reference has 4") != std::string::npos);
  Plan silent = planOf(buildTiny(tinyManifest("/data")), "silent.moec");
  CHECK_CODE(runLockstep(silent, gpu, {}).status(), "MOEC-R004");
}

TEST_CASE("lockstep runs one rank, and says so", "[lockstep]") {
  json manifest = tinyManifest("/data");
  addOperandInfo(manifest);
  manifest["mesh"] = json::array({{{"axis", "data"}, {"size", 2}, {"batches", true}}});
  Plan plan = planOf(buildTiny(manifest), "ranks.moec");
  Result<LockstepReport> report = runLockstep(plan, plan, {});
  CHECK_CODE(report.status(), "MOEC-R004");
  CHECK(report.status().message() == "the plan divides its work over 2 ranks, but lockstep runs one rank; compile the "
                                     "spec with parallel null");
}
