#!/usr/bin/env python3
"""Experts in fp8 train: the loss falls as it does without, and a checkpoint goes on with the same bits.

  fp8.py BIN_FOLDER
"""
import json

from clilib import SPEC, Test, metrics

STEPS = 60
# Of the last losses, in nats. Seen: 0.001.
TOLERANCE = 0.02


def write(t, name, **precision):
    spec = json.loads(json.dumps(SPEC)) | {
        "name": name, "duration": {"steps": STEPS}, "precision": precision, "checkpoint": {"every": {"steps": 40}}}
    (t.dir / f"{name}.json").write_text(json.dumps(spec))


with Test() as t:
    write(t, "wide", compute="bf16")
    write(t, "fp8", compute="bf16", experts="fp8")
    for name in ("wide", "fp8"):
        t.must(t.moec, "train", f"{name}.json", "--run-dir", name)
    losses = {name: [float(line["loss"]) for line in metrics(t.dir / name) if "loss" in line] for name in ("wide", "fp8")}
    t.check(losses["fp8"][1] != losses["wide"][1], f"rounding is seen: {losses['fp8'][1]} and {losses['wide'][1]}")
    last = {name: sum(values[-10:]) / 10 for name, values in losses.items()}
    t.check(last["fp8"] < losses["fp8"][0] - 1 and abs(last["fp8"] - last["wide"]) < TOLERANCE,
            f"loss {losses['fp8'][0]:.4f} falls to {last['fp8']:.4f}, without fp8 to {last['wide']:.4f}")

    # Quantised weights are no part of a checkpoint: they are made again.
    t.must(t.moec, "train", "fp8.json", "--run-dir", "again", "--max-steps", "40")
    t.must(t.moec, "train", "fp8.json", "--run-dir", "again", "--resume")
    t.check(metrics(t.dir / "again") == metrics(t.dir / "fp8"), "stopped and resumed, the numbers are the same")
