// Style and script of a run's page. The page is complete without the script, which only adds the values under the
// pointer and the copy buttons; it reads values back from the charts' paths (train/chart.h) and writes text, never
// HTML.
#pragma once

namespace centavo {

inline constexpr const char* kReportStyle = R"css(
:root {
  color-scheme: light dark;
  --paper: #f6f3ec; --card: #fffdf8; --ink: #211d18; --soft: #6d6559; --rule: #e3dccf; --grid: #ece6da;
  --first: #b0521d; --second: #14707a; --third: #7a5797; --bad: #c22f3d; --track: #ebe4d7;
  --m0: #b0521d; --m1: #14707a; --m2: #d29a3a; --m3: #7a5797; --m4: #5d8a4a; --m5: #c0697d; --m6: #4b6fae; --m7: #978c7c;
  --shadow: 0 1px 2px rgba(60, 45, 20, .05), 0 6px 20px rgba(60, 45, 20, .04);
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, Charter, Georgia, "Liberation Serif", serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #151311; --card: #1e1b18; --ink: #ece5d9; --soft: #a2988a; --rule: #36312b; --grid: #2b2723;
    --first: #e8935a; --second: #5fbcc4; --third: #b796d6; --bad: #f0727c; --track: #2f2a25;
    --m0: #d9824a; --m1: #4fa6ae; --m2: #d9ac58; --m3: #a685c6; --m4: #86b073; --m5: #d58a9b; --m6: #7d9bd3; --m7: #857b6d;
    --shadow: none;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 var(--sans); }
main { max-width: 1120px; margin: 0 auto; padding: 2.6rem 1.5rem 4rem; }
h1, h2, h3, p, figure, ol, ul, table, pre, blockquote, dl, dd { margin: 0; padding: 0; }
h1 { font: 600 2.6rem/1.1 var(--serif); letter-spacing: -.015em; overflow-wrap: anywhere; }
h2 { font: 600 1.5rem/1.2 var(--serif); letter-spacing: -.01em; margin: 3.2rem 0 1.1rem; }
h3 { font: 600 1rem/1.3 var(--sans); }
a { color: inherit; }
.card, .chart { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; box-shadow: var(--shadow); }
.number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
.note { color: var(--soft); font-size: .875rem; }

.brand { display: flex; align-items: center; gap: .55rem; color: var(--soft); font-size: .9rem; margin-bottom: 1.5rem; }
.coin { width: 1.55rem; height: 1.55rem; border-radius: 50%; background: var(--first); color: var(--card);
  display: grid; place-items: center; font: 700 1rem/1 var(--serif); box-shadow: inset 0 0 0 2px rgba(255, 255, 255, .25); }
.brand b { color: var(--ink); font-weight: 600; letter-spacing: .01em; }
.lead { margin-top: .7rem; color: var(--soft); }
.lead { display: flex; flex-wrap: wrap; }
.lead span { white-space: nowrap; }
.lead span:not(:last-child)::after { content: "·"; margin: 0 .5em; }
.progress { height: 6px; border-radius: 3px; background: var(--track); margin-top: 1.1rem; overflow: hidden; }
.progress div { height: 100%; background: var(--first); border-radius: 3px; }

.figures { display: grid; grid-template-columns: minmax(300px, 1.25fr) 2fr; gap: 1rem; margin-top: 1.9rem; }
.hero { padding: 1.4rem 1.6rem 1.5rem; display: flex; flex-direction: column; }
.label { color: var(--soft); font-size: .875rem; }
.hero .value { font: 600 3.6rem/1.05 var(--serif); letter-spacing: -.02em; margin: .25rem 0 .1rem; color: var(--first); }
.hero .value small { font: 400 1rem/1 var(--sans); letter-spacing: 0; color: var(--soft); }
.bars { margin-top: auto; padding-top: 1.2rem; display: grid; grid-template-columns: auto 1fr auto; gap: .45rem .75rem;
  align-items: center; font-size: .875rem; }
.bars i { display: block; height: 9px; border-radius: 5px; background: var(--first); }
.bars .other i { background: var(--m7); }
.bars > div { display: contents; }
.hero .note { margin-top: .7rem; }
.tiles { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem; }
.tile { padding: 1rem 1.2rem; display: flex; flex-direction: column; }
.tile .value { font: 600 1.6rem/1.2 var(--serif); letter-spacing: -.01em; margin: .15rem 0; font-variant-numeric: lining-nums;
  white-space: nowrap; }
.tile .note { line-height: 1.35; }
.tile.unknown .value { color: var(--soft); font-weight: 400; }

.charts { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
.chart { padding: 1rem 1.5rem .7rem .9rem; min-width: 0; display: flex; flex-direction: column; justify-content: space-between; }
.chart.wide { grid-column: 1 / -1; }
.charts .chart:last-child:nth-child(even) { grid-column: 1 / -1; }
figcaption { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem .6rem; padding-left: .4rem; margin-bottom: .9rem; }
.unit { color: var(--soft); font-size: .875rem; }
.legend { margin-left: auto; display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .8125rem; color: var(--soft); }
.key::before { content: ""; display: inline-block; width: 1rem; height: 0; border-top: 2.5px solid; margin-right: .4rem; vertical-align: .25em; border-radius: 2px; }
.key.first::before { border-color: var(--first); } .key.second::before { border-color: var(--second); }
.key.third::before { border-color: var(--third); }
.key.pale::before { opacity: .35; }
.key.dashed::before { border-top: 2px dotted var(--soft); border-radius: 0; }
.key.failed::before { border-color: var(--bad); }
.axes { display: grid; grid-template-columns: 3rem 1fr; }
.y-labels, .x-labels { position: relative; font-size: .75rem; line-height: 1; color: var(--soft); font-variant-numeric: tabular-nums; }
.y-labels span { position: absolute; right: .55rem; transform: translateY(-50%); white-space: nowrap; }
.x-labels { height: 1.9rem; }
.x-labels span { position: absolute; top: .6rem; transform: translateX(-50%); white-space: nowrap; }
.x-unit { font-size: .75rem; line-height: 1; color: var(--soft); padding: .6rem .55rem 0 0; text-align: right; }
.plot { position: relative; height: 200px; touch-action: pan-y; }
.wide .plot { height: 300px; }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; display: block; overflow: visible;
  clip-path: inset(-4px -5px); }
.plot path { fill: none; vector-effect: non-scaling-stroke; stroke-linecap: round; stroke-linejoin: round; }
.grid { stroke: var(--grid); stroke-width: 1; }
.resume { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 4; }
.failure { stroke: var(--bad); stroke-width: 1; opacity: .5; }
.level { stroke: var(--soft); stroke-width: 1.25; stroke-dasharray: 1 5; }
.level-name { position: absolute; right: .2rem; transform: translateY(-120%); font-size: .75rem; line-height: 1.2; color: var(--soft); background: var(--card); padding: 0 .25rem; border-radius: 3px; }
.level-name.below { transform: translateY(20%); }
.line { stroke-width: 2; }
.faint { stroke-width: 1; opacity: .3; }
.dots { stroke-width: 7; }
path.first { stroke: var(--first); } path.second { stroke: var(--second); } path.third { stroke: var(--third); }
.cursor { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--soft); opacity: .6; pointer-events: none; }
.readout { position: absolute; top: .3rem; z-index: 2; pointer-events: none; background: var(--ink); color: var(--paper);
  font-size: .78rem; line-height: 1.45; padding: .35rem .6rem; border-radius: 7px; white-space: nowrap; font-variant-numeric: tabular-nums; }
.readout b { font-weight: 600; }

.memory { padding: 1.3rem 1.6rem 1.4rem; }
.total b { font: 600 1.35rem/1.2 var(--serif); }
.total { color: var(--soft); }
.total b { color: var(--ink); }
.stack { display: flex; gap: 2px; height: 30px; border-radius: 7px; overflow: hidden; margin: .9rem 0 1rem; }
.stack span { min-width: 2px; flex-basis: 0; }
.m0 { background: var(--m0); } .m1 { background: var(--m1); } .m2 { background: var(--m2); } .m3 { background: var(--m3); }
.m4 { background: var(--m4); } .m5 { background: var(--m5); } .m6 { background: var(--m6); } .m7 { background: var(--m7); }
.hatched { background-image: repeating-linear-gradient(135deg, transparent 0 5px, rgba(255, 255, 255, .22) 5px 9px); }
.swatch { display: inline-block; width: .8rem; height: .8rem; border-radius: 3px; margin-right: .6rem; vertical-align: -.06rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
td, th { padding: .36rem 0; border-top: 1px solid var(--grid); vertical-align: baseline; text-align: left; font-weight: 400; }
tr:first-child > * { border-top: 0; }
td + td, th + td { padding-left: 1.2rem; }
.memory table { max-width: 34rem; }
.memory .note { margin-top: .8rem; max-width: 46rem; }

.samples { list-style: none; border-left: 2px solid var(--rule); margin-left: .4rem; }
.samples li { position: relative; display: grid; grid-template-columns: 8.5rem minmax(0, 1fr); gap: 0 1.4rem; padding: 0 0 1.4rem 1.6rem; }
.samples li:last-child { padding-bottom: 0; }
.samples li::before { content: ""; position: absolute; left: -7px; top: 1.35rem; width: 12px; height: 12px; border-radius: 50%;
  background: var(--paper); border: 2.5px solid var(--first); }
.samples li:last-child::before { background: var(--first); }
.when { padding-top: 1rem; font-size: .875rem; line-height: 1.45; color: var(--soft); font-variant-numeric: tabular-nums; }
.when b { color: var(--ink); font-weight: 600; display: block; }
.samples blockquote { padding: .95rem 1.2rem 1rem; font: 1.02rem/1.6 var(--serif); white-space: pre-wrap; overflow-wrap: anywhere;
  unicode-bidi: isolate; tab-size: 4; }
.prompt { color: var(--first); font-weight: 600; }

.facts { columns: 2; column-gap: 1rem; }
.facts .card { break-inside: avoid; padding: 1rem 1.3rem 1.1rem; margin-bottom: 1rem; }
.facts h3 { margin-bottom: .5rem; }
.facts th { color: var(--soft); width: 38%; overflow-wrap: anywhere; }
.facts td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.facts .key-name { overflow-wrap: normal; white-space: nowrap; }
.facts tr.group th { color: var(--ink); font-weight: 600; padding-top: .8rem; }
code, pre { font-family: var(--mono); font-size: .82rem; }
td code { overflow-wrap: anywhere; }
.steps { list-style: none; counter-reset: step; padding: 1.3rem 1.6rem 1.4rem; }
.steps > li { counter-increment: step; position: relative; padding: 0 0 1.3rem 2.7rem; }
.steps > li:last-child { padding-bottom: 0; }
.steps > li::before { content: counter(step); position: absolute; left: 0; top: -.05rem; width: 1.7rem; height: 1.7rem; border-radius: 50%;
  border: 1.5px solid var(--first); color: var(--first); font: 600 .95rem/1.55rem var(--serif); text-align: center; }
.code { position: relative; margin-top: .5rem; }
pre { background: var(--paper); border: 1px solid var(--rule); border-radius: 8px; padding: .75rem .95rem; overflow: auto; max-height: 21rem; line-height: 1.55; }
.copy { position: absolute; top: .4rem; right: .4rem; font: .75rem/1 var(--sans); color: var(--soft); background: var(--card); border: 1px solid var(--rule);
  border-radius: 6px; padding: .35rem .6rem; cursor: pointer; }
.copy:hover { color: var(--ink); }
footer { margin-top: 3rem; padding-top: 1.1rem; border-top: 1px solid var(--rule); color: var(--soft); font-size: .85rem; }

@media (max-width: 900px) {
  .figures { grid-template-columns: 1fr; }
  .bars { margin-top: 0; }
}
@media (max-width: 720px) {
  main { padding: 1.6rem 1rem 3rem; }
  h1 { font-size: 2rem; }
  h2 { margin-top: 2.4rem; }
  .charts { grid-template-columns: minmax(0, 1fr); }
  .tiles { grid-template-columns: 1fr 1fr; gap: .75rem; }
  .tile { padding: .8rem .95rem; }
  .tile .value { font-size: 1.35rem; }
  .hero { padding: 1.1rem 1.2rem 1.2rem; }
  .hero .value { font-size: 3rem; }
  .chart { padding: .9rem 1.3rem .5rem .4rem; }
  .axes { grid-template-columns: 2.7rem 1fr; }
  .wide .plot { height: 240px; }
  .legend { margin-left: 0; width: 100%; }
  .facts { columns: 1; }
  .samples li { grid-template-columns: minmax(0, 1fr); padding-left: 1.1rem; }
  .when { padding: .9rem 0 .5rem; }
  .when b { display: inline; margin-right: .6rem; }
  .memory, .steps { padding: 1.1rem 1rem 1.2rem; }
  .steps > li { padding-left: 2.3rem; }
}
@media print {
  body { background: none; }
  .copy { display: none; }
  .card, .chart, .samples li { break-inside: avoid; box-shadow: none; }
}
)css";

inline constexpr const char* kReportScript = R"js(
"use strict";
(() => {
  const element = (tag, name, parent) => {
    const made = document.createElement(tag);
    made.className = name;
    parent.append(made);
    return made;
  };

  // A path's d back to points in the plot's own units.
  const points = (path, plot) => {
    const d = plot.dataset, found = [];
    const x0 = +d.x0, x1 = +d.x1, y0 = +d.y0, y1 = +d.y1;
    for (const [, x, y] of path.getAttribute("d").matchAll(/[ML](\S+) (-?[\d.]+)/g)) {
      const up = 1 - y / 1000;
      found.push({ at: x / 1000, x: x0 + x / 1000 * (x1 - x0),
                   y: d.scale === "logarithmic" ? y0 * Math.pow(y1 / y0, up) : y0 + up * (y1 - y0) });
    }
    return found;
  };

  const nearest = (list, at) => {
    let low = 0, high = list.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (list[middle].at < at) low = middle; else high = middle;
    }
    return Math.abs(list[low].at - at) < Math.abs(list[high].at - at) ? list[low] : list[high];
  };

  const number = (value) => {
    const size = Math.abs(value);
    if (size >= 1e4) return Math.round(value).toLocaleString("en");
    if (size > 0 && size < 1e-3) return value.toExponential(2);
    return String(+value.toPrecision(4));
  };

  for (const plot of document.querySelectorAll(".plot")) {
    let lines = null, cursor = null, readout = null;
    const hide = () => { if (cursor) cursor.hidden = readout.hidden = true; };
    const show = (event) => {
      lines ??= [...plot.querySelectorAll("path[data-name]")].map((p) => ({ name: p.dataset.name, list: points(p, plot) }))
        .filter((line) => line.list.length > 0);
      if (lines.length === 0) return;
      cursor ??= element("div", "cursor", plot);
      readout ??= element("div", "readout", plot);
      cursor.hidden = readout.hidden = false;
      const box = plot.getBoundingClientRect();
      const at = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      const found = lines.map((line) => ({ name: line.name, point: nearest(line.list, at) }));
      const closest = found.reduce((a, b) => Math.abs(a.point.at - at) <= Math.abs(b.point.at - at) ? a : b).point;
      cursor.style.left = 100 * closest.at + "%";
      readout.replaceChildren();
      const steps = plot.dataset.x === "step";
      element("b", "", readout).textContent = steps ? "step " + Math.round(closest.x).toLocaleString("en")
                                                    : number(closest.x) + " " + plot.dataset.x;
      for (const { name, point } of found) {
        element("div", "", readout).textContent = name + " " + number(point.y) +
          (steps && Math.abs(point.at - at) > 0.01 ? " at " + Math.round(point.x).toLocaleString("en") : "");
      }
      const left = closest.at * box.width, width = readout.offsetWidth;
      readout.style.left = (left + 12 + width > box.width ? Math.max(0, left - 12 - width) : left + 12) + "px";
    };
    plot.addEventListener("pointermove", show);
    plot.addEventListener("pointerdown", show);
    plot.addEventListener("pointerleave", hide);
  }

  for (const block of navigator.clipboard ? document.querySelectorAll(".code") : []) {
    const button = element("button", "copy", block);
    button.textContent = "copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.querySelector("pre").textContent);
      button.textContent = "copied";
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
  }
})();
)js";

}  // namespace centavo
