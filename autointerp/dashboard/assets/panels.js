'use strict';
// The panels of a feature's page; each says what is missing when it has nothing to show.
(function () {
  const D = Dashboard;
  const { h, svg } = D;

  const STATISTICS = { frequency: ['frequency', D.percent], count: ['activations', D.number], max: ['largest', D.number], mean: ['mean', D.number], n_sequences: ['sequences', D.number], n_groups: ['groups', D.number],
    pattern: ['pattern', String], median_run: ['median run', D.number], coverage: ['coverage', D.percent], period: ['period', D.number], position_mean: ['mean position', D.fixed], position_class: ['position', String], cluster: ['cluster', String], duplicate_of: ['duplicate of', String] };

  D.statistics = function (statistics, names) {
    return h('dl.facts', Object.entries(STATISTICS).filter(([key]) => (!names || names.includes(key)) && statistics[key] !== undefined && statistics[key] !== null && statistics[key] !== 'none' && !(key === 'cluster' && statistics[key] < 0))
      .map(([key, [label, told]]) => h('div', h('dt', label), h('dd', told(statistics[key])))));
  };

  // ------------------------------------------------------------------------------------------------------ contexts
  D.panel({ id: 'contexts', title: 'Where it fires', order: 20, show(body, feature, place, head) {
    const { contexts } = feature;
    if (contexts.missing) return void body.append(D.missing(contexts));
    const list = h('div.contexts');
    const tabs = contexts.groups.map((group, i) => h('button.button.small', { type: 'button', role: 'tab', id: `quantile-${i}`, 'aria-controls': 'contexts-list', onclick: () => { pick(i); D.setParams({ quantile: i || null }); } }, group.name === 'top' ? 'strongest' : group.name));
    list.id = 'contexts-list';
    list.setAttribute('role', 'tabpanel');
    const about = h('span.muted.small');
    function pick(i) {
      const group = contexts.groups[i];
      tabs.forEach((tab, k) => { tab.setAttribute('aria-selected', String(k === i)); tab.tabIndex = k === i ? 0 : -1; });
      list.setAttribute('aria-labelledby', `quantile-${i}`);
      about.textContent = `peaks ${D.number(group.low)} to ${D.number(group.high)}; ${group.contexts.length} of ${group.n.toLocaleString('en')}`;
      const codes = new Set(group.contexts.flatMap((c) => (c.notes || []).map((note) => note[2])));
      D.fill(list, D.legend(feature.kinds, codes), group.contexts.map((c) => D.context(c, { max: contexts.max, kinds: feature.kinds, slug: place.run.slug })));
      current = i;
    }
    let current = 0;
    const bar = h('div.tablist', { role: 'tablist', 'aria-label': 'quantile of the peak', onkeydown: (event) => {
      const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
      if (step) { pick((current + step + tabs.length) % tabs.length); tabs[current].focus(); D.setParams({ quantile: current || null }); }
    } }, tabs);
    head.append(bar, about);
    body.append(list);
    const wanted = Number(place.params.get('quantile'));
    pick(wanted > 0 && wanted < tabs.length ? wanted : 0);
    D.key('q', 'next quantile', () => { pick((current + 1) % tabs.length); D.setParams({ quantile: current || null }); });
  } });

  // ------------------------------------------------------------------------------------------------------ side
  D.panel({ id: 'histogram', title: 'Activations', order: 10, side: true, show(body, feature) {
    const { histogram } = feature;
    body.append(D.statistics(feature.statistics, ['count', 'n_sequences', 'n_groups', 'max', 'mean', 'median_run', 'coverage', 'period', 'position_mean']));
    body.append(histogram.missing ? D.missing(histogram) : D.bars({ counts: histogram.counts, max: histogram.max, label: 'histogram of activations, counts logarithmic' }));
  } });

  D.panel({ id: 'logits', title: 'Effect on the output', order: 20, side: true, show(body, feature) {
    const { logits } = feature;
    if (logits.missing) return void body.append(D.missing(logits));
    const sides = ['promoted', 'suppressed'].map((side) => {
      const rows = (logits[side] || []).slice(0, 10);
      const top = Math.max(...[...(logits.promoted || []), ...(logits.suppressed || [])].map(([, v]) => Math.abs(v)), 1e-9);
      return h('div', h('h3', side), h('ol.logits', rows.map(([token, value]) => {
        const bar = h('span.effect', { class: `effect ${value >= 0 ? 'up' : 'down'}` });
        bar.style.setProperty('width', `${(Math.abs(value) / top) * 100}%`);
        return h('li', h('code', token === '' ? '∅' : String(token).replace(/\n/g, '⏎').replace(/ /g, '␣')), h('span.lane', bar), h('span.num', D.number(value, 2)));
      })));
    });
    const moments = Object.entries(logits.moments || {}).filter(([, v]) => typeof v === 'number').map(([k, v]) => `${k} ${D.number(v)}`).join(' · ');
    body.append(rowsOrNothing(sides, (logits.promoted || []).length + (logits.suppressed || []).length), moments ? h('p.muted.small', moments) : '');
  } });

  const rowsOrNothing = (sides, n) => (n ? h('div.two-columns', sides) : h('p.muted', 'Nothing for this feature.'));

  D.panel({ id: 'logo', title: 'Around the peak', order: 30, side: true, show(body, feature) {
    const { logo } = feature;
    if (logo.missing) return void body.append(D.missing(logo));
    if (!logo.offsets.length) return void body.append(h('p.muted', 'Nothing for this feature.'));
    const letters = logo.columns.every((column) => column.every(([symbol]) => String(symbol).length === 1));
    if (letters) return void body.append(h('div.scrolls', { tabIndex: 0, role: 'group', 'aria-label': 'sequence logo' }, D.logo(logo)));
    const near = logo.offsets.map((offset, i) => [offset, logo.columns[i]]).filter(([offset]) => Math.abs(offset) <= 2);
    body.append(h('div.scrolls', { tabIndex: 0, role: 'group', 'aria-label': 'tokens by offset' }, h('table.table.offsets', h('thead', h('tr', near.map(([o]) => h('th', o > 0 ? `+${o}` : o === 0 ? 'peak' : String(o).replace('-', '−'))))),
      h('tbody', h('tr', near.map(([, column]) => h('td', column.slice(0, 5).filter(([, bits]) => bits > 0).map(([symbol, bits]) => h('div', h('code', String(symbol).replace(/\n/g, '⏎').replace(/ /g, '␣')), h('span.muted.small', ` ${D.fixed(bits, 1)}`))))))))));
  } });

  D.panel({ id: 'concepts', title: 'Concepts', order: 40, side: true, available: (place) => place.run.protein, show(body, feature) {
    const { concepts } = feature;
    if (concepts.missing) return void body.append(D.missing(concepts));
    const families = (feature.families || []).map((row) => ({ ...row, concept: `family: ${row.family}` }));
    const rows = [...concepts, ...families].sort((a, b) => (b.f1 || 0) - (a.f1 || 0));
    if (!rows.length) return void body.append(h('p.muted', 'This feature finds no annotated concept.'));
    body.append(h('table.table', h('thead', h('tr', h('th', 'concept'), h('th.num', 'F1'), h('th.num', 'precision'), h('th.num', 'recall'))), h('tbody', rows.slice(0, 8).map((row) =>
      D.tip(h('tr', h('td', row.concept), h('td.num', h('b', D.fixed(row.f1))), h('td.num', D.fixed(row.precision)), h('td.num', D.fixed(row.recall))),
        [row.threshold !== undefined ? `threshold ${D.number(row.threshold)} of the maximum` : '', row.n_instances !== undefined ? `${row.n_instances} instances on test` : ''].filter(Boolean).join('\n') || null)))));
  } });

  D.panel({ id: 'neighbours', title: 'Neighbours', order: 50, side: true, show(body, feature, place, head) {
    const { neighbours } = feature;
    if (neighbours.missing) return void body.append(D.missing(neighbours));
    const kinds = Object.keys(neighbours);
    if (!kinds.length) return void body.append(h('p.muted', 'Nothing for this feature.'));
    const list = h('ol.neighbours');
    const tabs = kinds.map((kind) => h('button.button.small', { type: 'button', onclick: () => pick(kind) }, kind));
    function pick(kind) {
      tabs.forEach((tab, i) => tab.setAttribute('aria-pressed', String(kinds[i] === kind)));
      D.fill(list, neighbours[kind].map(([other, similarity, text]) => h('li', h('a', { href: D.link([place.run.slug, 'feature', other]) }, other), h('span.num', D.fixed(similarity)), h('span.clip', { class: text ? 'clip' : 'clip muted', title: text }, text || 'not explained'))));
    }
    head.append(h('div.right.row', tabs));
    body.append(list);
    pick(kinds[0]);
  } });

  // ------------------------------------------------------------------------------------------------------ GO
  function graph(go) {
    const depth = new Map();
    const parents = new Map(go.nodes.map((_, i) => [i, []]));
    go.edges.forEach(([child, parent]) => parents.get(child).push(parent));
    const level = (i, seen = new Set()) => {
      if (depth.has(i)) return depth.get(i);
      if (seen.has(i)) return 0;
      seen.add(i);
      const d = Math.max(-1, ...parents.get(i).map((p) => level(p, seen))) + 1;
      depth.set(i, d);
      return d;
    };
    go.nodes.forEach((_, i) => level(i));
    const layers = [];
    go.nodes.forEach((_, i) => (layers[depth.get(i)] = layers[depth.get(i)] || []).push(i));
    const place = new Map();
    layers.forEach((layer, d) => {
      const middle = (i) => { const ps = parents.get(i); return ps.length ? ps.reduce((sum, p) => sum + place.get(p), 0) / ps.length : 0; };
      if (d) layer.sort((a, b) => middle(a) - middle(b));
      layer.forEach((i, k) => place.set(i, (k + 0.5) / layer.length));
    });
    return { depth, layers, place };
  }

  function drawn(go) {
    const { depth, layers, place } = graph(go);
    const [w, box, tall, gap] = [Math.max(760, Math.max(...layers.map((l) => l.length)) * 172), 160, 34, 66];
    const height = layers.length * gap;
    const x = (i) => place.get(i) * w;
    const y = (i) => depth.get(i) * gap + 4;
    const drawing = svg('svg.dag', { viewBox: `0 0 ${w} ${height}`, width: w, height, role: 'img', 'aria-label': `graph of ${go.nodes.length} GO terms` });
    go.edges.forEach(([child, parent]) => drawing.append(svg('path.edge', { d: `M${x(child)} ${y(child)}C${x(child)} ${y(child) - 18},${x(parent)} ${y(parent) + tall + 18},${x(parent)} ${y(parent) + tall}` })));
    go.nodes.forEach((node, i) => {
      const words = node.name.split(' ').reduce((lines, word) => {
        const last = lines[lines.length - 1];
        if ((last + ' ' + word).length <= 24 || !last) lines[lines.length - 1] = (last + ' ' + word).trim();
        else lines.push(word);
        return lines;
      }, ['']);
      const lines = words.length > 2 ? [words[0], words[1].slice(0, 22) + '…'] : words;
      const row = go.found.find((one) => one.term === node.id);
      const told = [node.name, node.id, row ? `q ${D.number(row.q)}` : 'above a found term'].join('\n');
      drawing.append(D.tip(svg('g', { class: node.found ? 'node found' : 'node' }, svg('rect', { x: x(i) - box / 2, y: y(i), width: box, height: tall, rx: 6 }),
        lines.map((line, k) => svg('text', { x: x(i), y: y(i) + (lines.length > 1 ? 14 + k * 13 : 21), 'text-anchor': 'middle' }, line))), told));
    });
    return h('div.scrolls', { tabIndex: 0, role: 'group', 'aria-label': 'graph of GO terms' }, drawing);
  }

  D.panel({ id: 'go', title: 'Gene Ontology', order: 40, available: (place) => place.run.protein, show(body, feature) {
    const { go } = feature;
    if (go.missing) return void body.append(D.missing(go));
    if (!go.found.length) return void body.append(h('p.muted', 'No term stands out among the proteins of this feature.'));
    if (go.nodes && go.nodes.length) body.append(drawn(go));
    else if (go.no_graph) body.append(D.missing(go.no_graph));
    const counted = go.found.some((row) => row.in_study !== undefined);
    body.append(h('details.small', { open: !go.nodes }, h('summary', `${D.plural(go.total, 'term')}, strongest first`), h('table.table', h('thead', h('tr', h('th', 'term'), h('th', ''), h('th', 'namespace'), counted ? [h('th.num', 'proteins'), h('th.num', 'fold')] : null, h('th.num', 'q'))),
      h('tbody', go.found.map((row) => h('tr', h('td', h('a', { href: `https://amigo.geneontology.org/amigo/term/${encodeURIComponent(row.term)}`, target: '_blank', rel: 'noreferrer' }, row.term)), h('td', row.name), h('td.muted', String(row.namespace).replace('_', ' ')),
        counted ? [h('td.num', `${row.in_study} of ${row.study}`), h('td.num', D.number(row.fold, 2))] : null, h('td.num', D.number(row.q ?? row.bonferroni))))))));
  } });

  D.panel({ id: 'probes', title: 'Probes', order: 60, side: true, available: (place, feature) => (feature.probes || []).length > 0, show(body, feature) {
    const keys = Object.keys(feature.probes[0]).slice(0, 5);
    body.append(h('table.table', h('thead', h('tr', keys.map((key) => h('th', key)))), h('tbody', feature.probes.slice(0, 8).map((row) => h('tr', keys.map((key) => h('td', typeof row[key] === 'number' ? D.number(row[key]) : row[key])))))));
  } });
})();
