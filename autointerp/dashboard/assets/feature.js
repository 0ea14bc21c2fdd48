'use strict';
// The page of one feature.
(function () {
  const D = Dashboard;
  const { h } = D;
  // panels of the main and of the side column that mostly fill the screen; those below are more than half of the page, and are drawn right after
  const FIRST = { main: 1, side: 3 };

  D.panel({ id: 'explanations', title: 'Explanations', order: 10, show: D.explanations });

  function around(feature, slug) {
    const list = D.results && D.results.slug === slug ? D.results.features : null;
    const at = list ? list.indexOf(feature.feature) : -1;
    if (at < 0) return { before: feature.before, after: feature.after, told: null };
    return { before: list[at - 1] ?? null, after: list[at + 1] ?? null, told: `${(at + 1).toLocaleString('en')} of ${list.length.toLocaleString('en')}` };
  }

  function heading(feature, place) {
    const slug = place.run.slug;
    const { before, after, told } = around(feature, slug);
    const step = (to, sign, label) => (to === null ? h('span.button.off', { 'aria-hidden': 'true' }, sign) : h('a.button', { href: D.link([slug, 'feature', to]), 'aria-label': label, title: label }, sign));
    const back = D.results && D.results.slug === slug ? D.results.address : D.link([slug, 'overview']);
    const jump = h('input.input.tiny', { type: 'number', min: 0, placeholder: 'go to', 'aria-label': 'go to feature', onchange: () => jump.value && D.go([slug, 'feature', jump.value]) });
    const s = feature.statistics;
    const pills = [s.dead ? 'dead' : null, s.pattern && s.pattern !== 'dead' ? `pattern: ${s.pattern}` : null, s.frequency !== undefined ? `fires on ${D.percent(s.frequency)} of ${feature.contexts.level === 'sequence' ? 'sequences' : 'tokens'}` : null, s.dense ? 'dense' : null,
      s.position_class && s.position_class !== 'none' ? `near the ${s.position_class}` : null, s.cluster >= 0 ? `cluster ${s.cluster}` : null].filter(Boolean);
    const duplicate = s.duplicate_of !== undefined && s.duplicate_of !== null ? h('a.pill', { href: D.link([slug, 'feature', s.duplicate_of]) }, `doubles ${s.duplicate_of}`) : null;
    D.key('j', 'next feature', () => after !== null && D.go([slug, 'feature', after]));
    D.key('k', 'feature before', () => before !== null && D.go([slug, 'feature', before]));
    D.key('b', 'back to the list', () => (location.hash = back));
    return h('div.feature-head', h('a.back', { href: back }, '← features'), h('h1', `Feature ${feature.feature.toLocaleString('en').replace(/,/g, '\u2009')}`), h('div.row', pills.map((p) => h('span.pill', p)), duplicate),
      h('div.right', told ? h('span.muted.small', told) : null, jump, step(before, '‹', 'feature before (k)'), step(after, '›', 'next feature (j)')));
  }

  function card(panel, feature, place, waits) {
    const head = h('header', h('h2', panel.title));
    const body = h('div.body');
    const section = h('section.card', { id: `panel-${panel.id}`, 'aria-label': panel.title, class: `card panel-${panel.id}` }, head, body);
    if (waits) D.afterPaint(() => D.place === place && draw(panel, body, feature, place, head));
    else draw(panel, body, feature, place, head);
    return section;
  }

  function draw(panel, body, feature, place, head) {
    try {
      const made = panel.show(body, feature, place, head);
      if (made && made.catch) made.catch((error) => D.fill(body, D.missing({ missing: error.message })));
    } catch (error) {
      console.error(error);
      D.fill(body, D.missing({ missing: `This panel failed: ${error.message}` }));
    }
  }

  /** Loads the features that may be looked at next, one after the other, while this one is. */
  async function prepare(features, place) {
    for (const next of features) if (next !== null && D.place === place) await D.load(`${place.run.slug}/feature/${next}`).catch(() => {});
  }

  async function show(main, place) {
    const number = place.parts[0];
    const slow = setTimeout(() => D.fill(main, h('div.loading', `reading feature ${number} …`)), 150);
    let feature;
    try {
      feature = await D.load(`${place.run.slug}/feature/${number}`);
    } finally {
      clearTimeout(slow);
    }
    document.title = `Feature ${number} · ${place.run.name} · autointerp`;
    const panels = D.panels.filter((panel) => !panel.available || panel.available(place, feature)).sort((a, b) => a.order - b.order);
    const head = heading(feature, place);
    const cards = (column) => panels.filter((p) => p.side === (column === 'side')).map((p, i) => card(p, feature, place, i >= FIRST[column]));
    D.fill(main, h('div.feature', head, h('div.main-column', cards('main')), h('aside.side-column', { 'aria-label': 'more about the feature' }, cards('side'))));
    if (D.live) requestIdleCallback?.(() => prepare([feature.after, feature.before], place));
  }

  D.view('feature', { title: 'Feature', show });
})();
