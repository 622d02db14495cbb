#include "TinyPlan.h"

#include "runtime/io/Dataset.h"

#include <cmath>
#include <filesystem>
#include <set>

using namespace moec::rt;
using namespace moec::rt::test;

TEST_CASE("permute is a permutation for every size", "[data]") {
  for (uint64_t size : {1, 2, 3, 4, 5, 16, 17, 100, 257, 1000}) {
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < size; ++i) {
      uint64_t value = permute(i, size, 0x123456789abcdefull);
      REQUIRE(value < size);
      seen.insert(value);
    }
    CHECK(seen.size() == size);
  }
  CHECK(permute((uint64_t{1} << 62) - 1, uint64_t{1} << 62, 5) < uint64_t{1} << 62);
}

TEST_CASE("training samples are a pure function of their number", "[data]") {
  SampleOrder order(17, {100, 37, 5}, {0.5, 0.3, 0.2}), again(17, {100, 37, 5}, {0.5, 0.3, 0.2});
  std::vector<Sample> sequence;
  for (uint64_t i = 0; i < 2000; ++i)
    sequence.push_back(order.train(i));
  // Asked backward, from another object: the same.
  for (uint64_t i = 2000; i-- > 0;) {
    Sample sample = again.train(i);
    REQUIRE((sample.set == sequence[i].set && sample.window == sequence[i].window));
  }
  SampleOrder other(18, {100, 37, 5}, {0.5, 0.3, 0.2});
  int equal = 0;
  for (uint64_t i = 0; i < 2000; ++i)
    equal += other.train(i).window == sequence[i].window;
  CHECK(equal < 400);
}

TEST_CASE("no window comes twice within an epoch, and weights are met", "[data]") {
  SampleOrder order(3, {1000, 250}, {0.75, 0.25});
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    std::set<uint64_t> seen;
    int drawn = 0;
    for (uint64_t i = epoch * 1000; i < (epoch + 1) * 1000; ++i)
      if (Sample sample = order.train(i); sample.set == 0) {
        seen.insert(sample.window);
        ++drawn;
      }
    CHECK(static_cast<int>(seen.size()) == drawn);
    CHECK(drawn == Approx(750).margin(60));
  }
  SampleOrder onlySecond(3, {10, 10, 10}, {0, 1, 0});
  for (uint64_t i = 0; i < 100; ++i)
    REQUIRE(onlySecond.train(i).set == 1);
}

TEST_CASE("validation walks windows in order, set by set", "[data]") {
  SampleOrder order(17, {3, 2}, {0.9, 0.1});
  std::vector<std::pair<uint32_t, uint64_t>> found,
      expected = {{0, 0}, {1, 0}, {0, 1}, {1, 1}, {0, 2}, {1, 0}, {0, 0}, {1, 1}};
  for (uint64_t i = 0; i < 8; ++i)
    found.emplace_back(order.validation(i).set, order.validation(i).window);
  CHECK(found == expected);
}

namespace {
/// Of the tiny plan: 4 sequences of 16 tokens.
struct TestBatch {
  std::vector<int32_t> tokens = std::vector<int32_t>(4 * 17), domains = std::vector<int32_t>(4);

  Status fill(const Dataset &data, bool validation, uint64_t first) {
    return data.fill(validation, first, tokens, domains);
  }
};
} // namespace

TEST_CASE("batches hold the bytes of the files", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  Result<Dataset> data = Dataset::open(plan, "");
  REQUIRE_OK(data.status());
  std::string files[] = {slurp(dir / "a.txt"), slurp(dir / "b.txt")};
  TestBatch batch;
  for (uint64_t first : {uint64_t{0}, uint64_t{4}, uint64_t{123456789}}) {
    REQUIRE_OK(batch.fill(*data, false, first));
    for (uint64_t row = 0; row < 4; ++row) {
      Sample sample = data->order(false).train(first + row);
      CHECK(batch.domains[row] == static_cast<int32_t>(sample.set));
      for (uint64_t i = 0; i < 17; ++i)
        REQUIRE(batch.tokens[row * 17 + i] == files[sample.set][sample.window * 16 + i]);
    }
  }
  REQUIRE_OK(batch.fill(*data, true, 0));
  CHECK(batch.domains == std::vector<int32_t>{0, 1, 0, 1});
  CHECK(batch.tokens[0] == slurp(dir / "a-val.txt")[0]);
  CHECK(batch.tokens[2 * 17] == slurp(dir / "a-val.txt")[16]);
}

TEST_CASE("data errors name the file and what to do", "[data]") {
  TempDir dir, other;
  Plan plan = makeTinyPlan(dir.path());
  Status missing = Dataset::open(plan, other.path()).status();
  CHECK_CODE(missing, "MOEC-D001");
  CHECK(missing.text().find(other / "a.txt") != std::string::npos);
  CHECK(missing.text().find("--data-dir") != std::string::npos);

  spill(dir / "b.txt", "sixteen bytes...");
  CHECK_CODE(Dataset::open(plan, "").status(), "MOEC-D002");
  spill(dir / "b.txt", "");
  CHECK_CODE(Dataset::open(plan, "").status(), "MOEC-D002");
  std::filesystem::remove(dir / "b.txt");
  std::filesystem::create_directory(dir / "b.txt");
  CHECK_CODE(Dataset::open(plan, "").status(), "MOEC-D001");

  writeTinyData(other.path());
  plan.generate->vocabulary = 100;
  Dataset narrow = Dataset::open(plan, other.path()).value();
  TestBatch batch;
  CHECK_CODE(batch.fill(narrow, false, 0), "MOEC-D003");
}

TEST_CASE("exactly one window fits a file of seq_len + 1 bytes", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  spill(dir / "a.txt", "0123456789abcdefg");
  spill(dir / "b.txt", "0123456789abcdefg");
  Dataset data = Dataset::open(plan, "").value();
  TestBatch batch;
  REQUIRE_OK(batch.fill(data, false, 1000));
  CHECK(batch.tokens[16] == 'g');
}

TEST_CASE("a file that gets shorter while it is in use is an error", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  for (const char *name : {"a.txt", "b.txt", "a-val.txt", "b-val.txt"})
    spill(dir / name, std::string(1000, 'x'));
  Dataset data = Dataset::open(plan, "").value();
  for (const char *name : {"a.txt", "b.txt", "a-val.txt", "b-val.txt"})
    std::filesystem::resize_file(dir / name, 10);
  TestBatch batch;
  CHECK_CODE(batch.fill(data, false, 0), "MOEC-D005");
  CHECK_CODE(batch.fill(data, true, 0), "MOEC-D005");
  CHECK_CODE(data.unigramBaseline(2).status(), "MOEC-D005");
}

TEST_CASE("the unigram baseline is the cross-entropy of byte frequencies", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  // Training: set a only 'x', set b half 'x' half 'y'; weights 0.75 and 0.25 give 0.875 and 0.125.
  spill(dir / "a.txt", std::string(1000, 'x'));
  spill(dir / "b.txt", std::string(500, 'x') + std::string(500, 'y'));
  spill(dir / "a-val.txt", std::string(64, 'x'));
  spill(dir / "b-val.txt", std::string(64, 'y'));
  Dataset data = Dataset::open(plan, "").value();
  double x = (0.875 * 2000 + 1) / (2000 + 256), y = (0.125 * 2000 + 1) / (2000 + 256);
  CHECK(data.unigramBaseline(2).value() == Approx(-(std::log(x) + std::log(y)) / 2));
  CHECK(data.unigramBaseline(1).value() == Approx(-std::log(x)));
}
