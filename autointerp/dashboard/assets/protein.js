'use strict';
// Sequences: find one; its annotations, its strongest features as tracks, and its structure.
(function () {
  const D = Dashboard;
  const { h } = D;
  const SHOWN = ['protein_names', 'gene_names', 'organism', 'protein_families', 'keywords', 'function', 'go_terms'];

  function finder(place, focus) {
    const slug = place.run.slug;
    const list = h('ul.found', { 'aria-label': 'sequences found' });
    let timer = 0;
    let turn = 0;
    const input = h('input.input.wide', { type: 'search', placeholder: place.run.protein ? 'id, name, gene or organism' : 'id or words of the text', 'aria-label': 'find a sequence', value: place.params.get('find') || '',
      spellcheck: 'false', oninput: () => { remember(); clearTimeout(timer); timer = setTimeout(() => list.isConnected && ask(), 180); } });
    // at once: a click may leave the page before anyone has asked
    const remember = () => D.setParams({ find: input.value.trim() });
    async function ask() {
      const words = input.value.trim();
      const mine = ++turn;
      try {
        const found = await D.load(`${slug}/sequences/${words || '*'}`);
        if (mine !== turn) return;
        if (found.missing) return void D.fill(list, D.missing(found));
        const items = found.found.map((one) => h('li', h('a', { href: D.link([slug, 'protein', one.row]) }, h('span.mono', one.id), ' ', one.title),
          h('span.muted.num', one.length.toLocaleString('en'))));
        D.fill(list, items.length ? items : h('li.muted', `Nothing is called “${words}”.`), found.more ? h('li.muted', '… and more; say more of the name.') : null);
        D.announce(`${found.found.length} sequences`);
      } catch (error) {
        D.fill(list, h('li.muted', error.message));
      }
    }
    D.key('/', 'find a sequence', () => input.focus());
    if (focus) setTimeout(() => input.focus(), 0);
    ask();
    return h('section.card.finder', h('header', h('h1', place.run.protein ? 'Find a protein' : 'Find a text')), input, list);
  }

  function heading(one, slug) {
    const told = one.metadata;
    const title = told.protein_names || told.title || told.entry_name || told.name || one.id;
    const facts = [one.id, told.gene_names, told.organism, `${one.n.toLocaleString('en')} ${one.kind === 'protein' ? 'residues' : 'tokens'}`].filter(Boolean);
    const rest = Object.entries(told).filter(([key]) => !['protein_names', 'gene_names', 'organism'].includes(key))
      .sort((a, b) => (SHOWN.indexOf(a[0]) + 1 || 99) - (SHOWN.indexOf(b[0]) + 1 || 99));
    const more = rest.length ? h('details', h('summary', 'more about it'), h('dl.about-it', rest.map(([key, value]) => [h('dt', key.replaceAll('_', ' ')), h('dd', String(value).slice(0, 1500))]))) : null;
    const link = one.accession ? h('a', { href: `https://www.uniprot.org/uniprotkb/${one.accession}`, rel: 'noreferrer', target: '_blank' }, 'UniProt') : null;
    const others = h('a', { href: D.link([slug, 'protein']) }, 'another sequence');
    const tryit = D.live && D.views.has('try') && one.text.length <= 4000 ? h('a', { href: D.link([slug, 'try'], { text: one.text }) }, 'try it') : null;
    return h('section.card', h('div.head', h('h1.named', String(title).slice(0, 300)), h('span.right.row.small', link, tryit, others)), h('p.muted', facts.join(' · ')), more);
  }

  function range(params, n) {
    const start = Math.max(0, Math.min(n - 1, Number(params.get('start') || 1) - 1)) || 0;
    const stop = Math.max(start + 1, Math.min(n, Number(params.get('stop') || n))) || n;
    return [start, stop];
  }

  /** Features that the address asks for besides the strongest. */
  function wanted(params, one) {
    const shown = new Set(one.features.map((f) => f.feature));
    return (params.get('features') || '').split(',').filter((x) => /^\d{1,9}$/.test(x)).map(Number).filter((f) => !shown.has(f)).slice(0, 40);
  }

  async function showOne(root, place) {
    const slug = place.run.slug;
    const row = place.parts[0];
    const one = await D.load(`${slug}/sequence/${row}`);
    if (one.missing) return void root.append(h('div.page', h('section.card', h('h1', 'Sequences'), D.missing(one))));
    const extra = wanted(place.params, one);
    const more = extra.length ? (await D.load(`${slug}/tracks/${row}/0-${one.n}/${extra.join(',')}`)).features : [];
    const features = [...more, ...one.features];
    const isText = Boolean(one.ends);
    const tokens = D.tokenNames(one.text, one.ends);
    const byKey = new Map(features.map((f) => [f.feature, f]));
    const level = one.level === 'sequence';
    features.forEach((f) => { if (level) f.whole = f.max; });
    const given = Number(place.params.get('pick'));
    let pick = byKey.has(given) && place.params.get('pick') ? given : features.length ? features[0].feature : null;
    const rows = features.map((f) => ({ key: f.feature, name: String(f.feature), label: f.label, href: D.link([slug, 'feature', f.feature]), track: f, top: f.top, side: D.percent(f.max / f.top) }));
    const [start, stop] = range(place.params, one.n);
    const at = place.params.get('at') ? Math.min(one.n, Number(place.params.get('at'))) - 1 : null;
    const text = D.reading({ n: one.n, tokens, isText });
    const structure = one.kind === 'protein' && !level ? D.structure({ slug, row, accession: one.accession, local: place.run.about.protein.structures, sequence: one.text }) : null;
    let stretch = [start, stop];
    function colour() {
      const f = byKey.get(pick);
      const v = f ? D.dense(f, one.n) : null;
      text.colour(v, f && f.top, stretch);
      if (structure) structure.colour(v, f && f.top);
      D.fill(legend, f ? ['coloured by ', h('a', { href: D.link([slug, 'feature', pick]) }, `feature ${pick}`), f.label ? `: ${f.label}` : ''] : 'no feature fires here');
    }
    const legend = h('p.muted.small.clamp');
    const tracks = D.tracks({ n: one.n, rows, annotations: one.annotations, tokens, isText, start, stop, at, pick,
      changed: (a, b) => {
        stretch = [a, b];
        D.setParams({ start: a ? a + 1 : null, stop: b < one.n ? b : null });
        if (one.n > 4000) colour();
      },
      picked: (key) => { pick = key; D.setParams({ pick: key }); colour(); },
      detail: async (a, b) => {
        const found = await D.load(`${slug}/tracks/${row}/${a}-${b}/${rows.map((r) => r.key).join(',')}`);
        return new Map(found.features.map((f) => [f.feature, f]));
      } });
    const add = h('form.row', { onsubmit: (event) => {
      event.preventDefault();
      const number = add.querySelector('input').value.trim();
      if (/^\d{1,9}$/.test(number)) D.go([slug, 'protein', row], { ...Object.fromEntries(place.params), features: [number, ...extra].join(','), pick: number });
    } }, h('input.input.small', { size: 7, inputMode: 'numeric', placeholder: 'feature', 'aria-label': 'number of a feature to add' }), h('button.button.small', 'add'));
    const note = one.n_annotations > one.annotations.length ? h('p.muted.small', `The first ${one.annotations.length.toLocaleString('en')} of ${one.n_annotations.toLocaleString('en')} annotations are drawn.`) : null;
    const card = h('section.card', h('header', h('h2', one.annotations.length ? 'Features and annotations' : 'Features'), h('span.muted.small', level ? 'one activation for the whole sequence' : 'the nearest to their own maximum first; drag to zoom'), h('span.right', add)), tracks.element, note,
      features.length ? null : h('p.muted', 'No feature fires on this sequence.'));
    const sequence = h('section.card', h('header', h('h2', isText ? 'Text' : 'Sequence'), legend), text.element);
    root.append(h('div.page.protein-page', heading(one, slug), h('div.protein-grid', { class: structure ? 'protein-grid two' : 'protein-grid' }, h('div.stack', card, sequence), structure ? structure.element : null)));
    document.title = `${one.id} · ${place.run.name} · autointerp`;
    tracks.begin();
    colour();
    const step = (by) => () => {
      const keys = rows.map((r) => r.key);
      const next = keys[Math.min(keys.length - 1, Math.max(0, keys.indexOf(pick) + by))];
      if (next === undefined) return;
      pick = next;
      tracks.pick(pick);
      D.setParams({ pick });
      colour();
    };
    D.key('j', 'next feature', step(1));
    D.key('k', 'previous feature', step(-1));
    D.key('/', 'find a sequence', () => D.go([slug, 'protein']));
    return { leave: () => { tracks.leave(); if (structure) structure.leave(); } };
  }

  // a static site holds no sequences: nothing links to this view there
  if (D.live) D.view('protein', {
    title: 'Sequences', order: 40, tab: true,
    available: (run) => Boolean(run.about.protein && run.about.protein.n),
    show(root, place) {
      if (place.parts.length) return showOne(root, place);
      root.append(h('div.page', finder(place, true)));
      return {};
    },
  });
})();
