#!/usr/bin/env python3
"""train.py MOEC ROOT: the methods of docs/adding-a-*.md do their work in a run, beside those of the tree.

MOEC is built with the pages' methods added to the list. The run must learn, log the loss under its name, keep what the
optimizer and the balance keep, and go on with the same bits after a stop.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

moec, root = sys.argv[1:3]


def run(*words, cwd):
    done = subprocess.run([moec, *words], cwd=cwd, capture_output=True, text=True, timeout=120)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def tensor_names(file):
    data = file.read_bytes()
    return json.loads(data[8:8 + int.from_bytes(data[:8], "little")]).keys()


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 400)
    spec = {
        "moec": 1, "name": "examples", "seed": 3,
        "model": {"hidden_size": 32, "num_layers": 2, "attention": {"num_heads": 2},
                  "moe": {"num_experts": 4, "top_k": 2, "expert": {"inner_size": 32}},
                  "router": {"score": "softsign", "normalize": True, "balance": {"kind": "leaky_bias", "rate": 1e-2}}},
        "losses": {"router_entropy": {"weight": 1e-3}, "spread": {"kind": "router_entropy", "of": "batch", "weight": 1e-3}},
        "optimizer": {"kind": "lion", "lr": 1e-3},
        "data": {"seq_len": 32, "train": {"text": {"path": "text.txt"}}},
        "batch": {"sequences": 4}, "duration": {"steps": 40}, "metrics": {"every": {"steps": 1}},
        "evaluate": None, "checkpoint": {"every": {"steps": 20}},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    run("train", "spec.json", "--run-dir", "whole", cwd=folder)
    run("train", "spec.json", "--run-dir", "parts", "--max-steps", "17", cwd=folder)
    run("train", "spec.json", "--run-dir", "parts", "--resume", cwd=folder)

    lines = [line for line in records(folder / "whole") if line["split"] == "train"]
    first, last = lines[0], lines[-1]
    assert last["loss"] < first["loss"] - 1, (first["loss"], last["loss"])
    # Negative entropies: between -ln 4 (all alike) and 0.
    for metric in ("router_entropy", "spread"):
        assert -1.3863 < last[metric] < 0, (metric, last[metric])

    newest = {run: sorted((folder / run / "checkpoints").glob("step-*"))[-1] for run in ("whole", "parts")}
    files = {run: sorted(path.rglob("*.safetensors")) for run, path in newest.items()}
    assert files["whole"] and [f.name for f in files["whole"]] == [f.name for f in files["parts"]]
    for one, other in zip(files["whole"], files["parts"]):
        assert one.read_bytes() == other.read_bytes(), one.name
    names = {key for file in files["whole"] for key in tensor_names(file)}
    for wanted in ("layers.0.attention.q", "balance.layers.0.router.bias"):
        assert wanted in names, (wanted, sorted(names))
    assert any(key.startswith("optimizer.") for key in names), sorted(names)

    for word in ("lion", "softsign", "leaky_bias", "router_entropy"):
        assert word in run("explain", word, cwd=folder), word
print("the examples' methods train, log, save and resume")
