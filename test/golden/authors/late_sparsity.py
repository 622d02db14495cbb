#!/usr/bin/env python3
"""Whether fewer experts a token late in a run leave low layers better balanced than one from the start.

    late_sparsity.py build/bin [--weight 0.01] [--steps 200]

Sigma-MoE-Tiny (arXiv 2512.16248) reports it for one of 96 experts in a deep model. Here: 12 layers of 32 experts, the
list of k falling from 8 to 1 over the layers until 0.9 of the run and 1 in all layers after it, against 1 everywhere
throughout; load_balance of scope global, the pages of this tree as text. For each layer it prints MaxVio (largest load
over the mean one, less 1) and the least load, both of the last 20 steps together. Some minutes; docs/claims.md has the
result.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

SPARSE, LATE = [1] * 12, [8, 8, 6, 6, 4, 4, 2, 2, 1, 1, 1, 1]
LAST = 20


def spec(name, top_k, changes, options):
    return {
        "moec": 1, "name": name,
        "model": {"hidden_size": 32, "num_layers": 12, "attention": {"num_heads": 2},
                  "moe": {"num_experts": 32, "top_k": max(top_k), "top_k_per_layer": top_k,
                          "expert": {"inner_size": 16}}},
        "losses": {"load_balance": {"weight": options.weight, "scope": "global"}},
        "optimizer": {"kind": "adamw", "lr": 3e-3, "schedule": {"kind": "constant", "warmup": {"steps": 20}}},
        "data": {"seq_len": 64, "train": {"pages": {"path": "pages.txt"}}},
        "batch": {"sequences": 16}, "duration": {"steps": options.steps}, "changes": changes,
        "metrics": {"every": {"steps": 1}},
    }


def measure(log):
    lines = [json.loads(line) for line in log.read_text().splitlines()][-LAST:]
    loss = sum(line["loss"] for line in lines) / LAST
    layers = [[sum(counts) for counts in zip(*(line["expert_tokens"][layer] for line in lines))] for layer in range(12)]
    return loss, [(max(loads) * 32 / sum(loads) - 1, min(loads) * 32 / sum(loads)) for loads in layers]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("programs", type=pathlib.Path)
    options.add_argument("--weight", type=float, default=0.01)
    options.add_argument("--steps", type=int, default=200)
    options.add_argument("--threads", type=int, default=1, help="no number depends on it")
    options = options.parse_args()
    root = pathlib.Path(__file__).resolve().parents[3]
    later = {"sparser": {"at": {"fraction": 0.9}, "top_k_per_layer": SPARSE}}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        pages = sorted(root.glob("docs/**/*.md"))
        (folder / "pages.txt").write_bytes(b"".join(page.read_bytes() for page in pages))
        for run, top_k, changes in (("sparse", SPARSE, {}), ("late", LATE, later)):
            path = folder / f"{run}.json"
            path.write_text(json.dumps(spec(run, top_k, changes, options)))
            done = subprocess.run([options.programs.resolve() / "moec", "train", path, "-o", folder / run,
                                   "--threads", str(options.threads)], capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            loss, layers = measure(folder / run / "metrics.jsonl")
            print(f"{run}: loss {loss:.3f}, MaxVio of layers 0 to 3 on average "
                  f"{sum(vio for vio, _ in layers[:4]) / 4:.2f}")
            for layer, (vio, least) in enumerate(layers):
                print(f"  layer {layer}: MaxVio {vio:.2f}, least load {least:.2f} of the mean", flush=True)


if __name__ == "__main__":
    main()
