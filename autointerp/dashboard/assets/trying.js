'use strict';
// Try it: paste a sequence or a text; every feature that fires, ranked, on tracks.
(function () {
  const D = Dashboard;
  const { h } = D;
  const BY = { share: 'share of its maximum', activation: 'activation', coverage: 'coverage', sum: 'sum of activations' };
  const LONGEST_ADDRESS = 4000;

  /** A labelled input whose value stands in the address. */
  D.field = function (label, name, place, more = {}) {
    const input = h('input.input', { name, value: place.params.get(name) || '', spellcheck: 'false', autocomplete: 'off', ...more });
    return h('label.field', h('span', label), input);
  };

  function told(about) {
    const first = (about.explanations || []).find((one) => one.text);
    const facts = [about.concept ? `${about.concept}${about.concept_f1 ? ` (F1 ${D.fixed(about.concept_f1)})` : ''}` : null, (about.go_names || [])[0], about.family];
    return [first ? first.text : null, ...facts].filter(Boolean).join(' · ');
  }

  function results(found, place, box) {
    const slug = place.run.slug;
    const tokens = D.tokenNames(found.text, found.ends);
    const isText = Boolean(found.ends);
    const whole = found.level === 'sequence';
    const byKey = new Map(found.features.map((f) => [f.feature, f]));
    found.features.forEach((f) => {
      if (whole) { f.whole = f.max; delete f.at; }
      f.top = Math.max(f.share ? f.max / f.share : f.max, f.max, 1e-9);
    });
    const given = Number(place.params.get('pick'));
    let pick = byKey.has(given) ? given : found.features.length ? found.features[0].feature : null;
    const side = { share: (f) => D.percent(f.share), activation: (f) => D.number(f.max), coverage: (f) => D.percent(f.coverage), sum: (f) => D.number(f.sum) }[place.params.get('by') || 'share'];
    const rows = found.features.map((f) => ({ key: f.feature, name: String(f.feature), label: told(f.about), href: D.link([slug, 'feature', f.feature]), track: f, top: f.top, side: side(f) }));
    const text = D.reading({ n: found.n, tokens, isText });
    const legend = h('p.muted.small.clamp');
    let stretch = [0, found.n];
    function colour() {
      const f = byKey.get(pick);
      text.colour(f ? D.dense(f, found.n) : null, f && f.top, stretch);
      const steer = f && D.views.has('steer') ? h('a', { href: D.link([slug, 'steer'], { feature: pick, text: found.text.length <= LONGEST_ADDRESS ? found.text : null }) }, 'steer it') : null;
      D.fill(legend, f ? ['coloured by ', h('a', { href: D.link([slug, 'feature', pick]) }, `feature ${pick}`), rows.find((r) => r.key === pick).label ? `: ${rows.find((r) => r.key === pick).label} ` : ' ', steer] : '');
    }
    const tracks = D.tracks({ n: found.n, rows, tokens, isText, pick, picked: (key) => { pick = key; D.setParams({ pick: key }); colour(); }, changed: (a, b) => { stretch = [a, b]; if (found.n > 4000) colour(); } });
    const n = found.features.length;
    const count = `${D.plural(found.n_fired, 'feature')} fire on ${D.plural(found.n, isText ? 'token' : 'residue')}${found.n_kept < found.n_fired ? `, ${found.n_kept.toLocaleString('en')} within the filters` : ''}${n < found.n_kept ? `; the first ${n} are shown` : ''}.`;
    D.fill(box, h('section.card', { 'data-found': n }, h('header', h('h2', found.name || 'What fires'), h('span.muted.small', count)), n ? tracks.element : h('p.muted', 'Nothing fires within the filters.')),
      n ? h('section.card', h('header', h('h2', isText ? 'Text' : 'Sequence'), legend), text.element) : null);
    D.announce(count);
    if (n) { tracks.begin(); colour(); }
    return tracks;
  }

  function show(root, place) {
    const protein = place.run.protein;
    const area = h('textarea.input.mono', { rows: 6, name: 'text', spellcheck: 'false', placeholder: protein ? 'MKTAYIAKQRQISFVKSHFSRQ…  or FASTA' : 'a text', 'aria-label': protein ? 'protein sequence' : 'text' });
    area.value = place.params.get('text') || '';
    const by = h('select.input', { name: 'by' }, Object.entries(BY).map(([key, label]) => h('option', { value: key, selected: key === (place.params.get('by') || 'share') }, label)));
    const button = h('button.button.primary', { type: 'submit' }, 'Try it');
    const status = h('span.muted.small', { role: 'status' });
    const box = h('div.stack');
    let tracks = null;
    async function ask() {
      const body = { text: area.value, by: by.value };
      for (const name of ['positions', 'min_share', 'top']) body[name] = form.elements[name].value.trim();
      const cover = ['cover_low', 'cover_high'].map((name) => form.elements[name].value.trim());
      if (cover.some(Boolean)) body.coverage = [Number(cover[0] || 0) / 100, Number(cover[1] || 100) / 100];
      if (body.min_share) body.min_share = Number(body.min_share) / 100;
      const kept = Object.fromEntries(['positions', 'min_share', 'top', 'cover_low', 'cover_high'].map((name) => [name, form.elements[name].value.trim()]));
      D.setParams({ ...kept, by: by.value === 'share' ? null : by.value, text: area.value.length <= LONGEST_ADDRESS ? area.value : null });
      button.disabled = true;
      D.fill(status, 'asking the model; the first question loads it …');
      if (tracks) tracks.leave();
      try {
        tracks = results(await D.post(`${place.run.slug}/try`, body), place, box);
        D.fill(status, '');
      } catch (error) {
        D.fill(status, '');
        D.fill(box, h('section.card', { role: 'alert' }, D.missing({ missing: error.message })));
      }
      button.disabled = false;
    }
    const form = h('form.stack', { onsubmit: (event) => { event.preventDefault(); ask(); },
      onkeydown: (event) => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); ask(); } } }, area,
    h('div.fields', h('label.field', h('span', 'ranked by'), by), D.field('only at positions', 'positions', place, { placeholder: '5-30, 50', size: 12 }),
      D.field('at least % of maximum', 'min_share', place, { inputMode: 'decimal', size: 5 }),
      h('div.field', h('span', 'fires on % of tokens'), h('span.row.tight', h('input.input', { name: 'cover_low', size: 3, 'aria-label': 'least coverage, percent', value: place.params.get('cover_low') || '', inputMode: 'decimal', placeholder: '0' }), '–',
        h('input.input', { name: 'cover_high', size: 3, 'aria-label': 'largest coverage, percent', value: place.params.get('cover_high') || '', inputMode: 'decimal', placeholder: '100' }))),
      D.field('shown', 'top', place, { inputMode: 'numeric', size: 4, placeholder: '40' }), h('div.field.go', button)), status);
    root.append(h('div.page', h('section.card', h('header', h('h1', 'Try it'), h('span.muted.small', protein ? 'paste a protein: every feature that fires on it' : 'paste a text: every feature that fires on it')), form), box));
    D.key('i', 'to the text', () => area.focus());
    if (area.value.trim()) ask();
    return { leave: () => tracks && tracks.leave() };
  }

  D.view('try', { title: 'Try it', order: 50, tab: true, available: () => D.live, show });
})();
