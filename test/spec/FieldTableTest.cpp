// The field table against what it must agree with: the ODS attributes, and the generated pages.
#include "test/spec/Support.h"

#include <catch2/catch.hpp>

#include <set>

using namespace moec;

TEST_CASE("the field table and the attributes of the ops are the same") {
  Fixture fixture;
  fixture.context.loadAllAvailableDialects();
  std::set<std::string> opsOfTable;
  for (const exp::Section &section : exp::sections()) {
    INFO(section.pointer);
    opsOfTable.insert(section.op);
    auto name = mlir::RegisteredOperationName::lookup(section.op, &fixture.context);
    REQUIRE(name.has_value());
    std::set<std::string> attributes, fields;
    for (mlir::StringAttr attribute : name->getAttributeNames())
      attributes.insert(attribute.str());
    for (const exp::Field &field : section.fields)
      if (!field.attribute.empty())
        CHECK(fields.insert(field.attribute).second);
    if (section.isMap())
      fields.insert("name");
    if (section.op == "exp.dataset")
      fields.insert("split");
    if (!section.category.empty())
      fields.insert("method");
    CHECK(attributes == fields);
  }
  for (mlir::RegisteredOperationName name : fixture.context.getRegisteredOperations())
    if (name.getDialectNamespace() == "exp")
      CHECK(opsOfTable.count(name.getStringRef().str()) == 1);
}

TEST_CASE("every constant default is accepted by its own field") {
  Fixture fixture;
  auto check = [&](const exp::Field &field) {
    INFO(field.key << " = " << field.fallback);
    CHECK(!field.doc.empty());
    if (field.type == exp::FieldType::Choice && !field.fallback.empty())
      CHECK(llvm::is_contained(field.choices, llvm::StringRef(field.fallback).trim('"')));
  };
  for (const exp::Section &section : exp::sections())
    for (const exp::Field &field : section.fields)
      check(field);
  for (const char *category : {"score", "loss", "optimizer", "schedule"})
    for (const exp::Method *method : exp::getMethods(&fixture.context).all(category))
      for (const exp::Field &field : method->fields())
        check(field);
}

TEST_CASE("codes are in order, each once") {
  int last = 0;
  for (const exp::RuleInfo &info : exp::rules()) {
    CHECK(static_cast<int>(info.rule) > last);
    last = static_cast<int>(info.rule);
    CHECK(!info.title.empty());
    CHECK(!info.text.empty());
  }
}

// Written by `moec explain --errors > docs/spec/errors.md` and `moec explain --reference > docs/spec/reference.md`.
TEST_CASE("the generated pages are up to date") {
  Fixture fixture;
  CHECK(spec::errorPage() == readFile("docs/spec/errors.md"));
  CHECK(spec::referencePage(exp::getMethods(&fixture.context)) == readFile("docs/spec/reference.md"));
}
