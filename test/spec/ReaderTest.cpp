// The reader on texts in memory: what it makes of a good one, and that no damage to the text makes it crash or fall
// silent.
#include "test/spec/Support.h"

#include "compiler/Spec/SpecText.h"
#include "mlir/Parser/Parser.h"
#include "llvm/ADT/StringExtras.h"

#include <catch2/catch.hpp>

using namespace moec;

static std::string goodText() { return readFile("test/spec/good/everything.json"); }

/// Accepted without errors, or refused with at least one error, each at a place in the file.
static void checkOutcome(Fixture &fixture, const std::string &text, const std::string &what) {
  auto module = fixture.read(text);
  unsigned errors = 0;
  for (const PlainDiagnostic &diagnostic : fixture.reported) {
    errors += diagnostic.severity == "error";
    if (diagnostic.line == 0 || diagnostic.file != "spec.json" || diagnostic.code.empty())
      FAIL(what << ": no place or no code: " << diagnostic.text());
  }
  if (static_cast<bool>(module) == (errors > 0))
    FAIL(what << ": " << errors << " errors, module " << static_cast<bool>(module));
}

TEST_CASE("truncated at any byte") {
  Fixture fixture;
  std::string text = goodText();
  for (size_t length = 0; length < text.size(); ++length)
    checkOutcome(fixture, text.substr(0, length), "length " + std::to_string(length));
}

/// Damages a text at random places, `turns` times.
static void damageAndCheck(const std::string &text, int turns) {
  Fixture fixture;
  uint64_t state = 1;
  auto random = [&](uint64_t bound) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (state >> 33) % bound;
  };
  const std::string interesting = "{}[]\",:0-9eE.\\/nullxtruefalse\n\x00\x7f\xff\xc3";
  for (int turn = 0; turn < turns; ++turn) {
    std::string damaged = text;
    for (uint64_t edits = 1 + random(2); edits > 0; --edits) {
      size_t at = random(damaged.size());
      switch (random(4)) {
      case 0:
        damaged[at] = static_cast<char>(random(256));
        break;
      case 1:
        damaged[at] = interesting[random(interesting.size())];
        break;
      case 2:
        damaged.erase(at, 1 + random(8));
        break;
      case 3:
        damaged.insert(at, damaged.substr(at, 1 + random(16)));
        break;
      }
    }
    checkOutcome(fixture, damaged, "turn " + std::to_string(turn));
  }
}

TEST_CASE("a byte replaced, removed or repeated") { damageAndCheck(goodText(), 6000); }

/// One member, so that it is read like a spec without a sweep.
static const char *const sweepText = R"({"moec": 1, "name": "swept",
  "model": {"hidden_size": 64, "num_layers": 2, "attention": {"num_heads": 4},
            "moe": {"num_experts": 8, "top_k": 2, "expert": {"inner_size": 64}}},
  "optimizer": {"kind": "adamw", "lr": 1e-3, "schedule": "cosine"},
  "data": {"seq_len": 32, "train": {"text": {"path": "text.txt"}}},
  "batch": {"sequences": 8}, "duration": {"steps": 100},
  "sweep": {
    "lr": {"field": "optimizer.lr", "values": [1e-3]},
    "floor": {"field": "optimizer.schedule.floor", "values": [0.1]},
    "length": {"field": "duration.tokens", "values": [2560]},
    "router": {"variants": {
      "sigmoid": {"model": {"router": {"score": "sigmoid"}}, "losses": {"router_z": {"weight": 0.1}}}}}
  }})";

TEST_CASE("a sweep, whole, truncated, damaged") {
  Fixture fixture;
  std::string text = sweepText;
  auto module = fixture.read(text);
  REQUIRE(module);
  CHECK(spec::findExperiment(*module).getSymName() == "swept.floor-0.1_length-2560_lr-0.001_sigmoid");
  for (size_t length = 0; length < text.size(); ++length)
    checkOutcome(fixture, text.substr(0, length), "length " + std::to_string(length));
  damageAndCheck(text, 4000);
}

TEST_CASE("any value for any key") {
  Fixture fixture;
  const char *values[] = {"null",
                          "true",
                          "0",
                          "-1",
                          "1.5",
                          "1e15",
                          "1e300",
                          "\"\"",
                          "\"x\"",
                          "[]",
                          "[1]",
                          "[\"a\"]",
                          "{}",
                          "{\"kind\": \"x\"}",
                          "{\"steps\": 1}",
                          "{\"tokens\": 1e17}",
                          "{\"a\": {\"b\": []}}"};
  const spec::Json good = spec::parseConstant(goodText());
  auto put = [&](const std::string &pointer, const std::string &value) {
    spec::Json root = good;
    spec::Json *at = &root;
    for (llvm::StringRef key : llvm::split(llvm::StringRef(pointer).ltrim('/'), '/')) {
      if (key.empty())
        continue;
      // Any entry of a map will do.
      std::string name = key == "*" ? (at->members.empty() ? "x" : at->members.front().key) : key.str();
      if (!at->isObject())
        *at = spec::Json::makeObject();
      if (!at->find(name))
        at->set(name, spec::Json::makeNull());
      at = at->find(name);
    }
    *at = spec::parseConstant(value);
    checkOutcome(fixture, spec::printPretty(root), pointer + " = " + value);
  };
  for (const exp::Section &section : exp::sections())
    for (const char *value : values) {
      put(section.pointer, value);
      for (const exp::Field &field : section.fields) {
        std::string key = field.key;
        std::replace(key.begin(), key.end(), '.', '/');
        put(section.pointer + (key.empty() ? "" : "/") + key, value);
      }
    }
}

TEST_CASE("the effective spec reads back as the same experiment") {
  Fixture fixture;
  auto module = fixture.read(goodText());
  REQUIRE(module);
  std::string first = spec::effectiveSpec(spec::findExperiment(*module));
  CHECK(first.find('\n') == std::string::npos);
  auto again = fixture.read(first);
  REQUIRE(again);
  CHECK(spec::effectiveSpec(spec::findExperiment(*again)) == first);
}

TEST_CASE("locations survive printing") {
  Fixture fixture;
  auto module = fixture.read(goodText());
  REQUIRE(module);
  std::string text;
  llvm::raw_string_ostream os(text);
  module->print(os, mlir::OpPrintingFlags().enableDebugInfo(true));
  auto parsed = mlir::parseSourceString<mlir::ModuleOp>(text, &fixture.context);
  REQUIRE(parsed);
  auto moe = spec::findExperiment(*parsed).section<exp::MoeOp>();
  auto original = spec::findExperiment(*module).section<exp::MoeOp>();
  CHECK(exp::isGiven(moe, "expert_inner_size"));
  CHECK(exp::fieldLoc(moe, "expert_inner_size") == exp::fieldLoc(original, "expert_inner_size"));
  CHECK(exp::fieldLoc(moe, "no_such_field") == moe.getLoc());
  CHECK(exp::pointerOf(moe) == "/model/moe");
  auto router = spec::findExperiment(*parsed).section<exp::RouterOp>();
  CHECK(exp::isGiven(router, "score.order"));
}

TEST_CASE("lengths of training become steps") {
  Fixture fixture;
  auto module = fixture.read(goodText()); // 8 sequences of 32 tokens; 1e6 tokens
  REQUIRE(module);
  auto experiment = spec::findExperiment(*module);
  CHECK(experiment.section<exp::DurationOp>().getSteps() == 3907);
  CHECK(experiment.section<exp::OptimizerOp>().getSchedule().getInt("warmup") == 4);
  CHECK(experiment.section<exp::OptimizerOp>().getSchedule().getInt("decay") == 1172);
  CHECK(experiment.section<exp::EvaluateOp>().getEverySteps() == 977);
}
