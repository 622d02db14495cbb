// Style and script of the page. Without the script, only values under the pointer, sorting, and switching runs off are
// missing.
#include "compiler/tools/moec/report/Page.h"

const char *const moec::report::kPageStyle = R"css(
:root { color-scheme: light dark; --ink: #1d2330; --soft: #667085; --line: #d9dde5; --back: #fff; --panel: #f7f8fa;
  --0: #1f6fb4; --1: #e07b1a; --2: #2c9b57; --3: #c8373e; --4: #8457c0; --5: #8a6142; --6: #d764a8; --7: #6f7a86;
  --8: #a39a12; --9: #12a3b4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ee; --soft: #98a2b3; --line: #353c49; --back: #14181f;
  --panel: #1b2029; --0: #5aa9e6; --1: #f39c4a; --2: #5cc98a; --3: #f0737a; --4: #b08de6; --5: #c29a7a; --6: #ee92c8;
  --7: #a5afba; --8: #d6cc4c; --9: #4fd0de; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1.5rem 4rem; max-width: 1500px; background: var(--back); color: var(--ink);
  font: 14px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; } h3 { font-size: 1rem; }
p, small, figcaption small { color: var(--soft); } a { color: inherit; }
nav { position: sticky; top: 0; z-index: 2; background: var(--back); border-bottom: 1px solid var(--line);
  padding: .4rem 0; display: flex; flex-wrap: wrap; gap: .15rem .9rem; max-height: 7.5rem; overflow: auto; }
nav button { all: unset; cursor: pointer; } nav button:focus-visible { outline: 2px solid var(--0); }
nav button[aria-pressed=false] { opacity: .35; text-decoration: line-through; }
.chip { display: inline-block; width: 1.6em; height: 0; border-top: 3px solid; margin-right: .4em;
  vertical-align: middle; }
.chip.dash { border-top-style: dashed; } .chip.dots { border-top-style: dotted; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child, td.text, th.text { text-align: left; } th { color: var(--soft); font-weight: 600; }
table.sorts th { cursor: pointer; } td.best { font-weight: 700; } td.text { font-family: ui-monospace, monospace; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(440px, 100%), 1fr)); gap: 1rem; }
.charts.wide { grid-template-columns: repeat(auto-fill, minmax(min(640px, 100%), 1fr)); }
figure { margin: 0; padding: .6rem .8rem; background: var(--panel); border: 1px solid var(--line);
  border-radius: 8px; }
figcaption { font-weight: 600; } svg { display: block; width: 100%; height: auto; }
svg text { font-size: 11px; fill: var(--soft); } svg text.cell { font-size: 10px; }
  svg text.cell[fill="#fff"] { fill: #fff; }
svg text.cell[fill="#222"] { fill: #222; } .grid { stroke: var(--line); fill: none; } .axis { stroke: var(--soft);
  fill: none; }
.line { fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linejoin: round;
  vector-effect: non-scaling-stroke; }
.line.faint { opacity: .28; stroke-width: 1; } .line.dash { stroke-dasharray: 6 3; }
  .line.dots { stroke-dasharray: 2 3; }
.mark { fill: currentColor; } .off { display: none; } .pixels { image-rendering: pixelated; }
.bar img { width: 220px; height: 12px; vertical-align: middle; } .legend { margin: 0; font-size: 12px; }
.legend span { margin-right: .8em; }
.c0 { color: var(--0); } .c1 { color: var(--1); } .c2 { color: var(--2); } .c3 { color: var(--3); }
  .c4 { color: var(--4); }
.c5 { color: var(--5); } .c6 { color: var(--6); } .c7 { color: var(--7); } .c8 { color: var(--8); }
  .c9 { color: var(--9); }
summary { cursor: pointer; font-weight: 600; margin: .6rem 0; }
#tip { position: fixed; z-index: 3; pointer-events: none; display: none; background: var(--back); color: var(--ink);
  border: 1px solid var(--line); border-radius: 6px; padding: .35rem .6rem; font-size: 12px;
  box-shadow: 0 2px 10px #0003; }
#tip div { white-space: nowrap; } .cursor { stroke: var(--soft); stroke-dasharray: 3 3; }
@media print { nav { position: static; } }
)css";

const char *const moec::report::kPageScript = R"js(
"use strict";
(function () {
  var tip = document.getElementById("tip");
  function points(path) {
    if (!path.points)
      path.points = (path.getAttribute("d").match(/[ML][^ML]+/g) || []).map(function (p) {
        return p.slice(1).split(" ").map(Number);
      });
    return path.points;
  }
  function nearest(list, x) {
    var low = 0, high = list.length - 1;
    while (low < high) {
      var middle = (low + high) >> 1;
      if (list[middle][0] < x) low = middle + 1; else high = middle;
    }
    return low > 0 && x - list[low - 1][0] < list[low][0] - x ? list[low - 1] : list[low];
  }
  function value(axis, pixel) {
    return axis[0] + (pixel - axis[2]) / (axis[3] - axis[2]) * (axis[1] - axis[0]);
  }
  function short(v) { return Math.abs(v) >= 1e4 ? Math.round(v).toLocaleString("en") : String(+v.toPrecision(4)); }
  function row(text, colour) {
    var div = document.createElement("div");
    if (colour) {
      var chip = document.createElement("i");
      chip.className = "chip " + colour;
      div.appendChild(chip);
    }
    div.appendChild(document.createTextNode(text));
    return div;
  }
  document.querySelectorAll("svg.chart").forEach(function (svg) {
    var ax = svg.dataset.x.split(" ").map(Number), ay = svg.dataset.y.split(" ").map(Number);
    var cursor = document.createElementNS("http://www.w3.org/2000/svg", "path");
    cursor.setAttribute("class", "cursor");
    svg.appendChild(cursor);
    svg.addEventListener("mousemove", function (event) {
      var box = svg.getBoundingClientRect(), x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      if (x < ax[2] || x > ax[3]) return;
      tip.replaceChildren(row(svg.dataset.name + " " + short(value(ax, x))));
      svg.querySelectorAll("path[data-label]:not(.off)").forEach(function (path) {
        var list = points(path), p = list.length ? nearest(list, x) : null;
        var colour = path.getAttribute("class").replace("line", "");
        if (p) tip.appendChild(row(path.dataset.label + "  " + short(value(ay, p[1])), colour));
      });
      cursor.setAttribute("d", "M" + x + " " + ay[3] + "V" + ay[2]);
      tip.style.display = "block";
      tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
      tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8) + "px";
    });
    svg.addEventListener("mouseleave", function () {
      tip.style.display = "none";
      cursor.removeAttribute("d");
    });
  });
  document.querySelectorAll("nav button").forEach(function (button) {
    button.addEventListener("click", function () {
      var on = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", String(on));
      document.querySelectorAll(".runs [data-run=\"" + button.dataset.run + "\"]").forEach(function (part) {
        part.classList.toggle("off", !on);
      });
    });
  });
  document.querySelectorAll("table.sorts th").forEach(function (head) {
    head.addEventListener("click", function () {
      var table = head.closest("table"), body = table.tBodies[0], down = head.dataset.order === "up";
      head.dataset.order = down ? "down" : "up";
      Array.from(body.rows).sort(function (a, b) {
        var x = a.cells[head.cellIndex].textContent, y = b.cells[head.cellIndex].textContent;
        var m = parseFloat(x), n = parseFloat(y);
        var order = isNaN(m) || isNaN(n) ? isNaN(m) - isNaN(n) || x.localeCompare(y) : m - n;
        return down ? -order : order;
      }).forEach(function (line) { body.appendChild(line); });
    });
  });
  document.documentElement.dataset.ready = document.querySelectorAll("svg.chart").length;
})();
)js";
