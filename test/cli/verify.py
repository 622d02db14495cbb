#!/usr/bin/env python3
"""The certificate of layouts (docs/parallel.md): a mixture with all that layouts must agree on, under every layout of up to
eight ranks, against one rank. Bytes on the wire and memory are those that the plan announces, and follow the formulas.

  verify.py BIN_FOLDER
"""
import json

from clilib import Test

# GQA, a shared expert, clipping, tied and untied weights, a bias balance, losses of two scopes, noise.
SPEC = {
    "moec": 1, "name": "v", "seed": 5,
    "model": {"vocab_size": 256, "hidden_size": 16, "num_layers": 2, "attention": {"num_heads": 4, "num_kv_heads": 2},
              "moe": {"num_experts": 4, "top_k": 2, "expert": {"inner_size": 16}, "shared_experts": 1},
              "router": {"score": "sigmoid", "balance": {"kind": "bias", "rate": 0.01}, "jitter": 0.05}},
    "losses": {"router_z": {"weight": 0.01},
               "load_balance": {"kind": "load_balance", "scope": "sequence", "weight": 0.01}},
    "optimizer": {"kind": "adamw", "lr": 3e-3, "clip_norm": 0.1, "weight_decay": 0.1},
    "data": {"seq_len": 8, "train": {"a": {"path": "a.txt"}}},
    "batch": {"sequences": 8, "micro_sequences": 2},
    "duration": {"steps": 4},
    "precision": {"reduce": "ordered"},
}

with Test() as t:
    (t.dir / "v.json").write_text(json.dumps(SPEC))
    text = t.must(t.moec, "verify", "v.json", "--layouts", "--json").stdout
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    t.check(len(rows) >= 60 and all(row["ok"] for row in rows), f"{len(rows)} comparisons with one rank hold")
    axes = {(row["data"] > 1, row["experts"] > 1, row["zero"]) for row in rows}
    t.check({(True, True, 0), (True, True, 1), (True, False, 1), (False, True, 1)} <= axes, "each pair of axes meets")
    reference = [row for row in rows if row["reference"]]
    t.check(max(row["difference"] for row in reference) < 1e-12, "in f64 all layouts agree to 1e-12")
    ordered = [row for row in rows if not row["reference"] and row["experts"] == 1]
    t.check(len(ordered) >= 10 and all(row["difference"] == 0 for row in ordered),
            f"ordered: {len(ordered)} layouts have the bytes of one rank")
    t.check(all(row["sent_bytes"] - row["sent_row_bytes"] == row["planned_bytes"] for row in rows),
            "the bytes sent are those of the plan")

    # ZeRO-1 keeps 1 / R of the optimizer's state, and sends what a whole sum sends: 2 (R - 1) / R of a tensor, or
    # R - 1 times a small one.
    def row(data, zero):
        return next(r for r in reference if r["micro_sequences"] == 1 and r["experts"] == 1 and r["data"] == data
                    and r["zero"] == zero)

    for data in (2, 4, 8):
        t.check(row(data, 1)["allocated_bytes"] < row(data, 0)["allocated_bytes"],
                f"{data} ranks need less memory with divided optimizer state")
