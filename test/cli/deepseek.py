#!/usr/bin/env python3
"""What compiling costs: the spec of DeepSeek-V3's shape under 30 s and 2 GB, tiny under 5 s.

  deepseek.py BIN_FOLDER

MOEC_SLOW=x multiplies the seconds, for machines that do other things meanwhile. Processor time is held to the limits as
they are: it does not depend on others.
"""
import os
import pathlib
import time

from clilib import Test

ROOT = pathlib.Path(__file__).resolve().parents[2]


def compile(t, spec):
    """Wall and processor seconds, and MB at the peak, of one compilation."""
    begin = time.monotonic()
    words = [t.moec, "compile", str(ROOT / spec), "-o", str(t.dir / "out.moec")]
    process = os.posix_spawn(t.moec, words, os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        t.check(False, f"{spec}: exit code {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


with Test() as t:
    slow = float(os.environ.get("MOEC_SLOW", "1"))
    for spec, seconds, megabytes in (("specs/base/tiny.json", 5, 500), ("specs/papers/deepseek-v3-like.json", 30, 2000)):
        wall, cpu, peak = compile(t, spec)
        size = (t.dir / "out.moec").stat().st_size
        t.check(wall < seconds * slow and cpu < seconds and peak < megabytes,
                f"{spec}: {wall:.1f} s, {cpu:.1f} s of processor, peak {peak:.0f} MB, plan {size / 1e3:.0f} kB; "
                f"limits {seconds} s and {megabytes} MB")
