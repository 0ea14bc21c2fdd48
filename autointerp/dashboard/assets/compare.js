'use strict';
// Two runs side by side: the same features paired, else two samples.
(function () {
  const D = Dashboard;
  const { h } = D;

  const other = (place) => D.site.runs.find((run) => run.slug === place.params.get('with')) || D.site.runs.find((run) => run !== place.run);

  function paired(a, b, x, y) {
    const rows = [];
    for (let i = 0; i < a.n; i++) {
      const j = b.row.get(a.features[i]);
      if (j === undefined) continue;
      const [u, v] = [x.values[i], y.values[j]];
      if (u === u && v === v) rows.push({ feature: a.features[i], i, j, u, v, d: v - u });
    }
    return rows;
  }

  const quantile = (values, q) => values[Math.min(values.length - 1, Math.floor(values.length * q))];

  function choice(label, columns, column, apply) {
    return h('label.row', label, h('select.input', { onchange: (e) => apply(e.target.value) }, columns.map((c) => h('option', { value: c.name, selected: c === column }, c.label))));
  }

  function scatter(rows, a, place, names, x, y) {
    const range = [Math.min(x.range[0], y.range[0]), Math.max(x.range[1], y.range[1])];
    const [us, vs] = [Float32Array.from(rows, (r) => r.u), Float32Array.from(rows, (r) => r.v)];
    const guides = (ink, { px, py }) => {
      ink.strokeStyle = D.colourNow('--line');
      ink.lineWidth = 1;
      ink.beginPath();
      ink.moveTo(px(range[0]), py(range[0]));
      ink.lineTo(px(range[1]), py(range[1]));
      ink.stroke();
      ink.fillStyle = D.colourNow('--quiet');
      ink.font = '11px system-ui, sans-serif';
      for (const t of [0, 0.25, 0.5, 0.75, 1]) {
        const v = range[0] + t * (range[1] - range[0]);
        ink.textAlign = 'center';
        ink.fillText(D.fixed(v), px(v), py(range[0]) + 16);
        ink.textAlign = 'right';
        ink.fillText(D.fixed(v), px(range[0]) - 6, py(v) + 4);
      }
    };
    const told = (k) => [h('b', `${rows[k].feature}  `), `${names[0]} ${D.fixed(rows[k].u)}, ${names[1]} ${D.fixed(rows[k].v)}`, h('div', (a.text(rows[k].i) || '').slice(0, 160))];
    const plot = D.scatter({ x: us, y: vs, told, label: `${names[1]} against ${names[0]}`, height: 380, guides, ranges: { x: range, y: range },
      open: (k) => D.go([place.run.slug, 'feature', rows[k].feature]) });
    const draw = () => {
      const [better, worse] = [D.colourNow('--c0'), D.colourNow('--c1')];
      plot.draw(rows.map((_, k) => k), { of: (k) => (rows[k].d >= 0 ? better : worse) });
    };
    requestAnimationFrame(draw);
    document.addEventListener('theme', () => plot.element.isConnected && draw());
    return plot.element;
  }

  function listed(title, rows, a, b, headings, slug) {
    return h('section.card', h('header', h('h2', title)), h('table.table', h('thead', h('tr', h('th', 'feature'), h('th', 'difference'), h('th', headings[0]), h('th', headings[1]))),
      h('tbody', rows.map((r) => h('tr', h('td', h('a', { href: D.link([slug, 'feature', r.feature]) }, r.feature)), h('td.num', (r.d >= 0 ? '+' : '') + D.fixed(r.d)),
        h('td', h('span.muted', D.fixed(r.u), ' '), a.text(r.i) || '–'), h('td', h('span.muted', D.fixed(r.v), ' '), b.text(r.j) || '–'))))));
  }

  /** The explanations that the table has are those of the first explainer. */
  const heading = (run, column) => run.name + (column.first ? '' : ` (${column.label}; the text is of the first explainer)`);

  async function show(main, place) {
    const second = other(place);
    D.fill(main, h('div.loading', 'reading both runs …'));
    const [a, b] = await Promise.all([D.table(place.run.slug), D.table(second.slug)]);
    const change = (changes) => { D.setParams(changes); D.show(true); };
    if (!a.scores.length || !b.scores.length) return void D.fill(main, h('div.page', h('section.card', D.missing({ missing: 'One of these runs has no scores yet.', command: '' }))));
    const x = a.get(place.params.get('x')) || a.scores[0];
    const y = b.get(place.params.get('y')) || b.scores.find((c) => c.scorer === x.scorer) || b.scores[0];
    const same = place.run.about.overview.binding === second.about.overview.binding;
    const rows = same ? paired(a, b, x, y) : [];
    const differences = rows.map((r) => r.d).sort((u, v) => u - v);
    const runs = D.site.runs.filter((run) => run !== place.run);
    const head = h('section.card', h('header', h('h1', 'Compare'), h('div.right.row', choice(place.run.name, a.scores, x, (v) => change({ x: v })), h('span.muted', 'with'),
      runs.length > 1 ? h('select.input', { 'aria-label': 'other run', onchange: (e) => change({ with: e.target.value, y: null }) }, runs.map((run) => h('option', { value: run.slug, selected: run === second }, run.name))) : null,
      choice(second.name, b.scores, y, (v) => change({ y: v })))),
    rows.length ? h('div.stats', [[rows.length.toLocaleString('en'), 'features in both'], [(quantile(differences, 0.5) >= 0 ? '+' : '') + D.fixed(quantile(differences, 0.5), 3), `median difference, ${second.name} less ${place.run.name}`],
      [rows.filter((r) => r.d > 0).length.toLocaleString('en'), `better in ${second.name}`], [rows.filter((r) => r.d < 0).length.toLocaleString('en'), `better in ${place.run.name}`]].map(([v, l]) => h('div.stat', h('b', v), h('span', l))))
      : h('p.muted', same ? 'No feature has this score in both runs.' : 'The runs are of different coders: their features are two samples and cannot be paired.'));
    const both = h('div.grid', [[place.run.name, x], [second.name, y]].map(([name, column]) => h('section.card', h('header', h('h2', name), h('span.muted', column.label)),
      D.histogram({ values: column.values, range: column.range, label: `${column.label} of ${name}`, mark: column.chance, width: 420, height: 90 }))));
    let parts = [head, both];
    if (rows.length) {
      const headings = [heading(place.run, x), heading(second, y)];
      const order = [...rows].sort((u, v) => u.d - v.d);
      const points = h('section.card', h('header', h('h2', 'A point is a feature'), h('span.muted', `${place.run.name} across, ${second.name} upwards`)), scatter(rows, a, place, [place.run.name, second.name], x, y));
      parts = [head, h('div.compared', points, both)];
      parts.push(listed(`Better in ${second.name}`, order.slice(-10).reverse().filter((r) => r.d > 0), a, b, headings, place.run.slug), listed(`Better in ${place.run.name}`, order.slice(0, 10).filter((r) => r.d < 0), a, b, headings, place.run.slug));
    }
    D.fill(main, h('div.page', parts));
  }

  D.view('compare', { title: 'Compare', order: 20, tab: true, available: () => D.site.runs.length > 1, show });
})();
