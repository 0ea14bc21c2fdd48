'use strict';
// Contexts: text with coloured tokens, residues with their annotations below.
(function () {
  const D = Dashboard;
  const { h } = D;
  const CELL = 12;
  const LANES = 3;

  /** Tokens of a context. */
  D.tokens = function (context) {
    if (!context.ends) return [...context.text];
    let from = 0;
    return context.ends.map((end) => {
      const token = context.text.slice(from, end);
      from = end;
      return token;
    });
  };

  function values(context, n) {
    const found = new Float32Array(n);
    if (context.whole) return found.fill(context.whole);
    context.at.forEach((place, i) => { if (place < n) found[place] = context.v[i]; });
    return found;
  }

  function visible(token) {
    return token.replace(/\r?\n/g, '⏎').replace(/\t/g, '⇥');
  }

  /** Annotated stretches in as few lanes as they need. */
  function lanes(notes) {
    const ends = [];
    return notes.map(([start, end, code]) => {
      let lane = ends.findIndex((last) => last <= start);
      if (lane < 0) lane = ends.push(0) - 1;
      ends[lane] = end;
      return { start, end, code, lane };
    });
  }

  /** The kinds of one page take their colours in order: as many differ as there are colours. */
  function shade(kinds, code) {
    return D.colour(kinds[code] ? Object.keys(kinds).indexOf(String(code)) : Number(code));
  }

  function annotations(context, kinds) {
    const placed = lanes(context.notes || []).filter((one) => one.lane < LANES);
    if (!placed.length) return null;
    const box = h('div.notes');
    box.style.setProperty('height', `${(Math.max(...placed.map((one) => one.lane)) + 1) * 9}px`);
    for (const { start, end, code, lane } of placed) {
      const [type, label] = kinds[code] || ['', ''];
      const told = [type, label].filter(Boolean).join(': ');
      const bar = h('span.note', { 'data-at': code });
      bar.style.setProperty('left', `${start * CELL}px`);
      bar.style.setProperty('width', `${(end - start) * CELL - 2}px`);
      bar.style.setProperty('top', `${lane * 9}px`);
      bar.style.setProperty('background', shade(kinds, code));
      box.append(D.tip(bar, `${told}\n${context.start + start + 1}–${context.start + end}`));
    }
    return box;
  }

  /** What the mouse is told on each token. */
  function hover(context, tokens, v, kinds) {
    return (target) => {
      const i = Number(target.dataset && target.dataset.at);
      if (Number.isNaN(i) || !target.dataset.at) return null;
      const here = (context.notes || []).filter(([a, b]) => i >= a && i < b).map(([, , code]) => (kinds[code] || []).filter(Boolean).join(': '));
      const what = context.ends ? `“${tokens[i]}”` : `${tokens[i]} ${context.start + i + 1}`;
      return [what, v[i] > 0 ? `activation ${D.number(v[i])}` : 'silent', ...here].join('\n');
    };
  }

  function marked(tokens, v, max, isText) {
    let peak = -1;
    v.forEach((value, i) => { if (value > 0 && (peak < 0 || value > v[peak])) peak = i; });
    return tokens.map((token, i) => {
      const level = D.level(v[i], max);
      const names = (level >= 0 ? `a${level}` : '') + (i === peak ? ' peak' : '');
      return h('span', { class: names.trim() || null, 'data-at': i }, isText ? visible(token) : token);
    });
  }

  /** One context: its tokens, coloured by activation as a share of `max`; residues with annotations. */
  D.context = function (context, { max, kinds = {}, lead = null, slug = null } = {}) {
    const tokens = D.tokens(context);
    const v = values(context, tokens.length);
    const isText = Boolean(context.ends);
    const line = h(isText ? 'div.tokens.words' : 'div.tokens.residues', { dir: 'ltr' }, marked(tokens, v, max || Math.max(...v, 1e-9), isText));
    D.tip(line, hover(context, tokens, v, kinds));
    const range = isText ? `token ${(context.start + 1).toLocaleString('en')} of ${context.of.toLocaleString('en')}`
      : `${context.start + 1}–${context.start + tokens.length} of ${context.of.toLocaleString('en')}`;
    const name = context.title || (isText ? `document ${context.id}` : context.id);
    const link = slug && D.views.has('protein') ? h('a.name', { href: D.link([slug, 'protein', context.row], { at: context.start + 1 }), title: name }, name)
      : h('span.name', { title: name }, name);
    const top = h('div.source', lead, link, context.title ? h('span.muted.id', context.id) : null, h('span.muted.range', range),
      h('span.muted.top-value', context.whole || v.some((x) => x > 0) ? D.number(Math.max(...v)) : 'silent'));
    const body = isText ? line : h('div.strip', { tabIndex: 0, role: 'group', 'aria-label': `residues of ${context.id}` }, line, annotations(context, kinds));
    return h('div.context', top, body);
  };

  /** What colours stand for in some contexts. */
  D.legend = function (kinds, codes) {
    const names = [...codes].filter((code) => kinds[code]);
    if (!names.length) return null;
    return h('div.legend', names.slice(0, 12).map((code) => {
      const swatch = h('span.swatch');
      swatch.style.setProperty('background', shade(kinds, code));
      return h('span', swatch, kinds[code].filter(Boolean).join(': '));
    }));
  };
})();
