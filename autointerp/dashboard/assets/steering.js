'use strict';
// Steer: clamp or scale a feature, and see how the subject's predictions change.
(function () {
  const D = Dashboard;
  const { h } = D;

  /** Probabilities of one token, before and after. */
  function change([token, before, after], most) {
    const bar = (share, kind) => {
      const one = h(`span.${kind}`);
      one.style.setProperty('width', `${Math.max(1, (share / most) * 100)}%`);
      return one;
    };
    const shown = token === '' ? '∅' : token.replace(/\n/g, '⏎').replace(/\t/g, '⇥').replace(/^ /, '␣');
    return h('div.change', { title: `${(before * 100).toFixed(1)} % → ${(after * 100).toFixed(1)} %` }, h('code', shown), h('span.pair', bar(before, 'was'), bar(after, 'is')),
      h('span.num.small', `${(before * 100).toFixed(1)} → ${(after * 100).toFixed(1)}`));
  }

  function results(found, place, box) {
    const tokens = D.tokenNames(found.text, found.ends);
    const sparse = (v) => {
      const at = [];
      const kept = [];
      v.forEach((x, i) => { if (x > 0) { at.push(i); kept.push(x); } });
      return { at, v: kept };
    };
    const top = Math.max(...found.before, ...found.after, 1e-9);
    const most = Math.max(...found.kl, 1e-9);
    const href = D.link([place.run.slug, 'feature', found.feature]);
    const rows = [{ key: 'before', name: 'before', label: 'activation', href, track: sparse(found.before), top }, { key: 'after', name: 'after', label: 'activation', href, track: sparse(found.after), top },
      { key: 'kl', name: 'change', label: 'KL divergence, nats', href, track: sparse(found.kl), top: most, side: D.number(most, 2) }];
    const tracks = D.tracks({ n: found.n, rows, tokens, isText: Boolean(found.ends) });
    const mean = found.kl.reduce((a, b) => a + b, 0) / found.n;
    const head = found.causal ? 'The next token, where it changes most' : 'Masked one at a time, what the model fills in';
    const table = h('div.scrolls', h('table.table.steered', h('thead', h('tr', h('th.num', 'position'), h('th', found.causal ? 'after' : 'residue'), h('th.num', found.causal ? 'KL' : 'KL, masked'), h('th', 'likeliest: before → after, %'))),
      h('tbody', found.rows.map((row) => {
        const best = Math.max(...row.tokens.map((one) => Math.max(one[1], one[2])), 1e-9);
        return h('tr', h('td.num', (row.at + 1).toLocaleString('en')), h('td', h('code', row.token)), h('td.num', D.number(row.kl, 2)), h('td', h('div.changes', row.tokens.map((one) => change(one, best)))));
      }))));
    D.fill(box, h('section.card', { 'data-steered': found.feature }, h('header', h('h2', 'Along the sequence'), h('span.muted.small', `mean divergence ${D.number(mean, 2)} nats a token, at ${found.hook}`)), tracks.element),
      h('section.card', h('header', h('h2', head)), table));
    D.announce(`steered; mean divergence ${D.number(mean, 2)} nats`);
    tracks.begin();
    return tracks;
  }

  function show(root, place) {
    const slug = place.run.slug;
    const area = h('textarea.input.mono', { rows: 5, name: 'text', spellcheck: 'false', 'aria-label': place.run.protein ? 'protein sequence' : 'text', placeholder: place.run.protein ? 'a protein sequence' : 'a text' });
    area.value = place.params.get('text') || '';
    const number = h('input.input', { name: 'feature', size: 8, inputMode: 'numeric', value: place.params.get('feature') || '', 'aria-label': 'number of the feature', onchange: about });
    const told = h('p.muted.small.clamp');
    const how = h('select.input', { name: 'how', onchange: () => { value.value = how.value === 'clamp' ? clamp() : '0'; slide(); } }, h('option', { value: 'clamp' }, 'clamp to'), h('option', { value: 'scale' }, 'multiply by'));
    how.value = place.params.get('how') === 'scale' ? 'scale' : 'clamp';
    const value = h('input.input', { name: 'value', size: 8, inputMode: 'decimal', value: place.params.get('value') || '', 'aria-label': 'value or factor', oninput: slide });
    const slider = h('input', { type: 'range', min: 0, max: 100, 'aria-label': 'value or factor', oninput: () => { value.value = String(Number(((slider.value / 100) * most()).toPrecision(3))); } });
    const button = h('button.button.primary', { type: 'submit' }, 'Steer');
    const status = h('span.muted.small', { role: 'status' });
    const box = h('div.stack');
    let max = 1;
    let tracks = null;
    const most = () => (how.value === 'clamp' ? 5 * max : 5);
    const clamp = () => String(Number((2 * max).toPrecision(3)));
    function slide() { slider.value = String(Math.round((Number(value.value) / most()) * 100)); }
    async function about() {
      D.fill(told, '');
      if (!/^\d{1,9}$/.test(number.value.trim())) return;
      try {
        const found = await D.load(`${slug}/steerable/${number.value.trim()}`);
        max = found.max || 1;
        D.fill(told, h('a', { href: D.link([slug, 'feature', number.value.trim()]) }, `feature ${number.value.trim()}`), found.label ? `: ${found.label}` : ' is not explained', found.max ? `; its maximum in the corpus is ${D.number(found.max)}` : '');
        if (!value.value) value.value = how.value === 'clamp' ? clamp() : '0';
      } catch (error) {
        D.fill(told, error.message);
      }
      slide();
    }
    async function ask() {
      const body = { feature: number.value.trim(), text: area.value, how: how.value, value: value.value.trim(), where: form.elements.where.value.trim(), at: form.elements.at.value.trim() };
      D.setParams({ ...body, text: area.value.length <= 4000 ? area.value : null });
      button.disabled = true;
      D.fill(status, 'asking the model; the first question loads it …');
      if (tracks) tracks.leave();
      tracks = null;
      try {
        tracks = results(await D.post(`${slug}/steer`, body), place, box);
      } catch (error) {
        D.fill(box, h('section.card', { role: 'alert' }, D.missing({ missing: error.message })));
      }
      D.fill(status, '');
      button.disabled = false;
    }
    const form = h('form.stack', { onsubmit: (event) => { event.preventDefault(); ask(); },
      onkeydown: (event) => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); ask(); } } },
    h('div.fields', h('label.field', h('span', 'feature'), number), h('label.field', h('span', 'its activation'), how), h('div.field', h('span', 'value'), h('span.row.tight', value, slider)),
      D.field('changed at', 'where', place, { placeholder: 'everywhere', size: 11 }), D.field('shown', 'at', place, { placeholder: 'what changes most', size: 15 }), h('div.field.go', button)), told, area, status);
    root.append(h('div.page', h('section.card', h('header', h('h1', 'Steer'), h('span.muted.small', 'change one feature and see what the subject predicts then')), form), box));
    about().then(() => { if (area.value.trim() && number.value.trim() && place.params.get('value')) ask(); });
    return { leave: () => tracks && tracks.leave() };
  }

  D.view('steer', { title: 'Steer', order: 55, tab: true, available: () => D.live, show });
})();
