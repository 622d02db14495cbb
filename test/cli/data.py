#!/usr/bin/env python3
"""Data as a user meets it (docs/data.md): weights of validation, patterns, files and specs that change before a resume, losses of each byte."""
import base64
import json
import pathlib

import clilib

SPEC = {
    "moec": 1, "name": "b",
    "model": {"hidden_size": 32, "num_layers": 2, "attention": {"num_heads": 2},
              "moe": {"num_experts": 4, "top_k": 2, "expert": {"inner_size": 32}}},
    "optimizer": {"kind": "adamw", "lr": 3e-3},
    "data": {"seq_len": 32, "train": {"t": {"path": "a.txt"}}},
    "batch": {"sequences": 4}, "duration": {"steps": 20},
}


def spec(t, name, **changes):
    merged = json.loads(json.dumps(SPEC))
    for section, value in changes.items():
        if isinstance(value, dict) and isinstance(merged.get(section), dict):
            merged[section].update(value)
        else:
            merged[section] = value
    (t.dir / f"{name}.json").write_text(json.dumps(merged))
    return f"{name}.json"


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


with clilib.Test() as t:
    (t.dir / "a.txt").write_text("a" * 5000)
    (t.dir / "z.txt").write_text("Z" * 5000)

    # Law 6: weights of validation sources act.
    losses, baselines = {}, {}
    for a, z in ((1, 0), (0, 1), (9, 1), (1, 1)):
        data = {"validation": {"a": {"path": "a.txt", "weight": a}, "z": {"path": "z.txt", "weight": z}}}
        path = spec(t, "w", data=data, evaluate={"every": {"steps": 20}})
        t.must(t.moec, "train", path, "-o", "r/w", "--overwrite")
        last = json.loads((t.dir / "r/w/metrics.jsonl").read_text().splitlines()[-1])
        losses[a, z], baselines[a, z] = last["loss"], last["unigram_baseline"]
    t.check(abs(losses[1, 0] - 1.8136) < 1e-3 and abs(losses[0, 1] - 5.4540) < 1e-3, f"law 6: one source alone, {losses}")
    for (a, z), loss in losses.items():
        t.check(abs(loss - (a * losses[1, 0] + z * losses[0, 1]) / (a + z)) < 1e-6, f"law 6: loss at weights {a}:{z}")
        mixed = (a * baselines[1, 0] + z * baselines[0, 1]) / (a + z)
        t.check(abs(baselines[a, z] - mixed) < 1e-9, f"law 6: baseline at weights {a}:{z}")
    t.check(baselines[1, 0] < 0.1 and baselines[0, 1] > 8, "law 6: the baseline knows the training data")
    (t.dir / "a.txt").write_text("a" * 2000)  # 62 windows, more than half of an evaluation has
    done = lines(t.must(t.moec, "eval", path, "-o", "r/w", "--json"))[-1]
    t.check(done["sources"]["a"]["windows"] == done["sources"]["z"]["windows"] == 20, "law 5: windows shared by weight")

    # Losses of each byte, as JSON and as text.
    found = lines(t.must(t.moec, "eval", path, "-o", "r/w", "--json", "--per-token"))
    windows, result = found[:-1], found[-1]
    places = {(w["file"], w["window"]) for w in windows}
    t.check(len(windows) == len(places) == 40, "law 5: each window once")
    means = {s: sum(sum(w["losses"]) for w in windows if w["source"] == s) / (20 * 32) for s in "az"}
    t.check(abs(sum(means.values()) / 2 - result["loss"]) < 1e-9, "the loss is the mean of those of its bytes")
    rows = [row.split("\t") for row in t.must(t.moec, "eval", path, "-o", "r/w", "--per-token").stdout.splitlines()]
    t.check(rows[0] == ["source", "file", "window", "position", "loss", "byte"] and len(rows) == 1 + 40 * 32 + 1, "a row for each byte")
    t.check(rows[1][0] == "a" and rows[1][5] == "a" and rows[33][5] == "Z", "rows name the byte")
    done = t.run(t.moec, "eval", path, "-o", "r/w", "--logits")
    t.check(done.returncode == 2 and "--per-token" in done.stderr, "logits want per-token")
    done = t.run(t.moec, "eval", path, "-o", "r/w", "--logits", "--per-token")
    t.check(done.returncode == 2 and "json" in done.stderr, "logits want json")

    # An evaluation without evaluate.every.
    path = spec(t, "by-hand", data={"validation": {"z": {"path": "z.txt"}}})
    done = t.run(t.moec, "check", path)
    t.check(done.returncode == 0 and "MOEC-S060" in done.stderr and "only `moec eval` reads it" in done.stderr, "S060 says who reads it")
    t.must(t.moec, "train", path, "-o", "r/by-hand")
    t.check(lines(t.must(t.moec, "eval", path, "-o", "r/by-hand", "--json"))[-1]["loss"] > 3, "eval without evaluate.every")
    none = t.run(t.moec, "eval", spec(t, "none"), "-o", "r/by-hand", "--allow-other-spec")
    t.check(none.returncode == 4 and "MOEC-D004" in none.stderr, "eval without validation data")

    # Text whose bytes can be had back.
    done = lines(t.must(t.moec, "generate", path, "-o", "r/by-hand", "--prompt", "a\\x41\\", "--bytes", "40", "--temperature", "9", "--json"))[0]
    written = base64.b64decode(done["text_base64"])
    t.check(base64.b64decode(done["prompt_base64"]) == b"a\\x41\\" and done["prompt"] == "a\\\\x41\\\\", "prompts: a backslash is doubled")
    t.check(len(written) == 40 and done["text"].encode().decode("unicode_escape").encode("latin-1") == written
            or any(byte >= 0xc2 for byte in written), "text can be had back")

    # Law 10: patterns.
    for name in ("p2.txt", "p10.txt"):
        (t.dir / name).write_text(name * 200)
    path = spec(t, "p", data={"train": {"t": {"path": "p*.txt"}}}, checkpoint={"every": {"steps": 5}})
    t.check(t.run(t.moec, "check", path).returncode == 0, "law 10: a pattern")
    t.must(t.moec, "train", path, "-o", "r/p", "--max-steps", "10")
    manifest = json.loads((t.dir / "r/p/checkpoints/step-00000010/manifest.json").read_text())
    files = manifest["data"]["train"][0]["files"]
    t.check([pathlib.Path(f["path"]).name for f in files] == ["p10.txt", "p2.txt"], "law 10: files in order of bytes")
    done = t.run(t.moec, "check", spec(t, "q", data={"train": {"t": {"path": "none*.txt"}}}))
    t.check(done.returncode == 1 and "MOEC-S063" in done.stderr and "q.json:1:" in done.stderr, "law 10: no match, with its place")
    done = t.run(t.moec, "train", "q.json", "-o", "r/q")
    t.check(done.returncode == 4 and "MOEC-D008" in done.stderr and not (t.dir / "r/q").exists(), "law 10: no match, in train")

    # Law 9: files that change before a resume.
    before = clilib.fingerprint(t.dir / "r/p")
    original = (t.dir / "p2.txt").read_text()

    def refused(what, *words):
        done = t.run(t.moec, "train", path, "-o", "r/p", "--resume")
        t.check(done.returncode == 4 and "MOEC-D007" in done.stderr and all(word in done.stderr for word in words), f"law 9: {what}")
        t.check({k: v for k, v in clilib.fingerprint(t.dir / "r/p").items()} == before, f"law 9: {what}: nothing is touched")

    (t.dir / "p2.txt").write_text(original + "more")
    refused("appended", "p2.txt", "1204")
    (t.dir / "p2.txt").write_text("q" + original[1:])
    refused("replaced at equal size", "p2.txt", "other contents")
    (t.dir / "p2.txt").write_text(original)
    (t.dir / "p3.txt").write_text("x" * 100)
    refused("a new match", "p3.txt", "--restart-data")
    done = t.must(t.moec, "train", path, "-o", "r/p", "--resume", "--restart-data")
    t.check("begins a new pass" in done.stdout, "law 9: a new pass if asked")
    done = t.run(t.moec, "train", path, "-o", "r/new", "--restart-data")
    t.check(done.returncode == 2 and not (t.dir / "r/new").exists(), "law 9: a new pass of what?")

    # Law 8: other batches.
    t.must(t.moec, "train", spec(t, "o", metrics={"every": {"steps": 1}}), "-o", "r/o")
    other = spec(t, "o", batch={"sequences": 6}, duration={"steps": 25}, metrics={"every": {"steps": 1}})
    t.must(t.moec, "train", other, "-o", "r/o", "--resume", "--allow-other-spec")
    tokens = [line["tokens"] for line in clilib.metrics(t.dir / "r/o")]
    t.check(tokens[19] == 20 * 4 * 32 and tokens[24] == 20 * 4 * 32 + 5 * 6 * 32, f"law 8: tokens, {tokens[-6:]}")
    text = (t.dir / "r/o/metrics.jsonl").read_text()
    t.check(all(isinstance(n, int) for line in text.splitlines() for layer in json.loads(line)["expert_tokens"] for n in layer), "counts are whole numbers")
    longer = spec(t, "o", data={"seq_len": 16, "train": {"t": {"path": "a.txt"}}}, batch={"sequences": 6}, duration={"steps": 30})
    done = t.run(t.moec, "train", longer, "-o", "r/o", "--resume", "--allow-other-spec")
    t.check(done.returncode == 5 and "MOEC-C025" in done.stderr, "law 9: another seq_len")
    t.must(t.moec, "train", longer, "-o", "r/o", "--resume", "--allow-other-spec", "--restart-data")
