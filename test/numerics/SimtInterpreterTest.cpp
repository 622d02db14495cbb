// The interpreter itself: what it computes, and that it notices what a GPU would not say.
#include "test/numerics/SimtInterpreter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Parser/Parser.h"
#include <catch2/catch.hpp>

using namespace mlir;
using moec::test::SimtInterpreter;

namespace {
/// Runs `body` on one block of 64 threads: %x points at `memory`, %m at 256 bytes of shared memory; %t is the thread as
/// i64, %n as i32. Returns what the interpreter complains of.
std::string run(const std::string &body, std::vector<int32_t> &memory) {
  MLIRContext context;
  context.loadDialect<arith::ArithDialect, LLVM::LLVMDialect, NVVM::NVVMDialect, scf::SCFDialect>();
  auto module = parseSourceString<ModuleOp>(R"(
    llvm.mlir.global external @moec_shared() {addr_space = 3 : i32} : !llvm.array<0 x i8>
    llvm.func @kernel(%x: !llvm.ptr<1>) {
      %m = llvm.mlir.addressof @moec_shared : !llvm.ptr<3>
      %n = nvvm.read.ptx.sreg.tid.x : i32
      %t = arith.extsi %n : i32 to i64
      %mine = llvm.getelementptr %x[%t] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, i32
      %own = llvm.getelementptr %m[%t] : (!llvm.ptr<3>, i64) -> !llvm.ptr<3>, i32
      %one = arith.constant 1 : i64
      %next = arith.addi %t, %one : i64
      %neighbour = llvm.getelementptr %m[%next] : (!llvm.ptr<3>, i64) -> !llvm.ptr<3>, i32
)" + body + "\nllvm.return\n}",
                                            &context);
  REQUIRE(module);
  SimtInterpreter gpu(*module, "kernel", 64, 65 * 4);
  gpu.addMemory(memory.data(), memory.size() * 4);
  try {
    gpu.run({memory.data()}, 0, 1);
  } catch (const std::runtime_error &error) {
    std::string what = error.what();
    return what.substr(0, what.find(" at: "));
  }
  return "";
}
std::string run(const std::string &body) {
  std::vector<int32_t> memory(64);
  return run(body, memory);
}
} // namespace

TEST_CASE("interpreter: branches, loops and shuffles", "[simt]") {
  std::vector<int32_t> memory(64);
  std::string message = run(R"(
      %zero = arith.constant 0 : i64
      %none = arith.constant 0 : i32
      %sum = scf.for %i = %zero to %t step %one iter_args(%so = %none) -> (i32) : i64 {
        %j = arith.trunci %i : i64 to i32
        %s = arith.addi %so, %j : i32
        scf.yield %s : i32
      }
      %all = arith.constant -1 : i32
      %by = arith.constant 1 : i32
      %clamp = arith.constant 31 : i32
      %other = nvvm.shfl.sync bfly %all, %sum, %by, %clamp : i32 -> i32
      %half = arith.constant 32 : i32
      %low = arith.cmpi slt, %n, %half : i32
      scf.if %low {
        llvm.store %sum, %mine : i32, !llvm.ptr<1>
      } else {
        llvm.store %other, %mine : i32, !llvm.ptr<1>
      }
)",
                            memory);
  CHECK(message == "");
  for (int32_t t = 0; t < 64; ++t) {
    int32_t from = t < 32 ? t : t ^ 1;
    CHECK(memory[t] == from * (from - 1) / 2);
  }
}

TEST_CASE("interpreter: complaints", "[simt]") {
  CHECK(run("%v = llvm.load %neighbour : !llvm.ptr<3> -> i32") == "");
  CHECK(run("%far = llvm.getelementptr %mine[1] : (!llvm.ptr<1>) -> !llvm.ptr<1>, i32\n"
            "llvm.store %n, %far : i32, !llvm.ptr<1>") == "an access outside memory");
  CHECK(run("%v = llvm.load %mine {alignment = 8 : i64} : !llvm.ptr<1> -> i32") ==
        "an access is not aligned to 8 bytes");
  CHECK(run("%c = arith.constant 5 : i32\n%b = arith.cmpi slt, %n, %c : i32\nscf.if %b {\nnvvm.barrier0\n}") ==
        "not all threads of the block reach a barrier");
  CHECK(run("%c = arith.constant 5 : i32\n%b = arith.cmpi slt, %n, %c : i32\nscf.if %b {\n"
            "%all = arith.constant -1 : i32\n%by = arith.constant 4 : i32\n%clamp = arith.constant 31 : i32\n"
            "%v = nvvm.shfl.sync bfly %all, %n, %by, %clamp : i32 -> i32\n}")
            .starts_with("a shuffle reads lane"));
}

TEST_CASE("interpreter: races in shared memory", "[simt]") {
  const std::string write = "llvm.store %n, %own : i32, !llvm.ptr<3>\n",
                    read = "%v = llvm.load %neighbour : !llvm.ptr<3> -> i32\n",
                    rewrite = "llvm.store %n, %neighbour : i32, !llvm.ptr<3>\n", barrier = "nvvm.barrier0\n",
                    warp = "%all = arith.constant -1 : i32\nnvvm.bar.warp.sync %all : i32\n";
  CHECK(run(write + read).find("reads what was written by") != std::string::npos);
  CHECK(run(write + barrier + read) == "");
  // The last lane of the first warp reads what the second warp wrote.
  CHECK(run(write + warp + read).find("thread 31 reads what was written by 32") != std::string::npos);
  CHECK(run(read + write).find("overwrites what was read by") != std::string::npos);
  CHECK(run(read + barrier + write) == "");
  CHECK(run(write + rewrite).find("overwrites what was written by") != std::string::npos);
  CHECK(run(write + barrier + rewrite) == "");
}
