"""The look of the report: one style sheet for light screens, dark screens and paper.

Colours are variables, so that a plot names what it draws (`c0`, `reference`, `alarm`) and never how it looks. Every status
is also a word on the page: nothing rests on colour alone.
"""

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b2430; --soft: #5b6775; --rule: #dfe4ea; --panel: #f6f8fa;
  --c0: #2667b5; --c1: #d9730d; --c2: #2b8a5a; --c3: #8250c4; --c4: #b83280; --c5: #567189;
  --ok: #2b8a5a; --warn: #b97900; --alarm: #c62f2f; --insufficient: #7d8894; --reference: #4c5663;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12161c; --ink: #e4e9ef; --soft: #9aa7b4; --rule: #2b333d; --panel: #1a2028;
    --c0: #6aa9f2; --c1: #f2a355; --c2: #62c495; --c3: #b794f0; --c4: #ee87bb; --c5: #9fb4c7;
    --ok: #62c495; --warn: #e6b450; --alarm: #f4776f; --insufficient: #8c98a5; --reference: #b6c0cb;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1160px; padding: 28px 24px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 10px; padding-top: 14px; border-top: 1px solid var(--rule); }
h3 { font-size: 15px; margin: 22px 0 6px; }
a { color: var(--c0); }
p { margin: 6px 0; max-width: 100ch; }
.soft, .legend, .nothing, caption, figcaption { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0 0 6px; }
th, td { text-align: right; padding: 5px 8px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); vertical-align: bottom; white-space: normal; }
th.name, td.name { text-align: left; }
td.wrap { white-space: normal; }
td small { color: var(--soft); }
.status { display: inline-block; padding: 0 7px; border-radius: 9px; border: 1px solid currentColor; font-size: 12px; }
.status.ok { color: var(--ok); } .status.warn { color: var(--warn); }
.status.alarm { color: var(--alarm); font-weight: 600; } .status.insufficient { color: var(--insufficient); }
.first { background: var(--panel); border-left: 4px solid var(--c0); padding: 10px 18px; margin: 18px 0; }
.first.alarm { border-color: var(--alarm); } .first.warn { border-color: var(--warn); }
.first.ok { border-color: var(--ok); } .first.insufficient { border-color: var(--insufficient); }
.first ul { margin: 6px 0; padding-left: 20px; }
.grid2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 10px 32px; }
figure { margin: 8px 0; break-inside: avoid; }
figcaption { margin-bottom: 2px; color: var(--ink); font-weight: 600; }
figcaption small { color: var(--soft); font-weight: 400; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; }
dt { font-weight: 600; } dd { margin: 0; }
svg.plot { width: 100%; height: auto; max-width: 720px; display: block; }
svg.meter { width: 120px; height: 14px; vertical-align: middle; }
svg text { font: 11px system-ui, "DejaVu Sans", sans-serif; fill: var(--soft); }
svg .end, svg .gatename { text-anchor: end; } svg .mid { text-anchor: middle; }
.grid { stroke: var(--rule); stroke-width: 1; }
.track { fill: var(--rule); opacity: .55; }
.gate { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 3; }
.count { fill: var(--soft); opacity: .35; }
.hollow { fill: var(--paper); stroke-width: 1.2; }
svg .gatename { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
path { fill: none; stroke-width: 1.7; stroke-linejoin: round; }
path.reference { stroke: var(--reference); stroke-width: 1.6; }
.fill.ok { fill: var(--ok); } .fill.warn { fill: var(--warn); }
.fill.alarm { fill: var(--alarm); } .fill.insufficient { fill: var(--insufficient); }
.fill.c0 { fill: var(--c0); } .fill.c1 { fill: var(--c1); } .fill.c2 { fill: var(--c2); }
.fill.c3 { fill: var(--c3); } .fill.c4 { fill: var(--c4); } .fill.c5 { fill: var(--c5); }
.stroke.c0 { stroke: var(--c0); } .stroke.c1 { stroke: var(--c1); } .stroke.c2 { stroke: var(--c2); }
.stroke.c3 { stroke: var(--c3); } .stroke.c4 { stroke: var(--c4); } .stroke.c5 { stroke: var(--c5); }
.stroke { stroke-width: 1.7; }
.band { stroke: none; opacity: .16; }
.band.c0 { fill: var(--c0); } .band.c1 { fill: var(--c1); } .band.c2 { fill: var(--c2); }
.band.c3 { fill: var(--c3); } .band.c4 { fill: var(--c4); } .band.c5 { fill: var(--c5); }
.legend span { margin-right: 18px; white-space: nowrap; }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 6px; vertical-align: -1px; }
.key.c0 { background: var(--c0); } .key.c1 { background: var(--c1); } .key.c2 { background: var(--c2); }
.key.c3 { background: var(--c3); } .key.c4 { background: var(--c4); } .key.c5 { background: var(--c5); }
.key.reference { height: 0; border-top: 2px solid var(--reference); border-radius: 0; width: 16px; vertical-align: 4px; }
@media print {
  :root { --paper: #fff; --ink: #000; --soft: #444; --rule: #ccc; --panel: #f4f4f4; }
  body { max-width: none; padding: 0; font-size: 11px; }
  table { font-size: 10px; } th, td { padding: 3px 6px; }
  h2 { break-after: avoid; } tr, .first { break-inside: avoid; }
  .fill, .band, .key, .track { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .scroll { overflow: visible; } .grid2 { grid-template-columns: 1fr 1fr; gap: 4px 18px; }
  .status, .soft, .legend, figcaption { font-size: 9.5px; }
}
"""
