/* What moec asks of an MPI, in C: one small shared library for each MPI found when moec was built, since every MPI has
   types and constants of its own. All bytes go point to point, so that each rank knows who has come and who has not.
   Functions return 0 or a code of the MPI, for `describe`. Called by one thread. */
#ifndef MOEC_RUNTIME_COMM_MPI_MPIPLUGIN_H
#define MOEC_RUNTIME_COMM_MPI_MPIPLUGIN_H

#include <stdint.h>

/* Changes with every change of the struct. */
#define MOEC_MPI_PLUGIN_VERSION 1

struct MoecMpiPlugin {
  uint32_t version;
  /* Starts MPI (funneled) unless it runs, and takes a communicator of its own. `text`: the library's own name. -1: it
     allows no threads beside the one that calls it; -2: MPI was ended in this process before. */
  int (*init)(int *rank, int *size, int *largestTag, char *text, int capacity);
  /* At most 2^31 - 1 bytes. `request` is for `test`, and is 8 bytes whatever the MPI. */
  int (*send)(const void *data, int bytes, int to, int tag, uint64_t *request);
  int (*receive)(void *data, int bytes, int from, int tag, uint64_t *request);
  /* Whether the request is done, which frees it. An error ends it too. */
  int (*test)(uint64_t *request, int *done);
  void (*describe)(int code, char *text, int capacity);
  /* Collective. */
  int (*finalize)(void);
  /* Ends all processes of the job. */
  void (*abort)(int exitCode);
};

/* The one symbol of the library. */
#define MOEC_MPI_PLUGIN_SYMBOL "moecMpiPlugin"
typedef const struct MoecMpiPlugin *(*MoecMpiPluginFunction)(void);

#endif /* MOEC_RUNTIME_COMM_MPI_MPIPLUGIN_H */
