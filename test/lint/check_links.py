#!/usr/bin/env python3
"""The program named by the argument loads no LLVM, MLIR, clang, CUDA, MPI or NCCL library."""
import re
import subprocess
import sys

FORBIDDEN = re.compile(r"lib(LLVM|MLIR|lld|clang|cuda|nccl|mpi)[^ ]*")


def main():
    program = sys.argv[1]
    result = subprocess.run(["ldd", program], capture_output=True, text=True)
    if result.returncode != 0 and "not a dynamic executable" not in result.stderr:
        print(f"{program}: ldd failed: {result.stderr.strip()}")
        sys.exit(1)
    found = sorted({match.group() for match in FORBIDDEN.finditer(result.stdout)})
    for library in found:
        print(f"{program}: loads {library}")
    print("check_links.py: " + ("fails" if found else "loads only system libraries"))
    sys.exit(1 if found else 0)


main()
