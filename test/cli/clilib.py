"""What the tests of the command line share: a small experiment, runs of it, checkpoints as tensors."""
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

SPEC = {
    "moec": 1, "name": "small", "seed": 5,
    "model": {
        "vocab_size": 256, "hidden_size": 48, "num_layers": 3,
        "attention": {"num_heads": 4, "num_kv_heads": 2, "head_dim": 16, "qk_norm": "head"},
        "ffn": {"inner_size": 96},
        "moe": {"layers": {"from": 1}, "num_experts": 4, "top_k": 2, "expert": {"inner_size": 64}, "shared_experts": 1},
    },
    "losses": {"load_balance": {"weight": 0.01, "scope": "global"}, "router_z": {"weight": 0.001}},
    "optimizer": {"kind": "adamw", "lr": 3e-3, "schedule": {"kind": "cosine", "warmup": {"steps": 3}}},
    "data": {"seq_len": 64, "train": {"a": {"path": "a.txt"}, "b": {"path": "b.txt", "weight": 0.5}},
             "validation": {"b": {"path": "b.txt"}}},
    "batch": {"sequences": 16, "micro_sequences": 4},
    "duration": {"steps": 20},
    "evaluate": {"every": {"steps": 10}, "batches": 2},
    "checkpoint": {"every": {"steps": 7}, "keep_last": 9},
    "metrics": {"every": {"steps": 1}},
}


class Test:
    """`with Test() as t`: a folder with the spec and its data; t.fail collects, the exit code tells."""

    def __init__(self):
        self.bin = pathlib.Path(sys.argv[1]).resolve()
        self.moec, self.moec_run = str(self.bin / "moec"), str(self.bin / "moec-run")
        self.failures = 0
        self.holder = tempfile.TemporaryDirectory(prefix="moec-cli-")
        self.dir = pathlib.Path(self.holder.name)
        words = random.Random(1)
        for name in "ab":
            text = " ".join("".join(words.choice("etaoinshrdlu") for _ in range(words.randint(1, 7))) for _ in range(9000))
            (self.dir / f"{name}.txt").write_text(text + "\n")
        self.spec = self.dir / "small.json"
        self.spec.write_text(json.dumps(SPEC, indent=2))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.holder.cleanup()
        if kind is None:
            print("all passed" if not self.failures else f"{self.failures} failures")
            sys.exit(bool(self.failures))

    def check(self, good, what):
        print(("ok    " if good else "FAIL  ") + what, flush=True)
        self.failures += not good
        return good

    def run(self, *words, env=None):
        return subprocess.run([str(word) for word in words], cwd=self.dir, capture_output=True, text=True, timeout=400,
                              errors="replace", env=env)

    def must(self, *words):
        done = self.run(*words)
        if done.returncode != 0:
            sys.exit(f"FAIL  exit code {done.returncode}: {' '.join(str(word) for word in words)}\n{done.stdout}{done.stderr}")
        return done

    def stop_after(self, checkpoint, signal, *words, tries=5):
        """Starts a training, sends `signal` as soon as the checkpoint is there; again if the run was over too soon."""
        for _ in range(tries):
            process = subprocess.Popen([str(word) for word in words], cwd=self.dir, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE)
            deadline = time.monotonic() + 120
            while not (self.dir / checkpoint).exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.0005)
            process.send_signal(signal)
            process.communicate(timeout=120)
            if process.returncode != 0:
                return process.returncode
        sys.exit(f"FAIL  {tries} times the training was over before the signal came")


def tensors(checkpoint):
    """Name -> (type, shape, bytes) of every tensor of a checkpoint."""
    found = {}
    for shard in sorted(pathlib.Path(checkpoint).glob("*.safetensors")):
        raw = shard.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8:8 + size]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                found[name] = (entry["dtype"], entry["shape"], raw[8 + size + begin:8 + size + end])
    return found


def metrics(run):
    """The lines of metrics.jsonl with numbers as they are printed, without those that tell the time."""
    lines = []
    for text in (pathlib.Path(run) / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text, parse_float=str)
        line.pop("time_s")
        line.pop("tokens_per_s", None)
        lines.append(line)
    return lines


def fingerprint(folder):
    """Every file below a folder, with a hash of what is in it."""
    found = {}
    for base, folders, files in os.walk(folder):
        for name in files + folders:
            path = pathlib.Path(base) / name
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found
