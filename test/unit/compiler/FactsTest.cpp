// What ops say of themselves: that they say it, that it is true of what they compute, and that their kernels are there.
#include "compiler/Conversion/MoeToPlan/Passes.h"
#include "test/unit/compiler/Bench.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

#include <catch2/catch.hpp>
#include <set>

using namespace moec;
using moec::test::Evaluator;
using moec::test::Matrix;

namespace {

struct Context : mlir::MLIRContext {
  Context() : MLIRContext(makeRegistry()) { loadAllAvailableDialects(); }
  static mlir::DialectRegistry makeRegistry() {
    mlir::DialectRegistry registry;
    registerAllDialects(registry);
    return registry;
  }
};

/// The names of all ops of the dialect.
std::vector<mlir::RegisteredOperationName> listOps(Context &context) {
  std::vector<mlir::RegisteredOperationName> ops;
  for (mlir::RegisteredOperationName name : context.getRegisteredOperations())
    if (name.getDialectNamespace() == "moe")
      ops.push_back(name);
  return ops;
}

mlir::OwningOpRef<mlir::ModuleOp> parse(Context &context, const std::string &text) {
  mlir::OwningOpRef<mlir::ModuleOp> module = mlir::parseSourceString<mlir::ModuleOp>(
      text, mlir::ParserConfig(&context, /*verifyAfterParse=*/false)); // reads name no states
  REQUIRE(module);
  return module;
}

//===--- Rows -----------------------------------------------------------------------------------------------------===//

/// Reads of f64 matrices and ids, and the op that is asked about, the last.
struct RowCase {
  const char *text;
  std::map<std::string, std::vector<double>> ids = {}; // states that hold ids; the others get numbers
};

const RowCase kRowCases[] = {
    {R"(%x = moe.read @x : tensor<4x3xf64>
        %y = moe.row_reduce sum %x : tensor<4x3xf64> -> tensor<4x1xf64>)"},
    {R"(%x = moe.read @x : tensor<4x3xf64>
        %y = moe.softmax %x : tensor<4x3xf64>)"},
    {R"(%x = moe.read @x : tensor<4x3xf64>
        %y = moe.log_sum_exp %x : tensor<4x3xf64> -> tensor<4x1xf64>)"},
    {R"(%x = moe.read @x : tensor<4x3xf64>
        %g = moe.read @g : tensor<2x3xf64>
        %y = moe.map(%x, %g) : (tensor<4x3xf64>, tensor<2x3xf64>) -> tensor<4x3xf64> {
        ^bb0(%a: f64, %b: f64):
          %p = arith.mulf %a, %b : f64
          moe.yield %p : f64
        })"},
    {R"(%x = moe.read @x : tensor<4x3xf64>
        %y = moe.top_k %x : tensor<4x3xf64> -> tensor<4x2xi32>)"},
    {R"(%x = moe.read @x : tensor<4x3xf64>
        %i = moe.read @i : tensor<4x2xi32>
        %y = moe.take %x, %i : tensor<4x3xf64>, tensor<4x2xi32> -> tensor<4x2xf64>)",
     {{"i", {0, 1, 2, 0, 1, 2, 2, 1}}}},
    {R"(%x = moe.read @x : tensor<4x2xf64>
        %i = moe.read @i : tensor<4x2xi32>
        %y = moe.put %x, %i : tensor<4x2xf64>, tensor<4x2xi32> -> tensor<4x3xf64>)",
     {{"i", {0, 1, 2, 0, 1, 2, 2, 1}}}},
    {R"(%i = moe.read @i : tensor<4x3xi32>
        %y = moe.slice_columns %i first 1 : tensor<4x3xi32> -> tensor<4x2xi32>)",
     {{"i", {0, 1, 2, 0, 1, 2, 2, 1, 0, 1, 2, 0}}}},
    {R"(%x = moe.read @x : tensor<3x2xf64>
        %i = moe.read @i : tensor<4x1xi32>
        %y = moe.gather_rows %x, %i : tensor<3x2xf64>, tensor<4x1xi32> -> tensor<4x2xf64>)",
     {{"i", {2, 0, 1, 2}}}},
    {R"(%x = moe.read @x : tensor<3x2xf64>
        %i = moe.read @i : tensor<4x2xi32>
        %w = moe.read @w : tensor<4x2xf64>
        %y = moe.combine_rows %x, %i weights %w : tensor<4x2xf64>
          : tensor<3x2xf64>, tensor<4x2xi32> -> tensor<4x2xf64>)",
     {{"i", {2, 0, 1, 2, 0, 1, 1, 2}}}},
    {R"(%x = moe.read @x : tensor<4x3xf64>
        %y = moe.col_reduce %x : tensor<4x3xf64> -> tensor<2x3xf64>)"},
    {R"(%x = moe.read @x : tensor<4x3xf64>
        %y = moe.column_kth %x n 1 : tensor<4x3xf64> -> tensor<2x3xf64>)"},
    {R"(%i = moe.read @i : tensor<4x2xi32>
        %y = moe.count_ids %i : tensor<4x2xi32> -> tensor<2x3xi64>)",
     {{"i", {0, 1, 2, 0, 1, 2, 2, 1}}}},
    {R"(%a = moe.read @a : tensor<4x3xf64>
        %b = moe.read @b : tensor<3x2xf64>
        %y = moe.matmul %a, %b : tensor<4x3xf64>, tensor<3x2xf64> -> tensor<4x2xf64>)"},
    {R"(%a = moe.read @a : tensor<3x4xf64>
        %b = moe.read @b : tensor<3x2xf64>
        %y = moe.matmul ta %a, %b : tensor<3x4xf64>, tensor<3x2xf64> -> tensor<4x2xf64>)"},
    {R"(%i = moe.read @i : tensor<4x2xi32>
        %w = moe.read @w : tensor<4x2xf64>
        %y = moe.limit_capacity lowest_weight %i, %w experts 3 capacity 2 : tensor<4x2xi32>, tensor<4x2xf64>)",
     {{"i", {0, 1, 0, 2, 0, 1, 0, 1}}}},
    {R"(%x = moe.read @x : tensor<4x3xf64>
        %y = moe.reshape %x : tensor<4x3xf64> -> tensor<6x2xf64>)"},
    {R"(%x = moe.read @x : tensor<4x3xf64>
        %s = moe.read @s : tensor<1x3xf64>
        %y = moe.rms_norm %x, %s {eps = 1.0e-5 : f64} : tensor<4x3xf64>, tensor<1x3xf64>)"},
    {R"(%x = moe.read @x : tensor<4x4xf64>
        %c = moe.read @c : tensor<2x2xf64>
        %s = moe.read @s : tensor<2x2xf64>
        %y = moe.rope %x, %c, %s : tensor<4x4xf64>, tensor<2x2xf64>)"},
    {R"(%x = moe.read @x : tensor<3x2xf64>
        %i = moe.read @i : tensor<4x1xi32>
        %w = moe.read @w : tensor<3x1xf64>
        %y = moe.spread_rows %x, %i weights %w : tensor<3x1xf64> top_k 1
          : tensor<3x2xf64>, tensor<4x1xi32> -> tensor<4x2xf64>)",
     {{"i", {2, 0, 1, 2}}}},
    {R"(%x = moe.read @x : tensor<4x3xf64>
        %r = moe.read @r : tensor<3x3xf64>
        %i = moe.read @i : tensor<4x2xi32>
        %y = moe.dot_rows %x, %r, %i : tensor<4x3xf64>, tensor<3x3xf64>, tensor<4x2xi32> -> tensor<4x2xf64>)",
     {{"i", {2, 0, 1, 2, 0, 1, 1, 2}}}},
    {R"(%x = moe.read @x : tensor<3x2xf64>
        %i = moe.read @i : tensor<4x1xi32>
        %y = moe.embed %x, %i : tensor<3x2xf64>, tensor<4x1xi32> -> tensor<4x2xf64>)",
     {{"i", {2, 0, 1, 2}}}},
    {R"(%x = moe.read @x : tensor<4x2xf64>
        %i = moe.read @i : tensor<4x1xi32>
        %y = moe.embed_grad %x, %i : tensor<4x2xf64>, tensor<4x1xi32> -> tensor<3x2xf64>)",
     {{"i", {2, 0, 1, 2}}}},
};

/// Other numbers in a row: ids stay below 3.
void changeRow(Matrix &matrix, int64_t row, bool isIds) {
  for (int64_t column = 0; column < matrix.cols; ++column) {
    double &value = matrix.values[row * matrix.cols + column];
    value = isIds ? static_cast<int64_t>(value + 1) % 3 : 7 - 2 * value;
  }
}

/// Whether result row i reads no row of the operand but i * r / rows, as far as changes of one row at a time tell.
bool looksAligned(mlir::ModuleOp module, const std::map<std::string, Matrix> &states, const std::string &changed,
                  bool isIds) {
  mlir::Operation *op = &module.getBody()->back();
  auto evaluate = [&](const std::map<std::string, Matrix> &with) {
    Evaluator evaluator;
    evaluator.states = with;
    evaluator.run(*module.getBody());
    return evaluator.get(op->getResult(0));
  };
  Matrix before = evaluate(states);
  int64_t rows = states.at(changed).rows;
  for (int64_t row = 0; row < rows; ++row) {
    std::map<std::string, Matrix> others = states;
    changeRow(others[changed], row, isIds);
    Matrix after = evaluate(others);
    for (int64_t i = 0; i < before.rows; ++i)
      for (int64_t column = 0; column < before.cols; ++column)
        if (i * rows / before.rows != row && before.at(i, column) != after.at(i, column))
          return false;
  }
  // A result of fewer rows cannot be made row by row.
  return before.rows >= rows;
}

TEST_CASE("ops say truly which operands they read row by row", "[facts]") {
  Context context;
  for (const RowCase &rowCase : kRowCases) {
    auto module = parse(context, rowCase.text);
    auto facts = mlir::cast<moe::FactsOpInterface>(module->getBody()->back());
    std::map<std::string, Matrix> states;
    for (auto read : module->getOps<moe::ReadOp>()) {
      auto type = mlir::cast<mlir::RankedTensorType>(read.getType());
      Matrix matrix{type.getDimSize(0), type.getDimSize(1), {}};
      if (auto ids = rowCase.ids.find(read.getState().str()); ids != rowCase.ids.end())
        matrix.values = ids->second;
      for (int64_t i = matrix.values.size(); i < type.getNumElements(); ++i)
        matrix.values.push_back(static_cast<double>(i * 5 % 7) + 0.25 * static_cast<double>(i));
      states[read.getState().str()] = matrix;
    }
    for (auto [index, operand] : llvm::enumerate(facts->getOperands())) {
      std::string name = operand.getDefiningOp<moe::ReadOp>().getState().str();
      INFO(facts->getName().getStringRef().str() << ", operand " << index << " (" << name << ")");
      CHECK(looksAligned(*module, states, name, rowCase.ids.contains(name)) ==
            (facts.getOperandRows(index) == moe::Rows::aligned));
    }
  }
}

/// Ops of which a change of one row does not tell everything, with the answers that they must give.
struct StatedCase {
  const char *text;
  std::vector<moe::Rows> rows; // of each operand of the last op
};

const std::vector<StatedCase> &statedCases() {
  using enum moe::Rows;
  static const std::vector<StatedCase> cases = {
      {R"(%a = moe.read @a : tensor<16x4xf32>
          %w = moe.read @w : tensor<2x6x4xf32>
          %o = moe.read @o : tensor<1x3xi32>
          %c = moe.read @c : tensor<1x2xi32>
          %r = moe.read @r : tensor<16x1xf32>
          %s = moe.read @s : tensor<2x6xf32>
          %y = moe.grouped_matmul tb %a, %w, %o, %c scales %r, %s : tensor<16x1xf32>, tensor<2x6xf32>
            : tensor<16x4xf32>, tensor<2x6x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<16x6xf32>)",
       {aligned, whole, whole, whole, aligned, whole}},
      {R"(%a = moe.read @a : tensor<16x4xf32>
          %o = moe.read @o : tensor<1x3xi32>
          %c = moe.read @c : tensor<1x2xi32>
          %y = moe.grouped_outer %a, %a, %o, %c
            : tensor<16x4xf32>, tensor<16x4xf32>, tensor<1x3xi32>, tensor<1x2xi32> -> tensor<2x4x4xf32>)",
       {reduced, reduced, whole, whole}},
      // Of both transposed, the rows of b are columns of the result.
      {R"(%a = moe.read @a : tensor<3x4xf32>
          %b = moe.read @b : tensor<2x3xf32>
          %y = moe.matmul ta tb %a, %b : tensor<3x4xf32>, tensor<2x3xf32> -> tensor<4x2xf32>)",
       {reduced, whole}},
      // row_slot has the rows of the first operand.
      {R"(%x = moe.read @x : tensor<4x2xf32>
          %i = moe.read @i : tensor<4x2xi32>
          %n = moe.read @n : tensor<4x1xi32>
          %w = moe.read @w : tensor<4x2xf32>
          %y = moe.combine_rows %x, %i row_slot %n : tensor<4x1xi32> weights %w : tensor<4x2xf32>
            : tensor<4x2xf32>, tensor<4x2xi32> -> tensor<4x2xf32>)",
       {permuted, aligned, whole, aligned}},
      // slot_row is for the backward.
      {R"(%x = moe.read @x : tensor<4x2xf32>
          %i = moe.read @i : tensor<4x1xi32>
          %n = moe.read @n : tensor<4x1xi32>
          %y = moe.gather_rows %x, %i slot_row %n : tensor<4x1xi32>
            : tensor<4x2xf32>, tensor<4x1xi32> -> tensor<4x2xf32>)",
       {permuted, aligned, whole}},
      // A query meets the keys of all rows of its sequence.
      {R"(%q = moe.read @q : tensor<8x16xf32>
          %y, %s = moe.attention %q, %q, %q heads 1 kv_heads 1 seq_len 4
            : tensor<8x16xf32>, tensor<8x16xf32> -> tensor<8x1xf32>)",
       {whole, whole, whole}},
      {R"(%q = moe.read @q : tensor<8x16xf32>
          %l = moe.read @l : tensor<8x1xf32>
          %y:3 = moe.attention_grad %q, %q, %q, %q, %l, %q heads 1 kv_heads 1 seq_len 4
            : tensor<8x16xf32>, tensor<8x16xf32>, tensor<8x1xf32>)",
       {whole, whole, whole, whole, whole, whole}},
      {R"(%x = moe.read @x : tensor<8x4xf32>
          %q, %s = moe.quantize_rows %x : (tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x1xf32>))",
       {aligned}},
      // Rows of stacks are their matrices.
      {R"(%w = moe.read @w : tensor<2x4x6xf32>
          %q, %s = moe.quantize_columns %w : tensor<2x4x6xf32> -> tensor<2x6x4xf32>, tensor<2x6xf32>)",
       {aligned}},
      {R"(%x = moe.read @x : tensor<2x4x4xf32>
          %e = moe.read @e : tensor<1x1xf32>
          %q, %l = moe.eigh %x previous %x if %e : tensor<2x4x4xf32>, tensor<1x1xf32> -> tensor<2x4xf32>)",
       {aligned, aligned, whole}},
      {R"(%x = moe.read @x : tensor<2x4x4xf32>
          %e = moe.read @e : tensor<1x1xf32>
          %q = moe.qr %x previous %x if %e : tensor<2x4x4xf32>, tensor<1x1xf32>)",
       {aligned, aligned, whole}},
      {R"(%i = moe.read @i : tensor<8x3xi32>
          %o, %c, %t, %s, %r = moe.permute %i experts 3 align 4 limit 6
            : tensor<8x3xi32> -> tensor<1x4xi32>, tensor<1x3xi32>, tensor<16x1xi32>)",
       {whole}},
      {R"(%x = moe.read @x : tensor<8x4xf32>
          %e = moe.read @e : tensor<1x1xf32>
          %p = moe.sinkhorn %x if %e xi 0.05 max_iters 100 tol 1.0e-3 : tensor<8x4xf32>, tensor<1x1xf32>)",
       {whole, whole}},
      {R"(%x = moe.read @x : tensor<8x4xf32>
          %y = moe.cast %x : tensor<8x4xf32> -> tensor<8x4xbf16>)",
       {aligned}},
      {R"(%x = moe.read @x : tensor<8x4xf32>
          moe.write @y, %x : tensor<8x4xf32>)",
       {whole}},
      {R"(%x = moe.read @x : tensor<8x4xf32>
          moe.accumulate @y, %x : tensor<8x4xf32>)",
       {whole}},
  };
  return cases;
}

TEST_CASE("rows of operands that depend on attributes and on other operands", "[facts]") {
  Context context;
  for (const StatedCase &stated : statedCases()) {
    auto module = parse(context, stated.text);
    std::vector<moe::Rows> rows;
    auto facts = mlir::cast<moe::FactsOpInterface>(module->getBody()->back());
    for (unsigned i = 0; i < facts->getNumOperands(); ++i)
      rows.push_back(facts.getOperandRows(i));
    INFO(facts->getName().getStringRef().str());
    CHECK(rows == stated.rows);
  }
}

//===--- Every op -------------------------------------------------------------------------------------------------===//

TEST_CASE("every op has facts, except those that no kernel can hold", "[facts]") {
  Context context;
  std::set<std::string> without;
  for (mlir::RegisteredOperationName name : listOps(context))
    if (!name.hasInterface<moe::FactsOpInterface>())
      without.insert(name.stripDialect().str());
  CHECK(without == std::set<std::string>{"dispatch", "loss", "repeat", "sigmoid", "state", "yield"});
}

TEST_CASE("every op with facts has a row in one of the tables above", "[facts]") {
  Context context;
  std::set<std::string> tested;
  auto note = [&](const char *text) {
    tested.insert(parse(context, text)->getBody()->back().getName().stripDialect().str());
  };
  for (const RowCase &rowCase : kRowCases)
    note(rowCase.text);
  for (const StatedCase &stated : statedCases())
    note(stated.text);
  std::set<std::string> untested;
  for (mlir::RegisteredOperationName name : listOps(context))
    if (name.hasInterface<moe::FactsOpInterface>() && !tested.contains(name.stripDialect().str()))
      untested.insert(name.stripDialect().str());
  // Their only operand is the number of a copy.
  CHECK(untested == std::set<std::string>{"random_normal", "read"});
}

TEST_CASE("every op with a template of its own has one on every target", "[facts]") {
  Context context;
  unsigned count = 0;
  for (mlir::RegisteredOperationName name : listOps(context)) {
    auto *facts = name.getInterface<moe::FactsOpInterface>();
    if (!facts || facts->getFacts().kernel != moe::Kernel::own)
      continue;
    ++count;
    std::string kind = name.stripDialect().str();
    for (const char *target : {"x86-64-v3", "sm_90a"}) {
      auto module = parse(context, "moe.state @x batch : tensor<8x4xf32>\nfunc.func @f() {\n  moe.dispatch \"" + kind +
                                       "\" () : () -> () {\n    moe.yield\n  }\n  return\n}\n");
      std::string said;
      mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &diagnostic) { said += diagnostic.str(); });
      mlir::PassManager passes(&context);
      passes.addPass(createMoeToPlan(MoeToPlanOptions{target}));
      INFO(kind << " for " << target);
      CHECK(mlir::failed(passes.run(*module)));
      CHECK(said == "'moe.dispatch' op must hold one 'moe." + kind + "'"); // says the template
    }
  }
  CHECK(count >= 12);
}

//===--- Storage --------------------------------------------------------------------------------------------------===//

TEST_CASE("storage and factors that depend on results and attributes", "[facts]") {
  using moe::Storage;
  Context context;
  auto ask = [&](const std::string &text, auto question) {
    auto module = parse(context, text);
    question(mlir::cast<moe::FactsOpInterface>(module->getBody()->back()));
  };
  std::string factors = "%a = moe.read @a : tensor<4x4xf32>\n%y = moe.matmul %a, %a ";
  std::string types = " : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>";
  ask(factors + types, [](moe::FactsOpInterface op) {
    CHECK(op.getStorage(0) == Storage::narrow);
    CHECK(op.isFactor(1));
  });
  ask(factors + "{moe.wide_factors}" + types, [](moe::FactsOpInterface op) {
    CHECK(op.getStorage(0) == Storage::wide);
    CHECK_FALSE(op.isFactor(1));
  });
  ask(factors + "{moe.full_precision}" + types, [](moe::FactsOpInterface op) {
    CHECK(op.getStorage(0) == Storage::wide);
    CHECK(op.isFactor(1));
  });
  std::string attention = R"(%q = moe.read @q : tensor<8x16xf32>
    %l = moe.read @l : tensor<8x1xf32>
    )";
  ask(attention + R"(%y, %s = moe.attention %q, %q, %q heads 1 kv_heads 1 seq_len 4
    : tensor<8x16xf32>, tensor<8x16xf32> -> tensor<8x1xf32>)",
      [](moe::FactsOpInterface op) {
        CHECK(op.getStorage(0) == Storage::narrow);
        CHECK(op.getStorage(1) == Storage::wide);
        CHECK(op.isFactor(2));
      });
  ask(attention + R"(%y:3 = moe.attention_grad %q, %q, %q, %q, %l, %q heads 1 kv_heads 1 seq_len 4
    : tensor<8x16xf32>, tensor<8x16xf32>, tensor<8x1xf32>)",
      [](moe::FactsOpInterface op) {
        CHECK(op.getStorage(2) == Storage::narrow);
        CHECK(op.isFactor(3));
        CHECK_FALSE(op.isFactor(4)); // lse
        CHECK(op.isFactor(5));
      });
  ask("%w = moe.read @w : tensor<2x4x6xf32>\n"
      "%q, %s = moe.quantize_columns %w : tensor<2x4x6xf32> -> tensor<2x6x4xf32>, tensor<2x6xf32>",
      [](moe::FactsOpInterface op) {
        CHECK(op.getStorage(0) == Storage::float8);
        CHECK(op.getStorage(1) == Storage::wide);
      });
}

} // namespace
