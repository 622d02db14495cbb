// Kinds and roles of states have the same words in `moe`, in `plan`, and in plan files.
#include "dialects/Moe/IR/Moe.h"
#include "dialects/Plan/IR/Plan.h"
#include "runtime/plan/Plan.h"

#include <catch2/catch.hpp>

using namespace moec;

TEST_CASE("kinds of states", "[states]") {
  REQUIRE(moe::getMaxEnumValForStateKind() == plan::getMaxEnumValForStateKind());
  for (uint32_t i = 0; i <= moe::getMaxEnumValForStateKind(); ++i) {
    llvm::StringRef word = moe::stringifyEnum(static_cast<moe::StateKind>(i));
    INFO(word.str());
    REQUIRE(plan::symbolizeStateKind(word).has_value());
    std::optional<rt::StateKind> kind = rt::stateKindFromName(word);
    REQUIRE(kind.has_value());
    CHECK(rt::stateKindName(*kind) == std::string_view(word));
  }
}

TEST_CASE("roles of states", "[states]") {
  REQUIRE(moe::getMaxEnumValForStateRole() == plan::getMaxEnumValForStateRole());
  CHECK(moe::getMaxEnumValForStateRole() == static_cast<uint32_t>(rt::StateRole::ExpertTokens));
  for (uint32_t i = 0; i <= moe::getMaxEnumValForStateRole(); ++i) {
    llvm::StringRef word = moe::stringifyEnum(static_cast<moe::StateRole>(i));
    INFO(word.str());
    REQUIRE(plan::symbolizeStateRole(word).has_value());
    std::optional<rt::StateRole> role = rt::stateRoleFromName(word);
    REQUIRE(role.has_value());
    CHECK(rt::stateRoleName(*role) == std::string_view(word));
  }
  CHECK(!rt::stateRoleFromName("counter.step"));
}
