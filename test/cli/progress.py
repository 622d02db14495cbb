#!/usr/bin/env python3
"""On a terminal one line is drawn over and over; into a pipe or file go plain lines.

  progress.py BIN_FOLDER
"""
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios

from clilib import Test

with Test() as t:
    t.must(t.moec, "compile", t.spec, "-o", "small.moec")

    def on_terminal(columns, *words):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen([t.moec_run, "small.moec", *words], cwd=t.dir, stdout=slave, stderr=slave)
        os.close(slave)
        text = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            text += part
        os.close(master)
        t.check(process.wait() == 0, f"on a terminal of {columns} columns: exit code 0")
        return text.decode().replace("\r\n", "\n")

    text = on_terminal(100, "train", "--run-dir", "live")
    drawn = re.findall(r"\r(step \d+/20  loss [^\r\n]*)\x1b\[K", text)
    t.check(len(drawn) >= 20, f"the line is drawn again and again: {len(drawn)} times")
    t.check(all(re.fullmatch(r"step \d+/20  loss \d\.\d{4}  \d+ tokens/s  eta \d+:\d\d  balance \d\.\d\d", line) for line in drawn),
            f"what it says: {drawn[-1]}")
    # One line before, two validations each of which ends the drawn line, one line after.
    lines = text.strip().split("\n")
    t.check(len(lines) <= 8, f"few lines stay: {len(lines)}")

    text = on_terminal(40, "train", "--run-dir", "narrow")
    drawn = re.findall(r"\r(step [^\r\n]*)\x1b\[K", text)
    t.check(len(drawn) >= 20 and max(map(len, drawn)) < 40, f"a narrow terminal: no line wraps: {drawn[-1]}")

    done = t.must(t.moec_run, "small.moec", "train", "--run-dir", "plain")
    t.check("\r" not in done.stdout and "\x1b" not in done.stdout, "into a pipe: nothing is drawn over")
    t.check(len(re.findall(r"^step \d+/20  loss .*$", done.stdout, re.MULTILINE)) == 20, "into a pipe: a line for each step")
    done = t.must(t.moec_run, "small.moec", "train", "--run-dir", "json", "--json")
    steps = [line["step"] for line in map(json.loads, done.stdout.splitlines()) if line["split"] == "train"]
    t.check(steps == list(range(1, 21)), "--json: nothing but JSON lines")
