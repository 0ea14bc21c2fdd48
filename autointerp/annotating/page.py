"""Annotated sequences as one HTML page that loads nothing: point at a feature and its tokens are coloured."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator

import orjson

from autointerp.annotating.firing import Annotated, Firing
from autointerp.annotating.writing import named_terms, said
from autointerp.report.page import STYLE

LINE = 60
"""Residues of a line, in blocks of ten."""
OWN_STYLE = """
.seq{font:13px/1.9 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere;
position:sticky;top:0;background:var(--paper);padding:.5rem 0;max-height:45vh;overflow-y:auto;
border-bottom:1px solid var(--line)}
.seq i{font-style:normal;border-radius:2px}.seq b{font-weight:400;color:var(--quiet);user-select:none}
tr[data-f]{cursor:pointer}tr.on td{background:var(--faint)}
tr[data-f]:focus{outline:2px solid var(--dot);outline-offset:-2px}
"""
SCRIPT = """
for (const part of document.querySelectorAll('section')) {
  const data = JSON.parse(part.querySelector('script').textContent);
  const tokens = part.querySelectorAll('.seq i'), note = part.querySelector('.note');
  let kept = null;
  function show(row) {
    for (const t of tokens) { t.style.background = t.style.color = ''; t.title = ''; }
    for (const r of part.querySelectorAll('tr[data-f]')) r.classList.toggle('on', r === row);
    note.textContent = '';
    if (!row) return;
    const f = data[+row.dataset.f];
    const top = f.max / (f.share || 1);
    f.positions.forEach((p, i) => {
      const share = Math.min(f.values[i] / top, 1), t = tokens[p];
      t.style.background = `rgb(230 120 0 / ${(0.15 + 0.85 * share).toFixed(3)})`;
      if (share > 0.45) t.style.color = '#000';
      t.title = `${p + 1}: ${f.values[i]}`;
    });
    note.textContent = `· feature ${f.feature}`;
  }
  part.addEventListener('mouseover', e => show(e.target.closest('tr[data-f]') || kept));
  part.addEventListener('click', e => {
    const row = e.target.closest('tr[data-f]');
    if (row) { kept = kept === row ? null : row; show(kept); }
  });
  part.addEventListener('keydown', e => {
    const row = e.target.closest('tr[data-f]');
    if (row && (e.key === 'Enter' || e.key === ' ')) { e.preventDefault(); kept = row; show(row); }
  });
  show(kept = part.querySelector('tr[data-f]'));
}
"""
HEADER = ("feature", "share of max", "max", "peak", "tokens", "explanation", "concept", "GO", "family")


def html_pieces(found: Iterable[Annotated], title: str, *, protein: bool) -> Iterator[str]:
    """The page, a sequence at a time.

    Parameters
    ----------
    protein : sequences in numbered lines of 60 residues; else as running text.
    """
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{OWN_STYLE}</style></head><body><h1>{html.escape(title)}</h1>"
        '<p class="quiet">Point at a row to colour its tokens; click to keep it. Darker is closer to the feature’s '
        "maximum in its corpus.</p>"
    )
    for one in found:
        yield _section(one, protein)
    yield f"<script>{SCRIPT}</script></body></html>\n"


def _section(one: Annotated, protein: bool) -> str:
    head = "".join(f"<th>{name}</th>" for name in HEADER)
    rows = "".join(_row(i, firing, one) for i, firing in enumerate(one.firings))
    drawn = [{name: value for name, value in f.as_json().items() if name != "about"} for f in one.firings]
    # < closes no script and opens no comment when it is written as an escape
    data = orjson.dumps(drawn).decode().replace("<", "\\u003c")
    told = f"{one.n_tokens:,} tokens, {one.n_fired:,} features fire, {len(one.firings):,} shown"
    table = f'<div class="table"><table><tr>{head}</tr>{rows}</table></div>' if rows else ""
    return (
        f"<section><h2>{html.escape(one.id)}</h2><p class='quiet'>{told} <span class='note'></span></p>"
        f'<div class="seq">{_tokens(one, protein)}</div>{table}'
        f'<script type="application/json">{data}</script></section>'
    )


def _tokens(one: Annotated, protein: bool) -> str:
    shown = [f"<i>{html.escape(token)}</i>" for token in one.tokens]
    if not protein:
        return "".join(shown)
    width = len(str(one.n_tokens))
    lines = []
    for begin in range(0, len(shown), LINE):
        stop = min(begin + LINE, len(shown))
        blocks = " ".join("".join(shown[a : min(a + 10, stop)]) for a in range(begin, stop, 10))
        lines.append(f"<b>{begin + 1:>{width}} </b>{blocks}")
    return "\n".join(lines)


def _row(i: int, firing: Firing, one: Annotated) -> str:
    about = firing.about
    where = f"{one.tokens[firing.peak]}{firing.peak + 1}" if firing.peak >= 0 else ""
    share = "" if firing.share is None else f"{firing.share:.2f}"
    concept = about.get("concept", "")
    if concept and about.get("concept_f1") is not None:
        concept = f"{concept} (F1 {about['concept_f1']:.2f})"
    numbers = (firing.feature, share, f"{firing.max:.3g}", where, f"{firing.coverage:.1%}")
    words = (said(about), concept, named_terms(about), about.get("family", ""))
    cells = "".join(f'<td class="n">{html.escape(str(n))}</td>' for n in numbers)
    cells += "".join(f"<td>{html.escape(str(word))}</td>" for word in words)
    return f'<tr data-f="{i}" tabindex="0">{cells}</tr>'
