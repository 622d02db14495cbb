// The plug-in, compiled once for each MPI against its mpi.h. It includes nothing else of moec and links nothing of it.
#include "runtime/comm/mpi/MpiPlugin.h"

#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <cstring>

static MPI_Comm jobRanks = MPI_COMM_NULL;
static bool startedHere = false;

static_assert(sizeof(MPI_Request) <= sizeof(uint64_t), "requests of this MPI do not fit");

static uint64_t pack(MPI_Request request) {
  uint64_t bits = 0;
  std::memcpy(&bits, &request, sizeof request);
  return bits;
}

static int init(int *rank, int *size, int *largestTag, char *text, int capacity) {
  int running = 0, ended = 0, level = MPI_THREAD_SINGLE;
  MPI_Finalized(&ended);
  if (ended)
    return -2;
  MPI_Initialized(&running);
  int code = running ? MPI_Query_thread(&level) : MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level);
  startedHere = !running;
  if (code != MPI_SUCCESS)
    return code;
  if (level < MPI_THREAD_FUNNELED)
    return -1;
  char library[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(library, &length);
  std::strncpy(text, library, capacity - 1);
  text[capacity - 1] = '\0';
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  // Messages of a program that uses MPI itself must not meet ours.
  if ((code = MPI_Comm_dup(MPI_COMM_WORLD, &jobRanks)) != MPI_SUCCESS)
    return code;
  MPI_Comm_set_errhandler(jobRanks, MPI_ERRORS_RETURN);
  int *bound = nullptr, found = 0;
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &bound, &found);
  *largestTag = found ? *bound : 32767; // what the standard promises
  code = MPI_Comm_rank(jobRanks, rank);
  return code == MPI_SUCCESS ? MPI_Comm_size(jobRanks, size) : code;
}

static int sendBytes(const void *data, int bytes, int to, int tag, uint64_t *request) {
  MPI_Request handle = MPI_REQUEST_NULL;
  int code = MPI_Isend(data, bytes, MPI_BYTE, to, tag, jobRanks, &handle);
  *request = pack(handle);
  return code;
}

static int receiveBytes(void *data, int bytes, int from, int tag, uint64_t *request) {
  MPI_Request handle = MPI_REQUEST_NULL;
  int code = MPI_Irecv(data, bytes, MPI_BYTE, from, tag, jobRanks, &handle);
  *request = pack(handle);
  return code;
}

static int test(uint64_t *request, int *done) {
  MPI_Request handle;
  std::memcpy(&handle, request, sizeof handle);
  int code = MPI_Test(&handle, done, MPI_STATUS_IGNORE);
  *request = pack(handle);
  return code;
}

static void describe(int code, char *text, int capacity) {
  char words[MPI_MAX_ERROR_STRING] = "no text";
  int length = 0;
  MPI_Error_string(code, words, &length);
  std::strncpy(text, words, capacity - 1);
  text[capacity - 1] = '\0';
}

static int finalize() {
  int code = MPI_Comm_free(&jobRanks);
  return code == MPI_SUCCESS && startedHere ? MPI_Finalize() : code;
}

static void abortJob(int exitCode) { MPI_Abort(MPI_COMM_WORLD, exitCode); }

extern "C" __attribute__((visibility("default"))) const MoecMpiPlugin *moecMpiPlugin() {
  static const MoecMpiPlugin plugin = {
      MOEC_MPI_PLUGIN_VERSION, init, sendBytes, receiveBytes, test, describe, finalize, abortJob};
  return &plugin;
}
