#!/usr/bin/env python3
"""optimizer_steps.py FOLDER: norms after three steps of two optimizers whose sides are multiples of the row tiles.

SOAP renews its bases every tenth step and its moments in every step; with equal betas LITE's map of directions has a
constant beside products. The values are from programs of their own in f64.
"""
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile

moec = str(pathlib.Path(sys.argv[1]).resolve() / "moec")
TEXT = "the quick brown fox jumps over the lazy dog and 0123456789 sphinx of black quartz, judge my vow.\n" * 30
SOAP = {"kind": "soap"}
LITE = {"kind": "muon", "ns": {"steps": 6, "coefficients": "polar_express"}, "lite": {"beta1": 0.5, "beta2": 0.5}}


def train(folder, group):
    spec = {
        "moec": 1, "name": "m16", "seed": 1,
        "model": {"vocab_size": 256, "hidden_size": 16, "num_layers": 1, "attention": {"num_heads": 1, "head_dim": 16},
                  "ffn": {"inner_size": 16}},
        "optimizer": {"kind": "adamw", "lr": 1e-3, "clip_norm": None, "schedule": {"kind": "constant"},
                      "groups": {"m": {"match": ["layers.*.attention.q"], **group}}},
        "data": {"seq_len": 32, "train": {"text": {"path": "text.txt"}}}, "batch": {"sequences": 4},
        "duration": {"steps": 3}, "evaluate": None, "precision": {"compute": "f64"},
    }
    (folder / "text.txt").write_text(TEXT)
    (folder / "spec.json").write_text(json.dumps(spec))
    done = subprocess.run([moec, "train", "spec.json", "--run-dir", "run", "--overwrite"], cwd=folder,
                          capture_output=True, text=True, timeout=120)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    tensors = {}
    for file in (folder / "run/checkpoints").glob("step-*3/*.safetensors"):
        data = file.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:end]).items():
            if name != "__metadata__" and entry["dtype"] == "F64":
                first, last = entry["data_offsets"]
                tensors[name] = struct.unpack(f"<{(last - first) // 8}d", data[end + first:end + last])
    return tensors


def norm(values):
    return math.sqrt(sum(x * x for x in values))


def expect(what, found, wanted):
    if not abs(found - wanted) <= 1e-5 * wanted:
        sys.exit(f"{what}: {found!r}, expected {wanted!r}")


with tempfile.TemporaryDirectory() as name:
    state = train(pathlib.Path(name), SOAP)
    expect("norm of SOAP's m", norm(state["optimizer.m.layers.0.attention.q"]), 1.537324e-05)
    expect("sum of SOAP's v", sum(state["optimizer.v.layers.0.attention.q"]), 3.226081e-09)
    expect("norm under LITE", norm(train(pathlib.Path(name), LITE)["layers.0.attention.q"]), 0.325676193523)
print("moments and parameters are as they should be")
