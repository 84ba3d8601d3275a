"""How the report looks: on a screen from 320 pixels, light and dark, and on paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --bg: #fff; --fg: #1b1f24; --soft: #57606a; --line: #d0d7de; --card: #f6f8fa;
  --accent: #0b5cad; --ok: #116329; --bad: #b3151d; --warn: #7a4a00; --add: #e2f5e7; --del: #fdeaea; --ours: #dcebfb; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #0d1117; --fg: #e6edf3; --soft: #a3adb8; --line: #3a424c; --card: #161b22; --accent: #79bcff;
    --ok: #6bdc7f; --bad: #ff9a94; --warn: #e6b94f; --add: #10291a; --del: #34181a; --ours: #12304f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; background: var(--bg); color: var(--fg);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
a { color: var(--accent); }
code, pre, .mono { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .875em; }
p, ul, ol { margin: .25rem 0 .75rem; }
ul, ol { padding-left: 1.25rem; }
.soft { color: var(--soft); }
.ok { color: var(--ok); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.call { border-left: .3rem solid var(--accent); background: var(--card); padding: .75rem 1rem; }
.call.bad-edge { border-color: var(--bad); } .call.ok-edge { border-color: var(--ok); }
.call p:last-child, .call ul:last-child { margin-bottom: 0; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; padding: 0; }
nav a { display: inline-block; min-height: 1.75rem; }
.detail { display: block; color: var(--soft); font-size: .875em; white-space: pre-wrap; }
.lines > li { margin-bottom: .35rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem 2rem; }
figure { margin: 0 0 1rem; }
figcaption { color: var(--soft); font-size: .875rem; margin-bottom: .5rem; }
svg { display: block; width: 100%; max-width: 27rem; height: auto; }
svg text { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; fill: var(--fg); }
svg .small { font-size: 11px; fill: var(--soft); }
svg .bold { font-weight: 700; }
svg .box { fill: var(--card); stroke: var(--line); stroke-width: 1; }
svg .reached { stroke: var(--accent); stroke-width: 1.5; }
svg .here { fill: var(--ours); stroke: var(--accent); stroke-width: 3; }
svg .never { stroke-dasharray: 4 4; }
svg .way { stroke: var(--accent); fill: none; stroke-width: 2; }
svg .way.back { stroke: var(--warn); stroke-dasharray: 6 4; }
svg .way.open { stroke: var(--line); stroke-width: 1; stroke-dasharray: 2 4; }
svg .tip { fill: var(--accent); } svg .tip.back { fill: var(--warn); } svg .tip.open { fill: var(--line); }
svg .stop { fill: var(--bad); } svg .stop-word { fill: var(--bad); font-size: 11px; }
svg .back-word { fill: var(--warn); font-size: 11px; } svg .fore-word { fill: var(--accent); font-size: 11px; }
svg .ours { fill: var(--accent); }
svg .pill { fill: var(--bg); stroke: var(--line); } svg .pill.vfio { fill: var(--ours); stroke: var(--accent); }
.boots { list-style: none; padding: 0; }
.boots > li { border-left: .2rem solid var(--line); padding: 0 0 .5rem 1rem; }
.boots h3 { margin-top: 0; }
.rows { list-style: none; padding: 0; margin: .5rem 0; }
.rows > li { display: grid; grid-template-columns: 3rem 4.5rem minmax(8rem, 3fr) minmax(6rem, 4fr); gap: 0 .75rem;
  padding: .15rem 0; font-size: .875rem; }
.rows > li > span:first-child { text-align: right; }
@media (max-width: 40rem) {
  .rows > li { grid-template-columns: 2.5rem 4.5rem 1fr; }
  .rows > li > span:last-child { grid-column: 2 / -1; padding-bottom: .35rem; } }
details { border: 1px solid var(--line); border-radius: .3rem; margin: .35rem 0; background: var(--card); }
summary { cursor: pointer; padding: .45rem .75rem; }
details > :not(summary) { margin: 0 .75rem .75rem; }
pre { margin: .35rem 0 .75rem; padding: .6rem .75rem; overflow-x: auto; border: 1px solid var(--line);
  border-radius: .3rem; background: var(--bg); line-height: 1.4; overflow-wrap: normal; }
pre span { display: block; min-width: max-content; }
pre .add { background: var(--add); } pre .del { background: var(--del); } pre .hunk { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
@media print {
  :root { --bg: #fff; --fg: #000; --soft: #444; --line: #999; --card: #fff; --accent: #0b5cad; --ok: #116329;
    --bad: #b3151d; --warn: #7a4a00; --add: #eef8f0; --del: #fdf1f1; --ours: #e8f1fb; color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  pre span { min-width: 0; }
  h2, h3, figcaption, summary { break-after: avoid; }
  figure, .rows > li { break-inside: avoid; }
  svg { max-height: 22cm; }
  details::details-content { content-visibility: visible; block-size: auto; }
  details > * { display: block; } }
"""
