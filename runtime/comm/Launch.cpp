#include "runtime/comm/Launch.h"

#include "runtime/base/Options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <unistd.h>
#include <vector>

namespace moec::rt {

static std::string text(const Environment &environment, const char *name) {
  auto found = environment.find(name);
  return found == environment.end() ? std::string() : found->second;
}

Environment currentEnvironment() {
  Environment environment;
  for (char **entry = ::environ; entry && *entry; ++entry)
    if (const char *equals = std::strchr(*entry, '='))
      environment.emplace(std::string(*entry, size_t(equals - *entry)), equals + 1);
  return environment;
}

namespace {
/// Variables of one launcher; the first that is set counts.
struct Family {
  Launcher launcher;
  const char *name;
  std::vector<const char *> rank, size, localRank, localSize;
};
} // namespace

/// In this order where several launchers agree: an MPI's own variables say which MPI it is.
static const std::vector<Family> &families() {
  static const std::vector<Family> all = {
      {Launcher::OpenMpi,
       "openmpi",
       {"OMPI_COMM_WORLD_RANK"},
       {"OMPI_COMM_WORLD_SIZE"},
       {"OMPI_COMM_WORLD_LOCAL_RANK"},
       {"OMPI_COMM_WORLD_LOCAL_SIZE"}},
      {Launcher::Mpich, "mpich", {"PMI_RANK"}, {"PMI_SIZE"}, {"MPI_LOCALRANKID"}, {"MPI_LOCALNRANKS"}},
      {Launcher::Slurm,
       "slurm",
       {"SLURM_PROCID"},
       {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"},
       {"SLURM_LOCALID"},
       {}},
      {Launcher::Torchrun, "torchrun", {"RANK"}, {"WORLD_SIZE"}, {"LOCAL_RANK"}, {"LOCAL_WORLD_SIZE"}},
  };
  return all;
}

static const Family &explicitFamily() {
  static const Family family = {Launcher::Explicit,  "explicit",          {"MOEC_RANK"},
                                {"MOEC_WORLD_SIZE"}, {"MOEC_LOCAL_RANK"}, {"MOEC_LOCAL_SIZE"}};
  return family;
}

std::string_view launcherName(Launcher launcher) {
  for (const Family &family : families())
    if (family.launcher == launcher)
      return family.name;
  return launcher == Launcher::Explicit ? "explicit" : "none";
}

/// The first of these that is set, or nullptr.
static const char *firstSet(const Environment &environment, const std::vector<const char *> &names) {
  for (const char *name : names)
    if (!text(environment, name).empty())
      return name;
  return nullptr;
}

static Status launchError(const std::string &what) { return Status::error("MOEC-N007", "", what); }

static Result<int> number(const std::string &name, const std::string &value, int least) {
  int result = 0;
  auto [end, failure] = std::from_chars(value.data(), value.data() + value.size(), result);
  if (failure != std::errc() || end != value.data() + value.size() || result < least)
    return launchError(name + " is \"" + value + "\"; it must be a whole number from " + std::to_string(least) + " on");
  return result;
}

/// Of variables that need not be there.
static Result<std::optional<int>> optionalNumber(const Environment &environment, const std::vector<const char *> &names,
                                                 int least) {
  const char *name = firstSet(environment, names);
  if (!name)
    return std::optional<int>();
  MOEC_ASSIGN_OR_RETURN(int value, number(name, text(environment, name), least));
  return std::optional<int>(value);
}

static Status checkRank(const std::string &rankName, int rank, const std::string &sizeName, int size) {
  if (rank < size)
    return Status::ok();
  return launchError(rankName + " is " + std::to_string(rank) + " and " + sizeName + " " + std::to_string(size) +
                     "; ranks count from 0");
}

/// Nothing when no variable of the family is set.
static Result<std::optional<Launch>> readFamily(const Environment &environment, const Family &family) {
  const char *rank = firstSet(environment, family.rank), *size = firstSet(environment, family.size);
  if (!rank && !size)
    return std::optional<Launch>();
  if (!rank || !size) {
    const char *there = rank ? rank : size, *absent = rank ? family.size.front() : family.rank.front();
    return launchError(std::string(there) + " is set and " + absent +
                       " is not; set both, or neither for one process (MOEC_LAUNCHER=none does not look at them)");
  }
  Launch launch;
  launch.launcher = family.launcher;
  MOEC_ASSIGN_OR_RETURN(launch.rank, number(rank, text(environment, rank), 0));
  MOEC_ASSIGN_OR_RETURN(launch.size, number(size, text(environment, size), 1));
  MOEC_RETURN_IF_ERROR(checkRank(rank, launch.rank, size, launch.size));
  MOEC_ASSIGN_OR_RETURN(launch.localRank, optionalNumber(environment, family.localRank, 0));
  MOEC_ASSIGN_OR_RETURN(launch.localSize, optionalNumber(environment, family.localSize, 1));
  return std::optional<Launch>(launch);
}

/// Tasks on node `node` by a list like "2(x3),1": two on each of the first three nodes, one on the fourth.
static std::optional<int> tasksOfNode(const std::string &list, int node) {
  const char *at = list.data(), *end = at + list.size();
  while (at < end) {
    int tasks = 0, nodes = 1;
    auto read = std::from_chars(at, end, tasks);
    if (read.ec != std::errc() || tasks < 1)
      return std::nullopt;
    at = read.ptr;
    if (end - at > 2 && at[0] == '(' && at[1] == 'x') {
      read = std::from_chars(at + 2, end, nodes);
      if (read.ec != std::errc() || nodes < 1 || read.ptr == end || *read.ptr != ')')
        return std::nullopt;
      at = read.ptr + 1;
    }
    if (node < nodes)
      return tasks;
    node -= nodes;
    if (at < end && *at++ != ',')
      return std::nullopt;
  }
  return std::nullopt;
}

/// srun's variables count inside a step alone: the body of an sbatch script has them too, and is one process.
static Result<std::optional<Launch>> readSlurm(const Environment &environment, const Family &family,
                                               std::string &warning) {
  if (text(environment, "SLURM_STEP_ID").empty()) {
    std::string tasks = text(environment, "SLURM_NTASKS");
    if (!tasks.empty() && tasks != "1")
      warning = "this is a Slurm job of " + tasks +
                " tasks, and srun did not start this process: it runs alone. Start all ranks with `srun moec ...`";
    return std::optional<Launch>();
  }
  MOEC_ASSIGN_OR_RETURN(std::optional<Launch> launch, readFamily(environment, family));
  const char *list = firstSet(environment, {"SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"});
  MOEC_ASSIGN_OR_RETURN(std::optional<int> node, optionalNumber(environment, {"SLURM_NODEID"}, 0));
  if (!launch || !list || !node)
    return launch;
  launch->localSize = tasksOfNode(text(environment, list), *node);
  if (!launch->localSize)
    return launchError(std::string(list) + " is \"" + text(environment, list) + "\", which names no tasks of node " +
                       std::to_string(*node) + " (SLURM_NODEID); expected a list like 2(x3),1");
  return launch;
}

static std::string describe(const Family &family, const Launch &launch, const Environment &environment) {
  return std::string(family.name) + " (" + firstSet(environment, family.rank) + ", " +
         firstSet(environment, family.size) + ") says rank " + std::to_string(launch.rank) + " of " +
         std::to_string(launch.size);
}

/// The launcher that `wanted` names, or all that are there, which must agree.
static Result<Launch> readFamilies(const Environment &environment, const std::string &wanted) {
  std::optional<Launch> found;
  const Family *by = nullptr;
  std::string warning;
  for (const Family &family : families()) {
    if (!wanted.empty() && wanted != family.name)
      continue;
    auto read =
        family.launcher == Launcher::Slurm ? readSlurm(environment, family, warning) : readFamily(environment, family);
    if (!read.isOk())
      return read.status();
    if (!*read)
      continue;
    if (found && (found->rank != (*read)->rank || found->size != (*read)->size))
      return launchError("two launchers disagree: " + describe(*by, *found, environment) + ", " +
                         describe(family, **read, environment) +
                         "; say which one started this process, as in MOEC_LAUNCHER=" + by->name);
    if (!found) {
      found = *read;
      by = &family;
    }
  }
  if (!wanted.empty() && !found)
    return launchError("MOEC_LAUNCHER is " + wanted + ", and its variables are not set" +
                       (warning.empty() ? "" : ": " + warning));
  Launch launch = found.value_or(Launch());
  if (!found)
    launch.warning = warning;
  return launch;
}

Result<Launch> detectLaunch(const Environment &environment, const LaunchOptions &options) {
  Launch launch;
  std::string wanted = text(environment, "MOEC_LAUNCHER");
  if (options.rank || options.size) {
    if (!options.rank || !options.size)
      return launchError(options.rank ? "a rank is given and the number of ranks is not; give both"
                                      : "the number of ranks is given and this process's rank is not; give both");
    if (*options.rank < 0)
      return launchError("the rank is " + std::to_string(*options.rank) + "; ranks count from 0");
    MOEC_RETURN_IF_ERROR(checkRank("the rank", *options.rank, "the number of ranks", *options.size));
    launch.launcher = Launcher::Explicit;
    launch.rank = *options.rank;
    launch.size = *options.size;
  } else {
    MOEC_ASSIGN_OR_RETURN(std::optional<Launch> named, readFamily(environment, explicitFamily()));
    if (named) {
      launch = *named;
    } else if (wanted != "none") {
      std::vector<std::string> names{"none"};
      for (const Family &family : families())
        names.push_back(family.name);
      if (!wanted.empty() && std::find(names.begin(), names.end(), wanted) == names.end())
        return launchError("MOEC_LAUNCHER is \"" + wanted + "\"; it may be none, openmpi, mpich, slurm or torchrun" +
                           nearestWord(wanted, names));
      MOEC_ASSIGN_OR_RETURN(launch, readFamilies(environment, wanted));
    }
  }
  launch.mpi = text(environment, "MOEC_MPI");
  return launch;
}

static Status readSeconds(const Environment &environment, const char *name, double &seconds) {
  std::string value = text(environment, name);
  if (value.empty())
    return Status::ok();
  char *end = nullptr;
  double read = std::strtod(value.c_str(), &end);
  if (*end || !std::isfinite(read) || read <= 0 || read > 1e7)
    return launchError(std::string(name) + " is \"" + value + "\"; it must be a number of seconds above 0");
  seconds = read;
  return Status::ok();
}

Result<CommOptions> commOptions(const Environment &environment) {
  CommOptions options;
  MOEC_RETURN_IF_ERROR(readSeconds(environment, "MOEC_START_SECONDS", options.startSeconds));
  MOEC_RETURN_IF_ERROR(readSeconds(environment, "MOEC_WAIT_SECONDS", options.waitSeconds));
  options.ringFolder = text(environment, "MOEC_RING_DIR");
  return options;
}

} // namespace moec::rt
