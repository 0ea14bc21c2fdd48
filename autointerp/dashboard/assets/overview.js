'use strict';
// The overview: what to look for on the left, the table of features on the right.
(function () {
  const D = Dashboard;
  const { h } = D;
  const HEIGHT = 48;
  // in rem; of the first text the least, it takes what is left
  const WIDTHS = { text: 18, category: 8, tags: 11, number: 5.6, score: 8.9, feature: 3.8, pattern: 4.8, explainer: 6, note: 12 };
  const GAP = 0.9;
  const SHOWN = ['frequency', 'concept', 'pattern', 'bookmark', 'tag'];
  // typing, dragging, choosing: what is under the hand must not be drawn anew
  const BUSY = '.facet :focus-visible, .facet select:focus, .facet:active, details.menu[open]';
  const HISTOGRAMS = ['frequency', 'concept_f1', 'max', 'family_f1'];

  function chosenColumns(table, params) {
    const given = params.get('cols');
    const names = given ? given.split(',') : ['explanation', ...table.firstScores.slice(0, 3).map((c) => c.name), ...SHOWN];
    return [table.get('feature'), ...names.filter((n) => n !== 'feature').map((n) => table.get(n)).filter(Boolean)];
  }

  // ---------------------------------------------------------------------------------------------------------- cells
  function cell(column, table, row) {
    if (column.name === 'feature') return h('div.cell.num', { role: 'cell' }, table.features[row]);
    if (column.group === 'score') return scoreCell(column, row);
    if (column.kind === 'number') {
      const v = column.values[row];
      return h('div.cell.num', { role: 'cell' }, column.name === 'frequency' ? D.percent(v) : D.number(v));
    }
    if (column.kind === 'category') {
      const code = column.values[row];
      const f1 = table.get(`${column.name}_f1`);
      return h('div.cell', { role: 'cell' }, code < 0 ? h('span.muted', '–') : h('span.clip', { title: column.words[code] }, column.words[code]),
        code >= 0 && f1 ? h('span.muted.sub', `F1 ${D.fixed(f1.values[row])}`) : null);
    }
    if (column.kind === 'tags') {
      const words = column.values[row].map((code) => column.words[code]);
      return h('div.cell', { role: 'cell' }, words.length ? h('span.clip.two', { title: words.join('\n') }, words.join('; ')) : h('span.muted', '–'));
    }
    const text = column.values[row];
    if (text === null || text === undefined) {
      const skipped = table.get('skipped');
      const why = skipped && skipped.values[row] >= 0 ? `skipped: too few ${skipped.words[skipped.values[row]]}` : 'not explained';
      return h('div.cell', { role: 'cell' }, h('span.muted', column.name === 'explanation' ? why : '–'));
    }
    return h('div.cell.told', { role: 'cell' }, h('span.clip.two', text));
  }

  function scoreCell(column, row) {
    const value = column.values[row];
    if (Number.isNaN(value)) return h('div.cell.num', { role: 'cell' }, h('span.muted', '–'));
    const pick = (name) => (column[name] ? column[name][row] : NaN);
    return h('div.cell.scored', { role: 'cell' }, h('span.num', D.fixed(value)), D.scoreBar({
      value, low: pick('low'), high: pick('high'), nullValue: pick('null'), range: column.range, chance: column.chance, width: 80 }));
  }

  // ---------------------------------------------------------------------------------------------------------- table
  function grid(table, place, change) {
    const head = h('div.thead', { role: 'row' });
    const body = h('div.tbody', { role: 'rowgroup' });
    const spacer = h('div.spacer', { role: 'presentation' }, body);
    const scroller = h('div.scroller', { tabIndex: 0, role: 'table', 'aria-label': 'features' }, h('div.theads', { role: 'rowgroup' }, head), spacer);
    let rows = [];
    let columns = [];
    let first = -1;
    let picked = 0;

    const link = (row) => D.link([place.run.slug, 'feature', String(table.features[row])]);
    function line(k) {
      const row = rows[k];
      const el = h('a.tr', { role: 'row', href: link(row), 'aria-rowindex': k + 2, tabIndex: -1, class: k === picked ? 'tr picked' : 'tr' },
        columns.map((column) => cell(column, table, row)));
      el.style.setProperty('top', `${k * HEIGHT}px`);
      return el;
    }
    function paint(force) {
      const start = Math.max(0, Math.floor(scroller.scrollTop / HEIGHT) - 8);
      if (start === first && !force) return;
      first = start;
      const count = Math.ceil((scroller.clientHeight || 700) / HEIGHT) + 16;
      body.replaceChildren(...Array.from({ length: Math.max(0, Math.min(count, rows.length - start)) }, (_, i) => line(start + i)));
    }
    function header() {
      const sort = place.params.get('sort') || table.defaultSort();
      D.fill(head, columns.map((column) => {
        const up = sort === column.name;
        const down = sort === '-' + column.name;
        const button = h('button.sort', { type: 'button', onclick: () => change({ sort: column.kind === 'number' && column.name !== 'feature' ? (down ? column.name : '-' + column.name) : (up ? '-' + column.name : column.name) }) },
          column.label, h('span.arrow', { 'aria-hidden': 'true' }, up ? '▲' : down ? '▼' : ''));
        const told = [column.told, column.chance !== undefined && column.chance !== null ? `guessing: ${column.chance}` : null].filter(Boolean).join('\n');
        if (told) D.tip(button, told);
        return h('div.th', { role: 'columnheader', 'aria-sort': up ? 'ascending' : down ? 'descending' : 'none', class: column.kind === 'number' && column.group !== 'score' ? 'th num' : 'th' }, button);
      }));
    }
    function show(found, of) {
      if (of !== table && picked && rows.length) picked = found.findIndex((row) => of.features[row] === table.features[rows[picked]]);
      table = of;
      rows = found;
      columns = chosenColumns(table, place.params);
      const widths = columns.map((c) => WIDTHS[c.name] || WIDTHS[c.group] || WIDTHS[c.kind]);
      const widest = columns.findIndex((c) => c.kind === 'text');
      scroller.style.setProperty('--columns', widths.map((w, i) => (i === widest ? `minmax(${w}rem, 1fr)` : `${w}rem`)).join(' '));
      scroller.style.setProperty('--least', `${widths.reduce((sum, w) => sum + w + GAP, 2 - GAP)}rem`);
      scroller.setAttribute('aria-rowcount', rows.length + 1);
      spacer.style.setProperty('height', `${Math.max(rows.length * HEIGHT, 1)}px`);
      picked = Math.max(Math.min(picked, rows.length - 1), 0);
      header();
      paint(true);
      if (!rows.length) body.append(h('div.none', { role: 'row' }, h('div', { role: 'cell' }, 'No feature fits. ', h('button.button.small', { type: 'button', onclick: () => change(null) }, 'clear all'))));
    }
    function move(step) {
      picked = Math.max(0, Math.min(rows.length - 1, picked + step));
      const top = picked * HEIGHT;
      if (top < scroller.scrollTop) scroller.scrollTop = top;
      else if (top + HEIGHT * 2 > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + HEIGHT * 2 - scroller.clientHeight;
      paint(true);
      D.announce(`feature ${table.features[rows[picked]]}: ${table.text(rows[picked]) || 'not explained'}`);
    }
    scroller.addEventListener('scroll', () => requestAnimationFrame(() => paint(false)));
    const watch = new ResizeObserver(() => paint(true));
    watch.observe(scroller);
    return { element: scroller, show, move, open: () => rows.length && (location.hash = link(rows[picked])), top: () => (scroller.scrollTop = 0), leave: () => watch.disconnect() };
  }

  // ---------------------------------------------------------------------------------------------------------- rail
  function rangeControl(column, table, place, change) {
    const drawn = h('div');
    const [low, high] = D.range(place.params.get(column.name));
    const number = (value, label, at) => h('input.input.tiny', { type: 'number', step: 'any', value: value === null ? '' : value, placeholder: at ? 'to' : 'from', 'aria-label': `${column.label} ${label}`,
      onchange: () => apply() });
    const from = number(low, 'from', 0);
    const to = number(high, 'to', 1);
    const apply = () => change({ [column.name]: from.value || to.value ? `${from.value}~${to.value}` : null });
    const clear = h('button.icon.small', { type: 'button', 'aria-label': `any ${column.label}`, onclick: () => change({ [column.name]: null }) }, '×');
    const box = h('section.facet', h('div.facet-head', h('h3', column.label), h('span.right', from, to, clear)), drawn);
    function show(rows, of) {
      column = of.get(column.name);
      const chosen = D.range(place.params.get(column.name));
      const set = place.params.has(column.name);
      from.value = chosen[0] ?? '';
      to.value = chosen[1] ?? '';
      clear.hidden = !set;
      D.fill(drawn, D.histogram({ values: column.values, rows, range: column.range, log: column.log, label: column.label, mark: column.chance,
        chosen: set ? chosen : null, change: (a, b) => change({ [column.name]: a === null && b === null ? null : `${a ?? ''}~${b ?? ''}` }) }));
    }
    return { element: box, show };
  }

  function wordControl(column, table, place, change) {
    const many = column.words.length > 8;
    const list = h('div.chips');
    const select = h('select.input', { 'aria-label': column.label, onchange: () => change({ [column.name]: select.value || null }) });
    const box = h('section.facet', h('div.facet-head', h('h3', column.label)), many ? select : list);
    function show(rows, of) {
      column = of.get(column.name);
      const counts = of.counts(column, rows);
      const chosen = new Set((place.params.get(column.name) || '').split('|').filter(Boolean));
      const order = column.words.map((_, i) => i).sort((a, b) => counts[b] - counts[a]);
      if (many) {
        D.fill(select, h('option', { value: '' }, `any ${column.label}`), order.filter((i) => counts[i] || chosen.has(column.words[i]))
          .map((i) => h('option', { value: column.words[i], selected: chosen.has(column.words[i]) }, `${column.words[i]} (${counts[i]})`)));
        return;
      }
      D.fill(list, order.map((i) => h('button.chip', { type: 'button', 'aria-pressed': String(chosen.has(column.words[i])), onclick: () => {
        if (!chosen.delete(column.words[i])) chosen.add(column.words[i]);
        change({ [column.name]: [...chosen].join('|') || null });
      } }, column.words[i], h('span.muted', counts[i].toLocaleString('en')))));
    }
    return { element: box, show };
  }

  function tagControl(column, table, place, change) {
    const list = h('datalist', { id: `list-${column.name}` });
    const input = h('input.input', { type: 'search', list: `list-${column.name}`, placeholder: `any of ${column.words.length.toLocaleString('en')} ${column.label}`, 'aria-label': column.label,
      value: place.params.get(column.name) || '', oninput: () => change({ [column.name]: input.value || null }) });
    const box = h('section.facet', h('div.facet-head', h('h3', column.label)), input, list);
    const totals = table.counts(column, Array.from({ length: table.n }, (_, i) => i));
    const order = column.words.map((_, i) => i).sort((a, b) => totals[b] - totals[a]).slice(0, 300);
    D.fill(list, order.map((i) => h('option', { value: column.words[i] }, `${totals[i]} features`)));
    return { element: box, show: () => { if (document.activeElement !== input) input.value = place.params.get(column.name) || ''; } };
  }

  function mapControl(table, place, change) {
    const [x, y] = [table.get('x'), table.get('y')];
    if (!x || !y) return { element: h('section.facet', h('h3', 'map'), D.missing(table.payload.no_map)), show: () => {} };
    const options = [...table.columns.values()].filter((c) => (c.kind === 'number' && !['x', 'y', 'feature'].includes(c.name)) || (c.kind === 'category' && c.words.length > 1));
    const by = () => table.get(place.params.get('colour')) || table.get('cluster') || table.firstScores[0];
    const select = h('select.input', { 'aria-label': 'colour of the map', onchange: () => change({ colour: select.value }) }, options.map((c) => h('option', { value: c.name, selected: c === by() }, c.label)));
    const told = (i) => [h('b', `${table.features[i]} `), (table.text(i) || 'not explained').slice(0, 180), by() ? h('div', `${by().label}: ${by().kind === 'number' ? D.number(by().values[i]) : by().words[by().values[i]] || '–'}`) : null];
    const plot = D.scatter({ x: x.values, y: y.values, told, label: 'map of the features', height: 250, select: (box) => change({ box }), open: (i) => D.go([place.run.slug, 'feature', table.features[i]]) });
    const legend = h('div');
    const clear = h('button.button.small', { type: 'button', onclick: () => change({ box: null }) }, 'all');
    const big = h('button.button.small', { type: 'button', onclick: () => { section.classList.toggle('big'); show(last, table); } }, 'enlarge');
    const section = h('section.facet.map', h('div.facet-head', h('h3', 'map'), h('span.right', select, clear, big)), plot.element, legend);
    let last = null;
    function show(rows, of) {
      table = of;
      last = rows;
      const painter = D.painter(by());
      clear.hidden = !place.params.has('box');
      big.textContent = section.classList.contains('big') ? 'reduce' : 'enlarge';
      plot.draw(rows, painter);
      D.fill(legend, D.paintLegend(painter));
    }
    const themed = () => last && show(last, table);
    document.addEventListener('theme', themed);
    return { element: section, show, leave() { document.removeEventListener('theme', themed); if (plot.leave) plot.leave(); } };
  }

  function filtered(table, params) {
    const scores = table.firstScores.slice(0, 4);
    const numbers = [...scores, ...HISTOGRAMS.map((name) => table.get(name)).filter(Boolean), ...table.scores.filter((c) => params.has(c.name) && !scores.includes(c))];
    const words = [...table.columns.values()].filter((c) => c.kind === 'category' && new Set(c.values).size > 1);
    const tags = [...table.columns.values()].filter((c) => c.kind === 'tags' && c.words.length);
    return [[rangeControl, numbers], [wordControl, words], [tagControl, tags]];
  }

  function controls(table, place, change) {
    return [mapControl(table, place, change), ...filtered(table, place.params).flatMap(([make, columns]) => columns.map((c) => make(c, table, place, change)))];
  }

  /** Equal of tables that differ in their values alone, and can take each other's place in a page. */
  function shape(table, params) {
    const listed = filtered(table, params).map(([, columns]) => columns.map((c) => c.name));
    return JSON.stringify([table.n, table.payload.several, [...table.columns.keys()], listed]);
  }

  /** Hands over the run's table whenever there is a newer one, unless the reader is busy with a filter; returns what ends that. */
  function follow(place, shown, renew) {
    const heard = async ({ detail: { slug, status } }) => {
      const known = shown().payload.stamp;
      if (slug !== place.run.slug || status.missing || status.table === known || document.querySelector(BUSY)) return;
      const next = await D.table(slug, { fresh: true }).catch(shown);
      if (D.place === place && next.payload.stamp !== known) renew(next);
    };
    document.addEventListener('status', heard);
    return () => document.removeEventListener('status', heard);
  }

  // ---------------------------------------------------------------------------------------------------------- head
  function median(values, rows) {
    const known = Float32Array.from(rows, (row) => values[row]).filter((value) => !Number.isNaN(value)).sort();
    return known.length ? known[Math.floor(known.length / 2)] : NaN;
  }

  function summary(table, rows) {
    const told = table.get('explanation');
    const all = Array.from({ length: table.n }, (_, i) => i);
    const explained = told ? all.filter((i) => told.values[i] !== null && told.values[i] !== undefined).length : 0;
    const stats = [[rows.length.toLocaleString('en'), rows.length === table.n ? 'features' : `of ${table.n.toLocaleString('en')} features`], [explained.toLocaleString('en'), 'explained']];
    for (const column of table.firstScores.slice(0, 4)) {
      const value = median(column.values, rows);
      const none = column.null ? median(column.null, rows) : NaN;
      if (!Number.isNaN(value)) stats.push([D.fixed(value), `median ${column.label}` + (Number.isNaN(none) ? '' : `, null ${D.fixed(none)}`)]);
    }
    return h('div.stats', stats.map(([value, label]) => h('div.stat', h('b', value), h('span', label))));
  }

  function columnChooser(table, place, change) {
    const shown = new Set(chosenColumns(table, place.params).map((c) => c.name));
    const groups = new Map();
    for (const column of table.columns.values()) {
      if (column.name === 'feature') continue;
      if (!groups.has(column.group)) groups.set(column.group, []);
      groups.get(column.group).push(column);
    }
    return h('details.menu', h('summary.button', 'columns'), h('div.sheet', [...groups].map(([group, columns]) => h('fieldset', h('legend', group), columns.map((column) =>
      h('label', h('input', { type: 'checkbox', checked: shown.has(column.name), onchange: (event) => {
        if (event.target.checked) shown.add(column.name);
        else shown.delete(column.name);
        change({ cols: [...table.columns.keys()].filter((name) => shown.has(name) && name !== 'feature').join(',') });
      } }), column.label))))));
  }

  async function show(main, place) {
    D.fill(main, h('div.loading', 'reading the features …'));
    let table = await D.table(place.run.slug);
    const about = place.run.about.overview || {};
    if (!table.n) {
      D.fill(main, h('div.page', h('section.card', D.missing(about.missing ? about : { missing: 'This run has no features yet.', command: '' }))));
      return follow(place, () => table, () => D.show(true));
    }
    const results = h('div.results');
    const search = h('input.input.search', { type: 'search', placeholder: 'Search explanations  /', 'aria-label': 'search explanations', value: place.params.get('q') || '', oninput: () => later() });
    const every = h('input', { type: 'checkbox', checked: place.params.get('all') === '1', onchange: () => change({ all: every.checked ? '1' : null }) });
    const told = Boolean(table.get('explanation'));
    const rowsOf = h('input', { type: 'checkbox', checked: place.params.get('rows') === 'all', onchange: () => change({ rows: rowsOf.checked ? 'all' : null }) });
    let timer = 0;
    const later = () => { clearTimeout(timer); timer = setTimeout(() => change({ q: search.value || null }), 60); };

    const lines = grid(table, place, change);
    const list = controls(table, place, change);
    const letGo = (event) => event.target.matches('select:not(:focus-visible)') && event.target.blur(); // chosen with the mouse: not busy any more
    const rail = h('aside.rail', { 'aria-label': 'filters', onchange: letGo });
    const clear = h('button.button.small', { type: 'button', onclick: () => change(null) }, 'clear all');

    async function refresh(fromUser) {
      if (place.params.get('all') === '1' && !table.extra) {
        results.textContent = 'reading every explanation …';
        await table.loadTexts(place.run.slug);
      }
      const start = performance.now();
      const rows = table.query(place.params);
      D.lastQuery = performance.now() - start;
      D.results = { slug: place.run.slug, features: Array.from(rows, (row) => table.features[row]), address: location.hash };
      D.fill(results, summary(table, rows), h('div.right', columnChooser(table, place, change)));
      clear.hidden = ![...place.params.keys()].some((key) => !['sort', 'cols', 'colour'].includes(key));
      lines.show(rows, table);
      const others = () => main.isConnected && list.forEach((one) => one.show(rows, table));
      if (!fromUser) return D.afterPaint(others);
      lines.top();
      others();
      D.announce(D.plural(rows.length, 'feature'));
    }
    function change(changes) {
      const open = rail.parentNode && document.querySelector('details.menu[open]');
      if (changes === null) {
        for (const key of [...place.params.keys()]) if (!['sort', 'cols', 'colour'].includes(key)) place.params.delete(key);
        search.value = '';
        every.checked = rowsOf.checked = false;
        changes = {};
      }
      D.setParams(changes);
      refresh(true).then(() => { if (open) document.querySelector('details.menu').open = true; });
    }

    const facts = [about.subject && `${about.subject} ${about.hook || ''}`, about.coder, about.client && `by ${about.client}`].filter(Boolean).join(' · ');
    D.fill(rail, h('div.searching', search,
      h('div.row.small', table.payload.several ? h('label', every, ' every explanation') : null, told ? h('label', rowsOf, ' unexplained too') : null, clear)),
    facts ? h('p.muted.small.facts', facts) : null, list.map((one) => one.element));
    D.fill(main, h('div.overview', rail, h('section.listing', { 'aria-label': 'features' }, results, lines.element)));
    await refresh(false);
    D.key('/', 'search', () => { search.focus(); search.select(); });
    D.key('j', 'next row', () => lines.move(1));
    D.key('k', 'row before', () => lines.move(-1));
    D.key('ArrowDown', 'next row', () => lines.move(1));
    D.key('ArrowUp', 'row before', () => lines.move(-1));
    D.key('Enter', 'open the feature', () => lines.open());
    D.key('c', 'clear all filters', () => change(null));
    D.key('r', 'a feature at random', () => D.results.features.length && D.go([place.run.slug, 'feature', D.results.features[Math.floor(Math.random() * D.results.features.length)]]));
    const renew = async (next) => {
      if (shape(next, place.params) === shape(table, place.params)) {
        table = next;
        return refresh(false);
      }
      const typing = document.activeElement === search ? [search.selectionStart, search.selectionEnd] : null;
      await D.show(true);
      const again = document.querySelector('.search');
      if (typing && again) { again.focus(); again.setSelectionRange(...typing); }
    };
    const ended = follow(place, () => table, renew);
    return {
      update(next) { place.params = next.params; search.value = next.params.get('q') || ''; D.place = place; refresh(false); },
      leave() { ended(); lines.leave(); list.forEach((one) => one.leave && one.leave()); },
    };
  }

  D.view('overview', { title: 'Features', order: 10, tab: true, holds: 'feature', show });
})();
