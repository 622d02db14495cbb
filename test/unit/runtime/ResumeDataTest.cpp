// Where a resumed run goes on in its data (docs/data.md, laws 7 to 9).
#include "TinyPlan.h"

#include "runtime/io/Dataset.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

using namespace moec::rt;
using namespace moec::rt::test;

namespace {

Dataset openAll(const Plan &plan) {
  Result<Dataset> data = Dataset::open(plan, "");
  REQUIRE_OK(data.status());
  REQUIRE_OK(data->identify());
  return std::move(data).value();
}

/// Through JSON, as a checkpoint would carry it.
DataRecord carried(const DataRecord &record) {
  Json json = Json::parse(record.toJson().dump()).value();
  FieldErrors errors{"TEST", "record", Status::ok()};
  Fields fields(json, "", errors);
  DataRecord read = DataRecord::fromJson(fields);
  REQUIRE_OK(errors.first);
  REQUIRE(read.toJson().dump() == record.toJson().dump());
  return read;
}

using Seen = std::multiset<std::pair<std::string, uint64_t>>; // name of source, window

void look(const Dataset &data, uint64_t step, uint64_t steps, uint64_t perStep, Seen &seen) {
  for (uint64_t i = step * perStep; i < (step + steps) * perStep; ++i) {
    Sample sample = data.trainSample(i);
    seen.insert({data.train().name(sample.source), sample.window});
  }
}

bool isOnceEach(const Seen &seen, const std::string &name, uint64_t windows) {
  for (uint64_t window = 0; window < windows; ++window)
    if (seen.count({name, window}) != 1)
      return false;
  return true;
}

// Of the tiny plan: 8 sequences per step; a.txt has 312 windows, b.txt 187.
constexpr uint64_t kPerStep = 8;

} // namespace

TEST_CASE("law 7: with the same spec the samples are those of a run that never stopped", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  Dataset whole = openAll(plan), resumed = openAll(plan);
  for (int64_t step : {0, 1, 17, 1000}) {
    DataRecord record = carried(whole.recordAt(step));
    CHECK(record.tokens == static_cast<uint64_t>(step) * kPerStep * 16);
    CHECK(record.train[0].read + record.train[1].read == static_cast<uint64_t>(step) * kPerStep);
    REQUIRE_OK(resumed.goOn(record, step, false).status());
    CHECK(resumed.tokensAt(step + 3) == whole.tokensAt(step + 3));
    for (uint64_t i = static_cast<uint64_t>(step) * kPerStep; i < static_cast<uint64_t>(step + 50) * kPerStep; ++i) {
      Sample a = whole.trainSample(i), b = resumed.trainSample(i);
      REQUIRE((a.source == b.source && a.window == b.window));
    }
  }
}

TEST_CASE("law 8: another batch size goes on with the next windows", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  plan.data.train = {{"a", "a.txt", 1}};
  Seen seen;
  Dataset first = openAll(plan);
  look(first, 0, 19, kPerStep, seen); // 152 windows
  plan.data.sequences = 5;            // 10 per step
  Dataset second = openAll(plan);
  REQUIRE_OK(second.goOn(carried(first.recordAt(19)), 19, false).status());
  CHECK(second.tokensAt(19) == 19 * 8 * 16);
  CHECK(second.tokensAt(21) == 19 * 8 * 16 + 2 * 10 * 16);
  look(second, 19, 16, 10, seen); // the other 160
  CHECK(seen.size() == 312);
  CHECK(isOnceEach(seen, "a", 312));

  // And once more, back to the first size, and with a stop in between that changes nothing.
  DataRecord record = carried(second.recordAt(25));
  Dataset third = openAll(plan);
  REQUIRE_OK(third.goOn(record, 25, false).status());
  for (uint64_t i = 250; i < 400; ++i)
    REQUIRE(third.trainSample(i).window == second.trainSample(i).window);
}

TEST_CASE("law 8: weights and sources may change, each source keeps its place", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  spill(dir / "c.txt", sampleText(1000, 5));
  Seen seen;
  Dataset first = openAll(plan);
  look(first, 0, 10, kPerStep, seen); // 80, about 60 of a
  // Another order of sources, other weights, a new one.
  plan.data.train = {{"c", "c.txt", 0.1}, {"b", "b.txt", 1}, {"a", "a.txt", 1}};
  Dataset second = openAll(plan);
  REQUIRE_OK(second.goOn(carried(first.recordAt(10)), 10, false).status());
  look(second, 10, 20, kPerStep, seen);
  // b is gone for a while.
  plan.data.train = {{"a", "a.txt", 1}};
  Dataset third = openAll(plan);
  REQUIRE_OK(third.goOn(carried(second.recordAt(30)), 30, false).status());
  look(third, 30, 5, kPerStep, seen);
  // And comes back, under another name, while a has weight 0; another seed moves nothing.
  plan.data.train = {{"a", "a.txt", 0}, {"books", "b.txt", 1}};
  plan.seed = 4711;
  Dataset fourth = openAll(plan);
  REQUIRE_OK(fourth.goOn(carried(third.recordAt(35)), 35, false).status());
  DataRecord end = fourth.recordAt(36);
  CHECK(end.train.size() == 3); // c is not forgotten
  uint64_t left = 187 - (end.train[1].read - kPerStep);
  look(fourth, 35, left / kPerStep + 1, kPerStep, seen);
  uint64_t ofB = 0;
  std::map<uint64_t, int> times;
  for (const auto &[name, window] : seen)
    if (name == "b" || name == "books") {
      ++ofB;
      ++times[window];
    } else {
      CHECK(seen.count({name, window}) == 1);
    }
  CHECK(ofB >= 187);
  CHECK(ofB < 187 + kPerStep);
  CHECK(times.size() == 187); // all of the pass, before the next began
}

TEST_CASE("law 8: a source that the checkpoint does not know begins its first pass", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  Dataset first = openAll(plan);
  DataRecord record = carried(first.recordAt(10));
  record.train.clear(); // knows no source: all are new
  Dataset second = openAll(plan);
  REQUIRE_OK(second.goOn(record, 10, false).status());
  CHECK(second.recordAt(10).train[0].read == 0);
  CHECK(second.tokensAt(10) == 10 * kPerStep * 16);
}

TEST_CASE("law 9: another seq_len makes other windows and is refused in the middle of a pass", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  plan.data.train = {{"a", "a.txt", 1}};
  Dataset first = openAll(plan);
  plan.data.seqLen = 32; // 156 windows
  Dataset second = openAll(plan);
  Status refused = second.goOn(carried(first.recordAt(10)), 10, false).status();
  CHECK_CODE(refused, "MOEC-C025");
  CHECK(refused.text().find("80 of 312 windows were read") != std::string::npos);
  CHECK(refused.text().find("--restart-data") != std::string::npos);
  Result<std::vector<std::string>> notes = second.goOn(carried(first.recordAt(10)), 10, true);
  REQUIRE_OK(notes.status());
  CHECK(notes->size() == 1);
  CHECK(second.tokensAt(10) == 10 * kPerStep * 16);
  Seen seen;
  look(second, 10, 19, kPerStep, seen); // 152 of a whole pass
  for (const auto &one : seen)
    CHECK(seen.count(one) == 1);
  // Between two passes nothing is lost.
  Dataset third = openAll(plan);
  REQUIRE_OK(third.goOn(carried(first.recordAt(39)), 39, false).status());
  CHECK(third.recordAt(39).train[0].began == 156);
}

TEST_CASE("law 9: files that changed are named", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  std::string a = slurp(dir / "a.txt");
  Dataset first = openAll(plan);
  DataRecord record = carried(first.recordAt(10));
  auto refused = [&] { return openAll(plan).goOn(record, 10, false).status(); };

  spill(dir / "a.txt", a + "more");
  CHECK_CODE(refused(), "MOEC-D007");
  CHECK(refused().place() == dir / "a.txt");
  CHECK(refused().message().find("it had 5000 bytes, now 5004") != std::string::npos);
  std::string replaced = a;
  replaced[2500] ^= 1;
  spill(dir / "a.txt", replaced);
  CHECK_CODE(refused(), "MOEC-D007");
  CHECK(refused().message().find("other contents") != std::string::npos);
  Dataset again = openAll(plan);
  Result<std::vector<std::string>> notes = again.goOn(record, 10, true);
  REQUIRE_OK(notes.status());
  REQUIRE(notes->size() == 1);
  CHECK(notes->front().find("data set \"a\" begins a new pass of 312 windows") != std::string::npos);
  DataRecord next = again.recordAt(10);
  CHECK(next.train[0].read == 312);
  CHECK(next.train[1].read == record.train[1].read);
  CHECK(next.tokens == record.tokens);

  // The same bytes in another place are the same data.
  spill(dir / "a.txt", a);
  std::filesystem::rename(dir / "a.txt", dir / "elsewhere.txt");
  plan.data.train[0].path = "elsewhere.txt";
  REQUIRE_OK(refused());
}

TEST_CASE("law 9: files that join or leave a pattern are named", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  spill(dir / "t1", sampleText(100, 1));
  spill(dir / "t2", sampleText(100, 2));
  plan.data.train = {{"t", "t*", 1}};
  std::filesystem::remove(dir / "tiny.moec");
  DataRecord record = carried(openAll(plan).recordAt(1));
  spill(dir / "t3", sampleText(100, 3));
  Status more = openAll(plan).goOn(record, 1, false).status();
  CHECK_CODE(more, "MOEC-D007");
  CHECK(more.place() == dir / "t3");
  std::filesystem::remove(dir / "t3");
  std::filesystem::remove(dir / "t2");
  Status fewer = openAll(plan).goOn(record, 1, false).status();
  CHECK_CODE(fewer, "MOEC-D007");
  CHECK(fewer.place() == dir / "t2");
}

TEST_CASE("law 9: validation data that changed are a warning", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  DataRecord record = carried(openAll(plan).recordAt(10));
  spill(dir / "b-val.txt", sampleText(333, 99));
  Result<std::vector<std::string>> notes = openAll(plan).goOn(record, 10, false);
  REQUIRE_OK(notes.status());
  REQUIRE(notes->size() == 1);
  CHECK(notes->front().find(dir / "b-val.txt") != std::string::npos);
  CHECK(notes->front().find("not comparable") != std::string::npos);
}
