#!/usr/bin/env python3
"""moec report: one page, whole in itself, with every run and the right numbers; odd names, torn and broken logs.

  report.py BIN_FOLDER [PAGE]      PAGE: keep the page of the main case here, for a look
"""
import json
import math
import os
import re
import shutil
import sys
import time
import xml.etree.ElementTree as ElementTree

from clilib import Test

SVG = "{http://www.w3.org/2000/svg}"


def parse(path):
    """The page as XML: raises when it is not well-formed."""
    return ElementTree.fromstring(path.read_text(encoding="utf-8"))


def texts(element):
    return [text for text in element.itertext()]


def table_rows(page):
    return [[("".join(cell.itertext())) for cell in row] for row in page.find(".//tbody")]


def charts(page):
    return [svg.get("aria-label") for svg in page.iter("svg") if svg.get("class") == "chart"]


with Test() as t:
    def write_run(folder, lines, tail="", name=None, spec=None, sources=None):
        path = t.dir / folder
        path.mkdir(parents=True)
        if spec is not None:
            run = {"format": 1, "name": name, "spec": spec, **({"sources": sources} if sources else {})}
            (path / "run.json").write_text(json.dumps(run))
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)

    def train_line(step, loss, **more):
        return {"step": step, "split": "train", "loss": loss, "time_s": step / 10, "tokens": step * 100,
                "tokens_per_s": 1000 + step % 3, **more}

    def report(*words):
        done = t.must(t.moec, "report", *words)
        return done.stdout, parse(t.dir / (words[words.index("-o") + 1] if "-o" in words else "report.html"))

    def spec(seed, weight):
        return {"seed": seed, "name": f"e{seed}", "duration": {"steps": 40}, "losses": {"load_balance": {"weight": weight}},
                "model": {"moe": {"layers": {"from": 1, "every": 2}}}}

    # Experts 0 and 1 serve the first source alone, 2 and 3 the second: one bit, ln 2. In the other layer there is none.
    told, untold = [[10, 10, 0, 0], [0, 0, 10, 10]], [[4, 4, 4, 4], [8, 8, 8, 8]]
    even, skewed = [10, 10, 10, 10], [40, 0, 0, 0]
    # Sources first in a row of the log, as moec writes them.
    main = [train_line(step, 5 - step / 10, grad_norm=1.5, expert_tokens=[even, skewed], routing_entropy=[step, step + 2.0],
                       expert_tokens_by_source=[sum(told, []), sum(untold, [])], bias=[0.1, 0.2, 0.3], **{"odd <metric>": step * 2.0})
            for step in range(1, 41)]
    main.append({"step": 40, "split": "validation", "loss": 1.2345, "unigram_baseline": 3.25, "time_s": 4.1})
    write_run("sweep/<script>alert('x')&", main, name="<b>bold</b>", spec=spec(1, 0.01), sources=["prose", 'a"<i>b'])
    write_run("sweep/plain", main[:30], tail='{"step": 31, "split": "tra', name="two", spec=spec(2, 0.5), sources=["prose", "code"])
    (t.dir / "sweep/plain.moec").write_text("a plan")  # beside run folders, not one

    out, page = report("sweep")
    raw = (t.dir / "report.html").read_text()
    t.check(out.startswith("report.html: 2 runs, "), f"it says what it wrote: {out.strip()}")
    if len(sys.argv) > 2:
        shutil.copy(t.dir / "report.html", sys.argv[2])

    # Whole in itself.
    links = [value for element in page.iter() for key, value in element.attrib.items()
             if key.split("}")[-1] in ("src", "href", "srcset", "data", "action", "poster")]
    t.check(len(links) > 2 and all(link.startswith("data:image/png;base64,") for link in links), f"{len(links)} links, all of them data")
    t.check(not any(element.tag in ("link", "iframe", "object", "embed", "base") for element in page.iter()), "no elements that fetch")
    t.check("@import" not in raw and "url(" not in raw and "fetch(" not in raw and "XMLHttp" not in raw, "no styles or scripts that fetch")
    t.check(len([1 for element in page.iter("script")]) == 1 and len(re.findall("<script", raw)) == 1, "one script, the page's own")
    t.check(not any(key.startswith("on") for element in page.iter() for key in element.attrib), "no handlers in attributes")

    # Every run, escaped.
    rows = table_rows(page)
    t.check([row[0] for row in rows] == ["<script>alert('x')&", "plain"], f"every run, names as they are: {[row[0] for row in rows]}")
    t.check("&lt;script&gt;alert(&#39;x&#39;)&amp;" in raw and "<b>bold" not in raw and 'a"<i>b' not in raw, "strings are escaped")
    t.check(rows[0][10] == "<b>bold</b>" and any(text == 'a"<i>b' for text in texts(page)), "and read back as they were")
    t.check(rows[0][1] == "40, done" and rows[1][1] == "30 of 40", f"how far each has come: {rows[0][1]}; {rows[1][1]}")
    t.check(rows[0][4] == "1.2345" and rows[0][6] == "3.2500" and rows[1][4] == "-", f"validation: {rows[0][4]}, {rows[1][4]}")
    t.check(rows[0][8] == "1001" and rows[0][9] == "0:04", f"median speed, time: {rows[0][8]}, {rows[0][9]}")
    # Layer 0 is even (0), all of layer 1 is on one of four experts (3).
    t.check(rows[0][7] == "1.500", f"max violation, mean over layers: {rows[0][7]}")

    names = charts(page)
    wanted = ["train loss", "validation loss", "validation loss by time", "max violation, mean over layers", "entropy of loads, mean over layers",
              "grad_norm", "odd <metric>", "routing_entropy, mean", "bias, mean", "throughput: tokens/s", "mutual information in nats, mean over layers"]
    t.check(all(name in names for name in wanted), f"a chart for every metric: {names}")
    t.check(not any(name in names for name in ("tokens", "time_s", "loss")), "and none for what is no metric")
    captions = ["".join(caption.itertext()) for caption in page.iter("figcaption")]
    t.check("layer 1: 0.6931 nats" in captions and "layer 3: 0 nats" in captions, "mutual information of each layer, layers by their place")
    cells = [title.text for title in page.iter("title")]
    t.check("prose, expert 0: 2" in cells and "prose, expert 2: 0" in cells, "shares of sources")
    # The line through the points: 5 - step/10 at its ends, read back from pixels.
    chart = next(svg for svg in page.iter("svg") if svg.get("aria-label") == "odd <metric>")
    x, y = ([float(word) for word in chart.get(f"data-{axis}").split()] for axis in "xy")
    points = [[float(word) for word in part.split()] for part in re.findall(r"[ML]([^ML]+)", next(
        path for path in chart.iter("path") if path.get("data-run") == "0").get("d"))]
    back = [(x[0] + (px - x[2]) / (x[3] - x[2]) * (x[1] - x[0]), y[0] + (py - y[2]) / (y[3] - y[2]) * (y[1] - y[0])) for px, py in points]
    t.check(len(back) == 40 and all(math.isclose(b, 2 * a, abs_tol=0.02) for a, b in back), f"points are where they belong: {back[:2]}")

    # The differences: the weight and the seed, nothing else.
    last = list(page.iter("table"))[-1]
    difference = [["".join(cell.itertext()) for cell in row] for row in last.iter("tr")]
    t.check(difference == [["key", "losses.load_balance.weight", "seed"], ["<script>alert('x')&", "0.01", "1"], ["plain", "0.5", "2"]],
            f"differences: {difference}")

    # The same bytes again; a single run, a file, the same twice, folders of the same name.
    report("sweep", "-o", "again.html")
    t.check((t.dir / "again.html").read_bytes() == (t.dir / "report.html").read_bytes(), "the same runs, the same bytes")
    shutil.copytree(t.dir / "sweep/plain", t.dir / "other/plain")
    out, page = report("sweep/plain/metrics.jsonl", "other/plain", "other/plain/")
    t.check([row[0] for row in table_rows(page)] == ["sweep/plain", "other/plain", "other/plain (2)"],
            f"labels that differ: {[row[0] for row in table_rows(page)]}")
    out, page = report("sweep/plain", "-o", "one.html")
    t.check("1 run," in out and [row[0] for row in table_rows(page)] == ["plain"], "one run")

    # Seeds: specs that differ only in the seed.
    for seed, loss in ((1, 2.0), (2, 2.2)):
        write_run(f"seeds/s{seed}", [train_line(1, 3), {"step": 1, "split": "validation", "loss": loss}], name="s", spec=spec(seed, 1))
    out, page = report("seeds")
    seeds = [["".join(cell.itertext()) for cell in row] for row in list(page.iter("tbody"))[1]]
    t.check(seeds[0][:2] == ["s1, s2", "2"] and seeds[0][3] == "2.1000 \u00b1 0.1414", f"mean and deviation over seeds: {seeds}")

    # A run that went bad: its last loss is none, it is not the best, and a mean over seeds says that it is left out.
    write_run("seeds/s3", [train_line(1, None), {"step": 1, "split": "validation", "loss": None}], name="s", spec=spec(3, 1))
    write_run("seeds/s4", [train_line(1, 1e308), {"step": 1, "split": "validation", "loss": 1e308}], name="s", spec=spec(4, 1))
    write_run("seeds/s5", [train_line(1, 1e308)], name="other", spec=spec(5, 2))
    out, page = report("seeds")
    rows = {row[0]: row for row in table_rows(page)}
    t.check(rows["s3"][3] == "not finite" and rows["s3"][4] == "not finite", f"a run that went bad: {rows['s3']}")
    t.check(any("The last loss is not finite: s3." in text for text in texts(page)), "is named")
    t.check(any("not compared for the best: s5." in text for text in texts(page)), "and so is one that has no validation loss")
    seeds = [["".join(cell.itertext()) for cell in row] for row in list(page.iter("tbody"))[1]]
    t.check(seeds[0][1] == "4" and seeds[0][3].endswith("(3 of 4)"), f"how many a mean is of: {seeds}")
    shown = [text for text in texts(page) if re.search(r"(?<![a-z])-?(nan|inf)(?![a-z])", text) and "function" not in text]
    t.check(not shown, f"no NaN or infinity is printed as a number: {shown[:3]}")

    # Logs of all kinds.
    (t.dir / "odd/empty").mkdir(parents=True)
    (t.dir / "odd/empty/metrics.jsonl").write_text("")
    (t.dir / "odd/new").mkdir()
    (t.dir / "odd/new/run.json").write_text('{"name": "new"}')
    write_run("odd/broken", [train_line(1, None), train_line(2, 3.5, ragged=[[1], [2, 3]], words="x", deep=[[[1, 2], [3, 4]]]),
                             train_line(3, 3.25)], tail="\x00\xff garbage\n[1]\n{\"step\": 4}\n\n")
    os.makedirs(os.fsencode(t.dir / "odd") + b"/bytes\xff\x01")
    (t.dir / "odd" / os.fsdecode(b"bytes\xff\x01") / "metrics.jsonl").write_text(json.dumps(train_line(1, 2)) + "\n")
    out, page = report("odd")
    rows = {row[0]: row for row in table_rows(page)}
    t.check(set(rows) == {"empty", "new", "broken", "bytes\\xff\\x01"}, f"odd runs: {set(rows)}")
    t.check(rows["broken"][3] == "3.2500" and rows["empty"][1] == "0" and rows["new"][3] == "-", f"odd logs: {rows['broken']}")
    t.check(any("broken: 3 lines could not be read" in text for text in texts(page)), "lines that are none are counted")

    # Another number of tokens per step: the axis is tokens.
    write_run("tokens/a", [train_line(step, 3) for step in range(1, 9)])
    write_run("tokens/b", [{**train_line(step, 3), "tokens": step * 250} for step in range(1, 9)])
    out, page = report("tokens")
    t.check({svg.get("data-name") for svg in page.iter("svg") if svg.get("class") == "chart"} == {"tokens"}, "x is tokens where steps differ")

    # A long log: thinned, and peaks survive.
    start = time.monotonic()
    write_run("long", [train_line(step, 2 + (step == 33333) * 0.5 + step % 7 / 100, expert_tokens=[even, skewed]) for step in range(1, 60001)])
    begin = time.monotonic()
    out, page = report("long", "-o", "long.html")
    seconds, size = time.monotonic() - begin, (t.dir / "long.html").stat().st_size
    t.check(size < 400_000, f"60000 lines make {size} bytes in {seconds:.1f} s")
    chart = next(svg for svg in page.iter("svg") if svg.get("aria-label") == "train loss")
    y = [float(word) for word in chart.get("data-y").split()]
    raw = next(path for path in chart.iter("path") if "faint" in (path.get("class") or ""))
    heights = [y[0] + (float(part.split()[1]) - y[2]) / (y[3] - y[2]) * (y[1] - y[0]) for part in re.findall(r"[ML]([^ML]+)", raw.get("d"))]
    t.check(len(heights) <= 800 and abs(max(heights) - 2.56) < 0.01, f"{len(heights)} points, the peak is {max(heights):.3f}")

    # What is no run.
    done = t.run(t.moec, "report", "nowhere")
    t.check(done.returncode == 1 and "nowhere: there is no such file or folder" in done.stderr, f"nothing there: {done.stderr.strip()}")
    (t.dir / "hollow").mkdir()
    done = t.run(t.moec, "report", "hollow")
    t.check(done.returncode == 1 and "neither a run folder nor a folder of runs" in done.stderr, f"no run: {done.stderr.strip()}")
    t.check(t.run(t.moec, "report").returncode == 2, "no argument: exit code 2")
