// Which rank a process is, from variables of launchers. They are what the launchers really set, cut down.
#include "runtime/comm/Launch.h"
#include "runtime/comm/mpi/MpiWorld.h"

#include <catch2/catch.hpp>

using namespace moec::rt;

static Launch launched(const Environment &environment, const LaunchOptions &options = {}) {
  Result<Launch> launch = detectLaunch(environment, options);
  INFO(launch.status().text());
  REQUIRE(launch.isOk());
  return *launch;
}

static std::string refused(const Environment &environment, const LaunchOptions &options = {}) {
  Result<Launch> launch = detectLaunch(environment, options);
  return launch.isOk() ? "ok" : launch.status().text();
}

static const Environment kOpenMpi{{"OMPI_COMM_WORLD_RANK", "3"},       {"OMPI_COMM_WORLD_SIZE", "8"},
                                  {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                                  {"OMPI_COMM_WORLD_NODE_RANK", "1"},  {"PMIX_RANK", "3"}};
static const Environment kMpich{
    {"PMI_RANK", "0"}, {"PMI_SIZE", "2"}, {"PMI_FD", "9"}, {"MPI_LOCALRANKID", "0"}, {"MPI_LOCALNRANKS", "2"}};
static const Environment kSlurm{
    {"SLURM_JOB_ID", "77"}, {"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "6"}, {"SLURM_NTASKS", "7"},
    {"SLURM_NPROCS", "7"},  {"SLURM_LOCALID", "0"}, {"SLURM_NODEID", "3"}, {"SLURM_TASKS_PER_NODE", "2(x3),1"}};
static const Environment kTorchrun{{"RANK", "5"},        {"WORLD_SIZE", "6"},
                                   {"LOCAL_RANK", "1"},  {"LOCAL_WORLD_SIZE", "2"},
                                   {"MASTER_ADDR", "a"}, {"MASTER_PORT", "29500"}};

static Environment with(Environment environment, const Environment &more) {
  for (const auto &[name, value] : more)
    environment[name] = value;
  return environment;
}

TEST_CASE("launch: without variables it is one process", "[launch]") {
  Launch launch = launched({{"HOME", "/"}});
  CHECK(launch.launcher == Launcher::None);
  CHECK(launch.rank == 0);
  CHECK(launch.size == 1);
  CHECK(launch.warning.empty());
  CHECK_FALSE(launch.localRank);
  CHECK(launched({{"RANK", ""}, {"PMI_SIZE", ""}}).launcher == Launcher::None);
}

TEST_CASE("launch: each launcher", "[launch]") {
  struct Row {
    const Environment &environment;
    Launcher launcher;
    int rank, size, localRank, localSize;
  } rows[] = {{kOpenMpi, Launcher::OpenMpi, 3, 8, 1, 4},
              {kMpich, Launcher::Mpich, 0, 2, 0, 2},
              {kSlurm, Launcher::Slurm, 6, 7, 0, 1},
              {kTorchrun, Launcher::Torchrun, 5, 6, 1, 2}};
  for (const Row &row : rows) {
    Launch launch = launched(row.environment);
    INFO(launcherName(row.launcher));
    CHECK(launch.launcher == row.launcher);
    CHECK(launch.rank == row.rank);
    CHECK(launch.size == row.size);
    CHECK(launch.localRank == row.localRank);
    CHECK(launch.localSize == row.localSize);
  }
  CHECK(launched(with(kSlurm, {{"SLURM_NODEID", "1"}})).localSize == 2);
  // A step of fewer tasks than the job.
  CHECK(launched(with(kSlurm, {{"SLURM_STEP_NUM_TASKS", "9"}})).size == 9);
}

TEST_CASE("launch: options go before MOEC_*, and these before launchers", "[launch]") {
  Environment named = with(kOpenMpi, {{"MOEC_RANK", "1"}, {"MOEC_WORLD_SIZE", "2"}, {"MOEC_LOCAL_RANK", "0"}});
  CHECK(launched(named).launcher == Launcher::Explicit);
  CHECK(launched(named).rank == 1);
  CHECK(launched(named).localRank == 0);
  LaunchOptions options{4, 5};
  CHECK(launched(named, options).rank == 4);
  CHECK(launched(named, options).size == 5);
  CHECK(launched(with(kMpich, {{"MOEC_MPI", "/opt/x.so"}})).mpi == "/opt/x.so");
  CHECK(refused({}, {3, {}}) == "MOEC-N007: a rank is given and the number of ranks is not; give both");
  CHECK(refused({}, {{}, 3}) == "MOEC-N007: the number of ranks is given and this process's rank is not; give both");
  CHECK(refused({}, {3, 3}) == "MOEC-N007: the rank is 3 and the number of ranks 3; ranks count from 0");
  CHECK(refused({}, {-1, 3}) == "MOEC-N007: the rank is -1; ranks count from 0");
}

TEST_CASE("launch: launchers that agree are one, others are named", "[launch]") {
  // srun with MPICH's PMI sets both.
  Environment both = with(kMpich, {{"SLURM_STEP_ID", "1"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "2"}});
  CHECK(launched(both).launcher == Launcher::Mpich);
  CHECK(refused(with(kOpenMpi, kSlurm)) ==
        "MOEC-N007: two launchers disagree: openmpi (OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE) says rank 3 of 8, "
        "slurm (SLURM_PROCID, SLURM_NTASKS) says rank 6 of 7; say which one started this process, as in "
        "MOEC_LAUNCHER=openmpi");
  CHECK(launched(with(with(kOpenMpi, kSlurm), {{"MOEC_LAUNCHER", "slurm"}})).rank == 6);
  CHECK(launched(with(with(kOpenMpi, kSlurm), {{"MOEC_LAUNCHER", "none"}})).size == 1);
  CHECK(refused(with(kMpich, kTorchrun))
            .find("mpich (PMI_RANK, PMI_SIZE) says rank 0 of 2, torchrun (RANK, "
                  "WORLD_SIZE) says rank 5 of 6") != std::string::npos);
  CHECK(refused(with(kMpich, {{"MOEC_LAUNCHER", "slurm"}})) ==
        "MOEC-N007: MOEC_LAUNCHER is slurm, and its variables are not set");
  CHECK(refused({{"MOEC_LAUNCHER", "mpihc"}}) ==
        "MOEC-N007: MOEC_LAUNCHER is \"mpihc\"; it may be none, openmpi, mpich, slurm or torchrun; did you mean "
        "\"mpich\"?");
}

TEST_CASE("launch: half of a pair and malformed numbers are errors", "[launch]") {
  CHECK(refused({{"RANK", "0"}}) == "MOEC-N007: RANK is set and WORLD_SIZE is not; set both, or neither for one "
                                    "process (MOEC_LAUNCHER=none does not look at them)");
  CHECK(refused({{"WORLD_SIZE", "2"}}).find("WORLD_SIZE is set and RANK is not") != std::string::npos);
  CHECK(refused({{"MOEC_RANK", "0"}}).find("MOEC_RANK is set and MOEC_WORLD_SIZE is not") != std::string::npos);
  CHECK(refused({{"PMI_RANK", "0"}}).find("PMI_RANK is set and PMI_SIZE is not") != std::string::npos);
  CHECK(refused({{"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "0"}}).find("SLURM_STEP_NUM_TASKS is not") !=
        std::string::npos);
  CHECK(refused({{"RANK", "one"}, {"WORLD_SIZE", "2"}}) ==
        "MOEC-N007: RANK is \"one\"; it must be a whole number from 0 on");
  for (const char *wrong : {"-1", "1x", " 1", "99999999999", "1.0"})
    CHECK(refused({{"RANK", wrong}, {"WORLD_SIZE", "2"}}).find("must be a whole number from 0 on") !=
          std::string::npos);
  CHECK(refused({{"RANK", "0"}, {"WORLD_SIZE", "0"}}) ==
        "MOEC-N007: WORLD_SIZE is \"0\"; it must be a whole number from 1 on");
  CHECK(refused({{"RANK", "2"}, {"WORLD_SIZE", "2"}}) == "MOEC-N007: RANK is 2 and WORLD_SIZE 2; ranks count from 0");
  CHECK(refused(with(kTorchrun, {{"LOCAL_RANK", "x"}})).find("LOCAL_RANK is \"x\"") != std::string::npos);
  for (const char *wrong : {"2(x3)", "2(x3", "a", "2(x),1", "0(x9)", "2;1"})
    CHECK(refused(with(kSlurm, {{"SLURM_TASKS_PER_NODE", wrong}})).find("which names no tasks of node 3") !=
          std::string::npos);
}

TEST_CASE("launch: the body of an sbatch script is one process, with a warning", "[launch]") {
  Environment body{{"SLURM_JOB_ID", "77"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}, {"SLURM_LOCALID", "0"}};
  Launch launch = launched(body);
  CHECK(launch.launcher == Launcher::None);
  CHECK(launch.size == 1);
  CHECK(launch.warning == "this is a Slurm job of 8 tasks, and srun did not start this process: it runs alone. Start "
                          "all ranks with `srun moec ...`");
  CHECK(launched(with(body, {{"SLURM_NTASKS", "1"}})).warning.empty());
  // mpirun inside it.
  CHECK(launched(with(body, kOpenMpi)).launcher == Launcher::OpenMpi);
  CHECK(launched(with(body, kOpenMpi)).warning.empty());
}

TEST_CASE("launch: time limits", "[launch]") {
  CHECK(commOptions({})->waitSeconds == 600);
  CHECK(commOptions({{"MOEC_WAIT_SECONDS", "1.5"}, {"MOEC_START_SECONDS", "7"}})->waitSeconds == 1.5);
  CHECK(commOptions({{"MOEC_START_SECONDS", "7"}})->startSeconds == 7);
  CHECK(commOptions({})->ringFolder.empty());
  CHECK(commOptions({{"MOEC_RING_DIR", "rings"}})->ringFolder == "rings");
  for (const char *wrong : {"0", "-1", "soon", "1s", "inf", "nan"})
    CHECK(commOptions({{"MOEC_WAIT_SECONDS", wrong}}).status().text() ==
          "MOEC-N007: MOEC_WAIT_SECONDS is \"" + std::string(wrong) + "\"; it must be a number of seconds above 0");
}

TEST_CASE("launch: no MPI that can be used says how to get one", "[launch]") {
  auto joined = [](const Launch &launch, const std::string &folder) {
    return joinMpi(launch, {}, {folder, 1u << 30}).status().text();
  };
  Launch launch;
  launch.launcher = Launcher::OpenMpi;
  launch.size = 2;
  CHECK(joined(launch, "/nowhere") ==
        "MOEC-N008: /nowhere: this moec was built without MPI, which a job of several processes needs; install one "
        "(Debian: libopenmpi-dev and openmpi-bin, or libmpich-dev and mpich), then configure and build moec again. "
        "Ranks that are threads of one process need no MPI");
  launch.mpi = "/nowhere/x.so";
  CHECK(joined(launch, "").find("MOEC-N008: /nowhere/x.so: cannot open this plug-in: ") == 0);
  CHECK(mpiPlugins("/nowhere").empty());
}
