// moec-run: runs a plan on a machine that has no compiler.
#include "runtime/api/moec.h"

int main(int argc, char **argv) {
  moec::rt::openStandardStreams();
  return moec::rt::runCommandLine({argv + 1, argv + argc});
}
