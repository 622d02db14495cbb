#include "TinyPlan.h"

#include "runtime/io/Dataset.h"

#include <algorithm>
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

static std::vector<OrderedSource> sourcesOf(const std::vector<uint64_t> &windows, const std::vector<double> &weights) {
  std::vector<OrderedSource> sources;
  for (size_t i = 0; i < windows.size(); ++i)
    sources.push_back({windows[i], weights[i], static_cast<uint32_t>(i), 0});
  return sources;
}

TEST_CASE("law 4: a training sample is a pure function of seed and number", "[data]") {
  auto sources = sourcesOf({100, 37, 5}, {0.5, 0.3, 0.2});
  SampleOrder order(17, sources), again(17, sources);
  std::vector<Sample> sequence;
  for (uint64_t i = 0; i < 2000; ++i)
    sequence.push_back(order.train(i));
  // Asked backward, from another object: the same.
  for (uint64_t i = 2000; i-- > 0;) {
    Sample sample = again.train(i);
    REQUIRE((sample.source == sequence[i].source && sample.window == sequence[i].window));
  }
  SampleOrder other(18, sources);
  int equal = 0;
  for (uint64_t i = 0; i < 2000; ++i)
    equal += other.train(i).window == sequence[i].window;
  CHECK(equal < 400);
}

TEST_CASE("law 2: a pass shows each window of a source once, in mixtures and under every seed", "[data]") {
  struct Mixture {
    std::vector<uint64_t> windows;
    std::vector<double> weights;
  };
  const Mixture mixtures[] = {{{50}, {1}},
                              {{50, 13}, {1, 1}},
                              {{50, 13, 1}, {3, 0, 1}},
                              {{40, 30, 7, 20}, {1e-9, 2.5, 1e12, 7}},
                              {{9, 9, 9, 9, 9}, {5, 4, 3, 2, 1}}};
  for (uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{17}, ~uint64_t{0}})
    for (const Mixture &mixture : mixtures) {
      SampleOrder order(seed, sourcesOf(mixture.windows, mixture.weights));
      std::vector<std::vector<uint64_t>> seen(mixture.windows.size());
      for (uint64_t i = 0; i < 1500; ++i) {
        Sample sample = order.train(i);
        REQUIRE(mixture.weights[sample.source] > 0);
        std::vector<uint64_t> &pass = seen[sample.source];
        REQUIRE(sample.window < mixture.windows[sample.source]);
        REQUIRE(std::find(pass.begin(), pass.end(), sample.window) == pass.end());
        pass.push_back(sample.window);
        if (pass.size() == mixture.windows[sample.source])
          pass.clear();
      }
    }
}

TEST_CASE("a second pass has another order than the first", "[data]") {
  SampleOrder order(3, sourcesOf({500}, {1}));
  int equal = 0;
  for (uint64_t i = 0; i < 500; ++i)
    equal += order.train(i).window == order.train(i + 500).window;
  CHECK(equal < 10);
}

TEST_CASE("law 3: at every sample each source has had its share", "[data]") {
  std::vector<double> weights = {5, 0, 2, 1, 0.5, 1e-3};
  double total = 8.501;
  for (uint64_t seed : {1, 2, 3}) {
    SampleOrder order(seed, sourcesOf({10, 0, 10, 10, 10, 10}, weights));
    std::vector<uint64_t> counts(weights.size(), 0);
    for (uint64_t i = 0; i < 20000; ++i) {
      REQUIRE(order.countsBefore(i) == counts);
      ++counts[order.train(i).source];
      for (size_t k = 0; k < weights.size(); ++k)
        REQUIRE(std::abs(static_cast<double>(counts[k]) - weights[k] / total * static_cast<double>(i + 1)) < 5);
    }
    CHECK(counts[1] == 0);
  }
  // Far out, where doubles could not count any more.
  SampleOrder order(1, sourcesOf({7, 7}, {1, 3}));
  uint64_t far = uint64_t{1} << 60;
  std::vector<uint64_t> counts = order.countsBefore(far), next = order.countsBefore(far + 1);
  CHECK(counts[0] == far / 4);
  CHECK(next[0] + next[1] == counts[0] + counts[1] + 1);
}

TEST_CASE("law 3: a source of a tiny weight comes as rarely as it should", "[data]") {
  int came = 0;
  for (uint64_t seed = 0; seed < 2000; ++seed)
    came += SampleOrder(seed, sourcesOf({4, 4}, {1e-3, 1})).countsBefore(100)[0] > 0;
  CHECK(came == Approx(200).margin(60)); // 100 samples at 1e-3: one run in ten
  CHECK(SampleOrder(1, sourcesOf({4, 4}, {1e-9, 1})).countsBefore(uint64_t{1} << 40)[0] == Approx(1100).margin(1));
}

TEST_CASE("law 5: an evaluation reads the first windows of each source, each at most once", "[data]") {
  EvaluationOrder order({3, 0, 1});
  std::vector<std::pair<uint32_t, uint64_t>> found, expected = {{0, 0}, {2, 0}, {0, 1}, {0, 2}};
  while (std::optional<Sample> sample = order.next())
    found.emplace_back(sample->source, sample->window);
  CHECK(found == expected);
  CHECK_FALSE(EvaluationOrder({0, 0}).next());
  CHECK_FALSE(EvaluationOrder({}).next());
}

TEST_CASE("law 5: windows of an evaluation are shared by weight", "[data]") {
  auto share = [](std::vector<uint64_t> windows, std::vector<double> weights, uint64_t budget) {
    return shareWindows(sourcesOf(windows, weights), budget);
  };
  using Counts = std::vector<uint64_t>;
  CHECK(share({156, 156}, {1, 1}, 40) == Counts{20, 20});
  CHECK(share({156, 156}, {9, 1}, 40) == Counts{36, 4});
  CHECK(share({156, 0}, {1, 0}, 40) == Counts{40, 0});
  CHECK(share({3}, {1}, 40) == Counts{3});                     // no more than there are
  CHECK(share({3, 156}, {9, 1}, 40) == Counts{3, 37});         // what one leaves, the other gets
  CHECK(share({100, 100}, {1e12, 1e-9}, 40) == Counts{39, 1}); // one of each
  CHECK(share({100, 1, 100}, {1, 1, 1}, 3) == Counts{1, 1, 1});
  CHECK(share({100, 100, 100}, {1, 1, 1}, 10) == Counts{4, 3, 3});
  CHECK(share({}, {}, 40).empty());
  for (uint64_t budget = 3; budget < 60; ++budget) {
    Counts counts = share({7, 20, 9}, {0.2, 3, 1}, budget);
    CHECK(counts[0] + counts[1] + counts[2] == std::min<uint64_t>(budget, 36));
    CHECK((counts[0] >= 1 && counts[1] >= 1 && counts[2] >= 1));
    CHECK((counts[0] <= 7 && counts[1] <= 20 && counts[2] <= 9));
  }
}

namespace {
/// Of the tiny plan: 4 sequences of 16 tokens.
struct TestBatch {
  std::vector<int32_t> tokens = std::vector<int32_t>(4 * 17), domains = std::vector<int32_t>(4);

  Status fill(const Dataset &data, uint64_t first) { return data.fill(first, tokens, domains); }
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
    REQUIRE_OK(batch.fill(*data, first));
    for (uint64_t row = 0; row < 4; ++row) {
      Sample sample = data->trainSample(first + row);
      CHECK(batch.domains[row] == static_cast<int32_t>(sample.source));
      for (uint64_t i = 0; i < 17; ++i)
        REQUIRE(batch.tokens[row * 17 + i] == files[sample.source][sample.window * 16 + i]);
    }
  }
  std::vector<int32_t> window(17);
  REQUIRE_OK(data->fillValidation({1, 2}, window));
  CHECK(window[0] == slurp(dir / "b-val.txt")[32]);
  CHECK(data->evaluated() == std::vector<uint64_t>{6, 6}); // 3 batches of 4
}

TEST_CASE("law 4: micro-batches of any size hold the same samples in the same order", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  std::vector<int32_t> tokens[3], domains[3];
  for (size_t i = 0; uint64_t sequences : {1, 4, 12}) {
    plan.data.sequences = sequences;
    Dataset data = Dataset::open(plan, "").value();
    std::vector<int32_t> part(sequences * 17), sources(sequences);
    for (uint64_t first = 24; first < 48; first += sequences) {
      REQUIRE_OK(data.fill(first, part, sources));
      tokens[i].insert(tokens[i].end(), part.begin(), part.end());
      domains[i].insert(domains[i].end(), sources.begin(), sources.end());
    }
    ++i;
  }
  CHECK((tokens[0] == tokens[1] && tokens[1] == tokens[2]));
  CHECK((domains[0] == domains[1] && domains[1] == domains[2]));
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
  CHECK_CODE(batch.fill(narrow, 0), "MOEC-D003");
}

TEST_CASE("exactly one window fits a file of seq_len + 1 bytes", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  spill(dir / "a.txt", "0123456789abcdefg");
  spill(dir / "b.txt", "0123456789abcdefg");
  Dataset data = Dataset::open(plan, "").value();
  TestBatch batch;
  REQUIRE_OK(batch.fill(data, 1000));
  CHECK(batch.tokens[16] == 'g');
}

TEST_CASE("the unigram baseline is the cross-entropy of byte frequencies", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  // Training: set a only 'x', set b half 'x' half 'y'; weights 0.75 and 0.25 give 0.875 and 0.125.
  spill(dir / "a.txt", std::string(1000, 'x'));
  spill(dir / "b.txt", std::string(500, 'x') + std::string(500, 'y'));
  // 6 windows each, of 16 tokens that are predicted.
  spill(dir / "a-val.txt", std::string(200, 'x'));
  spill(dir / "b-val.txt", std::string(200, 'y'));
  double x = -std::log((0.875 * 2000 + 1) / (2000 + 256)), y = -std::log((0.125 * 2000 + 1) / (2000 + 256));
  CHECK(Dataset::open(plan, "")->unigramBaseline().value() == Approx((x + y) / 2));
  plan.data.validation[1].weight = 3; // law 6
  CHECK(Dataset::open(plan, "")->unigramBaseline().value() == Approx((x + 3 * y) / 4));
  plan.data.validation[1].weight = 0;
  CHECK(Dataset::open(plan, "")->unigramBaseline().value() == Approx(x));
  plan.data.train[1].weight = 0;
  CHECK(Dataset::open(plan, "")->unigramBaseline().value() == Approx(-std::log(1001.0 / (1000 + 256))));
}

TEST_CASE("law 1: what follows the last whole window of a file is not read", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  plan.data.train = {{"a", "a.txt", 1}};
  for (size_t bytes : {17, 32, 33, 48, 49}) {
    spill(dir / "a.txt", std::string(bytes, 'a'));
    CHECK(Dataset::open(plan, "")->train().windows(0) == (bytes - 1) / 16);
  }
  spill(dir / "a.txt", std::string(16, 'a'));
  CHECK_CODE(Dataset::open(plan, "").status(), "MOEC-D002");
}

TEST_CASE("law 1: windows of one token", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  plan.data.seqLen = 1;
  plan.data.train = {{"a", "a.txt", 1}};
  spill(dir / "a.txt", "abcd");
  Dataset data = Dataset::open(plan, "").value();
  CHECK(data.train().windows(0) == 3);
  std::multiset<std::string> pairs;
  for (uint64_t i = 0; i < 3; ++i) {
    std::vector<std::byte> bytes(2);
    REQUIRE_OK(data.train().read(data.trainSample(i), bytes));
    pairs.insert({static_cast<char>(bytes[0]), static_cast<char>(bytes[1])});
  }
  CHECK(pairs == std::multiset<std::string>{"ab", "bc", "cd"});
}

TEST_CASE("law 3: a source of weight 0 is not even looked for", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  plan.data.train[1] = {"b", "nowhere.txt", 0};
  plan.data.validation[0] = {"a", "nowhere*.txt", 0};
  Result<Dataset> data = Dataset::open(plan, "");
  REQUIRE_OK(data.status());
  CHECK(data->evaluated() == std::vector<uint64_t>{0, 12});
}

TEST_CASE("law 10: a pattern is the files that match, by their bytes", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  for (const char *name : {"t10.txt", "t2.txt", "T.txt", "t\xc3\xa9.txt", "t[1].txt", ".t.txt"})
    spill(dir / name, sampleText(100, 1));
  std::filesystem::create_directory(dir / "t-folder.txt");
  plan.data.train = {{"t", "t*.txt", 1}};
  Result<Dataset> data = Dataset::open(plan, "");
  REQUIRE_OK(data.status());
  std::vector<std::string> files;
  for (uint64_t window = 0; window < data->train().windows(0); window += 6)
    files.push_back(std::filesystem::path(data->train().place({0, window}).path).filename());
  CHECK(files == std::vector<std::string>{"t10.txt", "t2.txt", "t[1].txt", "t\xc3\xa9.txt"});
  CHECK(data->train().place({0, 7}).window == 1);
  CHECK(data->train().place({0, 7}).offset == 16);

  // Only `*` is special, and the folder is taken as it is.
  TempDir odd;
  std::string folder = odd / "d[1]*";
  std::filesystem::create_directory(folder);
  spill(folder + "/x?1.txt", sampleText(100, 1));
  spill(folder + "/xa1.txt", sampleText(100, 1));
  plan.data.train = {{"t", "x?*.txt", 1}};
  plan.data.validation.clear();
  data = Dataset::open(plan, folder);
  REQUIRE_OK(data.status());
  CHECK(data->train().windows(0) == 6);

  plan.data.train = {{"t", "none*.txt", 1}};
  CHECK_CODE(Dataset::open(plan, "").status(), "MOEC-D008");
  spill(dir / "t3.txt", "short");
  plan.data.train = {{"t", "t*.txt", 1}};
  Status tooShort = Dataset::open(plan, "").status();
  CHECK_CODE(tooShort, "MOEC-D002");
  CHECK(tooShort.place() == dir / "t3.txt");
}

TEST_CASE("law 2: a file under two names in a source is refused", "[data]") {
  TempDir dir;
  Plan plan = makeTinyPlan(dir.path());
  plan.data.train = {{"one", "a.txt", 1}, {"all", "*.txt", 1}}; // two sources are two sources
  REQUIRE_OK(Dataset::open(plan, "").status());
  std::filesystem::create_symlink("a.txt", dir / "link.txt");
  CHECK_CODE(Dataset::open(plan, "").status(), "MOEC-D006");
  std::filesystem::remove(dir / "link.txt");
  std::filesystem::create_hard_link(dir / "a.txt", dir / "hard.txt");
  Status status = Dataset::open(plan, "").status();
  CHECK_CODE(status, "MOEC-D006");
  CHECK(status.place() == dir / "hard.txt");
}
