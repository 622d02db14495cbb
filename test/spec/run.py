#!/usr/bin/env python3
"""Specs in, exact messages out.

  run.py MOEC [--update] [NAME...]

bad/NAME.json must be refused (exit code 1) with exactly the text of bad/NAME.expected. warned/NAME.json must be accepted
with exactly the warnings of warned/NAME.expected. {{*}} in an .expected file stands for a list of quoted words, which
grows with the methods of the tree. good/NAME.json must be accepted in silence, and survive JSON -> exp ->
JSON -> exp: both exp texts equal, both JSON texts equal. Specs of specs, samples and test/gpu/specs must be accepted, and
their data are all that may be missing. --update writes the .expected files: read the diff.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent
moec = str(pathlib.Path(sys.argv[1]).resolve())
update = "--update" in sys.argv
names = [word for word in sys.argv[2:] if not word.startswith("--")]
failures = []


def run(*words):
    done = subprocess.run([moec, *words], cwd=here, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def fail(name, what):
    failures.append(name)
    print(f"FAIL {name}: {what}")


WORDS = r'"[a-z0-9_]+"(?:, "[a-z0-9_]+")*'


def agrees(text, expected):
    """Whether the text is the expected one, with any list of words for each {{*}}."""
    return re.fullmatch(WORDS.join(re.escape(part) for part in expected.split("{{*}}")), text) is not None


def check_messages(path, is_accepted):
    code, out, err = run("check", f"{path.parent.name}/{path.name}")
    expected = path.with_suffix(".expected")
    if update and not (expected.exists() and agrees(err, expected.read_text())):
        expected.write_text(err)
    if code != (0 if is_accepted else 1) or out.startswith("ok: ") != is_accepted or bool(out) != is_accepted:
        fail(path.name, f"expected exit code {0 if is_accepted else 1}, got {code} and {out!r}")
    elif not expected.exists() or not agrees(err, expected.read_text()):
        fail(path.name, "expected\n" + (expected.read_text() if expected.exists() else "(no file)\n") + "got\n" + err)


def check_bad(path):
    check_messages(path, is_accepted=False)


def check_warned(path):
    check_messages(path, is_accepted=True)


def check_good(path):
    code, out, err = run("check", f"good/{path.name}")
    if code or err or not out.startswith("ok: "):
        return fail(path.name, f"exit code {code}\n{out}{err}")
    with tempfile.TemporaryDirectory() as folder:
        texts = {"json": [], "exp": []}
        source = f"good/{path.name}"
        for turn, kind in enumerate(["exp", "json", "exp", "json"]):
            target = f"{folder}/{turn}.{'mlir' if kind == 'exp' else 'json'}"
            code, out, err = run("export", source, "--to", kind, "-o", target)
            if code or err:
                return fail(path.name, f"export of turn {turn} to {kind}: exit code {code}\n{err}")
            texts[kind].append(pathlib.Path(target).read_text())
            source = target
        for kind, (first, second) in texts.items():
            if first != second:
                fail(path.name, f"round trip changes {kind}:\n{first}\nthen\n{second}")


def check_of_tree(path):
    """A spec that the tree is run with: warnings, if any, are of data that is elsewhere."""
    code, out, err = run("check", str(path))
    others = [line for line in err.splitlines() if ": note: " not in line and "warning[MOEC-S061]" not in line]
    if code or others:
        fail(path.name, f"exit code {code}\n" + "\n".join(others))


count = 0
for folder, check in (("bad", check_bad), ("warned", check_warned), ("good", check_good)):
    for path in sorted((here / folder).glob("*.json")):
        if not names or path.stem in names:
            count += 1
            check(path)
if not names:
    for pattern in ("specs/*/*.json", "samples/*/*.json", "test/gpu/specs/*.json"):
        for path in sorted((here / "../..").resolve().glob(pattern)):
            count += 1
            check_of_tree(path)
    # Every code has a spec that shows it. The others need hand-written IR (test/dialects/Exp) or a
    # member to be named (test/cli/sweep.test), or are warnings.
    table = (here / "../../docs/spec/errors.md").read_text()
    shown = "".join(path.read_text() for path in (here / "bad").glob("*.expected"))
    for code in sorted(set(re.findall(r"MOEC-S\d+", table)) - set(re.findall(r"MOEC-S\d+", shown))):
        if code not in ("MOEC-S023", "MOEC-S024", "MOEC-S028", "MOEC-S060", "MOEC-S061", "MOEC-S064", "MOEC-S079",
                        "MOEC-S080"):
            fail(code, "no bad spec shows it")

print(f"{count} specs, {len(failures)} failures")
sys.exit(bool(failures) or count == 0)
