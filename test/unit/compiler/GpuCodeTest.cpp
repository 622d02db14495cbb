// The reader of the GPU assembler's log, and the cache of kernels.
#include "compiler/Target/GPU/Assembler.h"
#include "compiler/Target/Kernel/KernelCache.h"

#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <unistd.h>

using namespace moec::gpu;
using moec::kernel::CompiledKernel;
using moec::kernel::KernelCache;
namespace files = std::filesystem;

namespace {
struct Folder {
  Folder() {
    char name[] = "/tmp/moec-cache-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() {
    files::permissions(path, files::perms::owner_all);
    files::remove_all(path);
  }
  files::path only() const { return *files::directory_iterator(path); }
  std::string path;
};

const CompiledKernel kKernel{".version 8.0", {'E', 'L', 'F', 0, 1}, "Used 3 registers"};
} // namespace

TEST_CASE("the assembler's log is read", "[gpu]") {
  auto reports = parseAssemblerLog(R"(ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'moec_row_1f' for 'sm_90a'
ptxas info    : Function properties for moec_row_1f
    16 bytes stack frame, 24 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 16 bytes cumulative stack size
)");
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].symbol == "moec_row_1f");
  CHECK(reports[0].registers == 168);
  CHECK(reports[0].spillBytes == 32);
  CHECK(reports[0].stackBytes == 16);
  CHECK_FALSE(reports[0].isClean());
}

TEST_CASE("warnings about wgmma belong to the kernel", "[gpu]") {
  auto reports = parseAssemblerLog(R"(ptxas info    : (C7517) Potential Performance Loss: wgmma.mma_async is serialized
ptxas info    : Compiling entry function 'k' for 'sm_90a'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 24 registers
)");
  REQUIRE(reports.size() == 1);
  REQUIRE(reports[0].warnings.size() == 1);
  CHECK(reports[0].warnings[0].find("(C7517)") == 0);
  CHECK_FALSE(reports[0].isClean());
  CHECK(parseAssemblerLog("").empty());
}

TEST_CASE("a stored kernel is found again", "[cache]") {
  Folder folder;
  KernelCache cache(folder.path + "/deeper");
  CHECK_FALSE(cache.find("key"));
  cache.store("key", kKernel);
  auto found = cache.find("key");
  REQUIRE(found);
  CHECK(found->text == kKernel.text);
  CHECK(found->code == kKernel.code);
  CHECK(found->log == kKernel.log);
  CHECK_FALSE(cache.find("another key"));
  CHECK_FALSE(KernelCache("").find("key"));
}

TEST_CASE("a damaged entry is no entry, and is replaced", "[cache]") {
  Folder folder;
  KernelCache cache(folder.path);
  cache.store("key", kKernel);
  auto size = files::file_size(folder.only());
  for (uintmax_t at = 0; at < size; ++at) {
    std::fstream file(folder.only(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    char byte = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(byte ^ 0x10));
    file.close();
    CAPTURE(at);
    CHECK_FALSE(cache.find("key"));
    cache.store("key", kKernel);
    CHECK(cache.find("key"));
  }
  files::resize_file(folder.only(), size / 2);
  CHECK_FALSE(cache.find("key"));
}

TEST_CASE("a folder that cannot be written does no harm", "[cache]") {
  Folder folder;
  std::ofstream(folder.path + "/file") << "in the way";
  KernelCache blocked(folder.path + "/file");
  blocked.store("key", kKernel);
  blocked.trim();
  CHECK_FALSE(blocked.find("key"));
  KernelCache cache(folder.path);
  cache.store("key", kKernel);
  files::permissions(folder.path, files::perms::owner_read | files::perms::owner_exec);
  cache.store("second", kKernel);
  CHECK(cache.find("key"));
}

TEST_CASE("the cache keeps its bound, oldest first", "[cache]") {
  Folder folder;
  KernelCache cache(folder.path);
  CompiledKernel large{std::string(1000, 'x'), {}, ""};
  for (const char *key : {"a", "b", "c"}) {
    cache.store(key, large);
    usleep(20000);
  }
  REQUIRE(cache.find("a"));                           // used last
  std::string foreign = folder.path + "/mine.kernel"; // no name of an entry
  std::ofstream(foreign) << std::string(5000, 'x');
  files::last_write_time(foreign, files::file_time_type::min());
  KernelCache(folder.path, 2500).trim();
  CHECK(files::exists(foreign));
  CHECK(cache.find("a"));
  CHECK_FALSE(cache.find("b"));
  CHECK(cache.find("c"));
}
