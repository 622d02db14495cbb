// The conformance suite on ranks that are processes: started once for each rank by an MPI launcher.
//   moec-comm-ranks [--plugins FOLDER] [--chunk BYTES]      all good cases
//   moec-comm-ranks ... --fault NAME                        one case that must end the job
//   moec-comm-ranks ... --bench                             how fast operations are here
//   moec-comm-ranks --diagnose FOLDER                       what rings say (MOEC_RING_DIR, in the runs above)
//   moec-comm-ranks --list                                  names of faults, each with the words that must be said
#include "test/unit/comm/Conformance.h"

#include "runtime/base/Clock.h"
#include "runtime/comm/Ring.h"
#include "runtime/comm/mpi/MpiWorld.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

using namespace moec::rt;
using namespace moec::rt::test;

/// Faults that only a process can have: rank 1 gets this signal in the middle.
static Status signalled(Communicator &comm, int signal) {
  MOEC_RETURN_IF_ERROR(meetAll(comm));
  if (comm.rank() == 1) {
    std::raise(signal);
    std::this_thread::sleep_for(std::chrono::seconds(60)); // a launcher wakes it before it ends it
  }
  return comm.barrier(kWorldGroup, {"signalled", 20, "/model"});
}

static std::vector<FaultCase> processFaults() {
  std::vector<FaultCase> cases(faultCases().begin(), faultCases().end());
  cases.push_back({"killed_rank", 2, [](Communicator &comm) { return signalled(comm, SIGKILL); }, {}});
  cases.push_back({"suspended_rank",
                   2,
                   [](Communicator &comm) { return signalled(comm, SIGSTOP); },
                   {" ends the job: MOEC-N004: /model: rank 0 waited 0.5 s in barrier of \"signalled\"",
                    "and rank 1 has not come to it"},
                   true});
  return cases;
}

static int runGoodCases(Communicator &comm) {
  Findings findings;
  findings.expectOk(meetAll(comm), "meet", __LINE__);
  for (const GoodCase &test : goodCases()) {
    size_t before = findings.texts.size();
    test.run(comm, findings);
    for (size_t i = before; i < findings.texts.size(); ++i)
      std::printf("rank %d: %s: Conformance.cpp, %s\n", comm.rank(), test.name, findings.texts[i].c_str());
  }
  findings.expectOk(comm.close(), "close", __LINE__);
  if (comm.rank() == 0)
    std::printf("%zu cases on %d ranks of %s\n", goodCases().size(), comm.size(), std::string(comm.backend()).c_str());
  return findings.texts.empty() ? 0 : 1;
}

/// Seconds for each of `repetitions` all-gathers, with all ranks of the machine at work.
static int runBench(Communicator &comm) {
  if (!meetAll(comm).isOk())
    return 1;
  for (uint64_t bytes = 8; bytes <= 32u << 20; bytes *= 16) {
    std::vector<uint8_t> send(bytes, 1), receive(bytes * comm.size());
    int repetitions = int(std::clamp<uint64_t>((64u << 20) / bytes, 4, 500));
    double start = 0;
    for (int i = -2; i < repetitions; ++i) {
      if (i == 0)
        start = nowSeconds();
      Result<CommRequest> request = comm.allGather(kWorldGroup, send.data(), receive.data(), bytes, {"bench"});
      if (!request.isOk() || !comm.wait(*request).isOk())
        return 1;
    }
    double each = (nowSeconds() - start) / repetitions;
    if (comm.rank() == 0)
      std::printf("all_gather of %8llu bytes from each of %d ranks: %9.1f us, %6.2f GB/s into each\n",
                  static_cast<unsigned long long>(bytes), comm.size(), each * 1e6,
                  double(bytes) * (comm.size() - 1) / each * 1e-9);
  }
  return comm.close().isOk() ? 0 : 1;
}

int main(int argc, char **argv) {
  MpiOptions mpi;
  const char *fault = nullptr;
  bool bench = false;
  for (int i = 1; i < argc; ++i) {
    bool more = i + 1 < argc;
    if (!std::strcmp(argv[i], "--plugins") && more) {
      mpi.folder = argv[++i];
    } else if (!std::strcmp(argv[i], "--chunk") && more) {
      mpi.chunkBytes = std::strtoull(argv[++i], nullptr, 10);
    } else if (!std::strcmp(argv[i], "--fault") && more) {
      fault = argv[++i];
    } else if (!std::strcmp(argv[i], "--diagnose") && more) {
      Result<std::string> text = diagnoseRings(argv[++i]);
      std::printf("%s", text.isOk() ? text->c_str() : text.status().text().c_str());
      return text.isOk() ? 0 : 1;
    } else if (!std::strcmp(argv[i], "--bench")) {
      bench = true;
    } else if (!std::strcmp(argv[i], "--list")) {
      for (const FaultCase &test : processFaults()) {
        std::printf("%s", test.name);
        for (const char *words : test.words)
          std::printf("\t%s", words);
        std::printf("\n");
      }
      return 0;
    } else {
      std::fprintf(stderr, "unknown argument %s\n", argv[i]);
      return 2;
    }
  }
  auto fail = [](const Status &status) {
    std::printf("%s\n", status.text().c_str());
    std::fflush(stdout);
    return 3;
  };
  Result<Launch> launch = detectLaunch(currentEnvironment());
  if (!launch.isOk())
    return fail(launch.status());
  std::vector<FaultCase> faults = processFaults();
  auto test = std::find_if(faults.begin(), faults.end(),
                           [&](const FaultCase &c) { return fault && c.name == std::string(fault); });
  if (fault && test == faults.end()) {
    std::fprintf(stderr, "there is no fault %s\n", fault);
    return 2;
  }
  CommOptions options = fault ? test->options() : CommOptions{30, 30};
  if (const char *rings = std::getenv("MOEC_RING_DIR"))
    options.ringFolder = rings;
  auto comm = joinMpi(*launch, options, mpi);
  if (!comm.isOk())
    return fail(comm.status());
  if (!fault)
    return bench ? runBench(**comm) : runGoodCases(**comm);
  Status status = test->run(**comm);
  if (status.isOk())
    std::printf("NOT NOTICED on rank %d\n", (*comm)->rank());
  return fail(status); // the communicator is destroyed, which ends the job
}
