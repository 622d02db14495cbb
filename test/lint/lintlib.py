"""What the lints share: the list of files and the way to report."""
import fnmatch
import os
import subprocess
import sys

SKIP = 77  # what ctest takes for "skipped"


def root():
    """The tree to look at: the first argument, or the repository this file is in."""
    if len(sys.argv) > 1:
        return os.path.abspath(sys.argv[1])
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files(*patterns):
    """Tracked files whose path matches one of the patterns (`*` crosses slashes), relative to the root, sorted."""
    tree = root()
    try:
        listed = subprocess.run(["git", "-C", tree, "ls-files", "-z"], check=True, capture_output=True, text=True)
        names = [name for name in listed.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive has no git
        names = []
        for folder, folders, found in os.walk(tree):
            folders[:] = [f for f in folders if not f.startswith((".git", "build"))]
            names += [os.path.relpath(os.path.join(folder, name), tree) for name in found]
    names = [n for n in names if any(fnmatch.fnmatch(n, p) for p in patterns)]
    return sorted(n for n in names if os.path.isfile(os.path.join(tree, n)))


def read(name):
    with open(os.path.join(root(), name), encoding="utf-8", errors="replace") as file:
        return file.read()


def finish(problems, looked_at):
    """Prints what was found and leaves with the fitting exit code."""
    for problem in problems:
        print(problem)
    name = os.path.basename(sys.argv[0])
    if not looked_at:
        print(f"{name}: found nothing to look at in {root()}")
        sys.exit(1)
    print(f"{name}: {looked_at} looked at, {len(problems)} to mend")
    sys.exit(1 if problems else 0)
