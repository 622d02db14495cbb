#!/usr/bin/env python3
"""The page of moec report in a browser: its script runs, shows values under the pointer, switches runs off, sorts. Skipped
where there is no Chromium.

  browser.py BIN_FOLDER [SCREENSHOT.png]      apt-get install chromium
"""
import json
import re
import shutil
import subprocess
import sys

from clilib import Test

# What a user does, and what then stands in the document.
ACTIONS = """
<script>//<![CDATA[
window.onerror = function (text) { document.documentElement.dataset.error = text; };
var chart = document.querySelector("svg.chart"), box = chart.getBoundingClientRect();
chart.dispatchEvent(new MouseEvent("mousemove", {clientX: box.left + box.width / 2, clientY: box.top + 50, bubbles: true}));
document.querySelector("nav button").click();
document.querySelectorAll("table.sorts th")[3].click();
//]]></script></body>"""

browser = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
if not browser:
    print("skipped: no chromium, chromium-browser or google-chrome (apt-get install chromium)")
    sys.exit(77)

with Test() as t:
    for name, start in (("b-run", 5.0), ("a-run", 4.0)):
        (t.dir / "runs" / name).mkdir(parents=True)
        (t.dir / "runs" / name / "metrics.jsonl").write_text("".join(
            json.dumps({"step": step, "split": "train", "loss": start - step / 10, "tokens_per_s": 5.0,
                        "expert_tokens": [[step, 10], [10, 10]]}) + "\n" for step in range(1, 21)))
    t.must(t.moec, "report", "runs")

    def load(page, *more):
        return subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={t.dir}/profile",
                               "--window-size=1400,2400", *more, f"file://{page}"], capture_output=True, text=True, timeout=120)

    page = t.dir / "report.html"
    if len(sys.argv) > 2:
        load(page, f"--screenshot={sys.argv[2]}", "--hide-scrollbars")
    acted = t.dir / "acted.html"
    acted.write_text(page.read_text().replace("</body>", ACTIONS))
    dom = load(acted, "--dump-dom").stdout
    t.check(re.search(r'<html[^>]* data-ready="[1-9]', dom) is not None, "the script ran to its end")
    t.check("data-error" not in dom.split("<head>")[0], "without errors")
    tip = re.search(r'<div id="tip"[^>]*>(.*?)</div></div>', dom, re.DOTALL)
    shown = re.sub(r"<[^>]*>", "|", tip.group(1)) if tip else ""
    value = {name: float(number) for name, number in re.findall(r"(a-run|b-run)\s+([\d.]+)", shown)}
    # Half-way is step 10 or 11.
    t.check(set(value) == {"a-run", "b-run"} and abs(value["a-run"] - 2.95) < 0.1 and abs(value["b-run"] - 3.95) < 0.1,
            f"values under the pointer: {shown}")
    t.check(re.search(r'aria-pressed="false" data-run="0"', dom) is not None and
            re.search(r'<path class="line[^"]* off" data-run="0"', dom) is not None, "a run switched off goes from the charts")
    rows = re.findall(r"<tr><td><i[^>]*></i>([ab]-run)</td>", dom)
    t.check(rows[:2] == ["a-run", "b-run"], f"sorted by train loss: {rows}")
