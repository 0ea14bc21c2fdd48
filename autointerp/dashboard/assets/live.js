'use strict';
// Following a run: counters asked for again and again, drawn as they come.
(function () {
  const D = Dashboard;
  const { h } = D;
  const QUICK = 2000;
  const SLOW = 15000;
  const KEPT = 900;
  const history = new Map();
  let timer = 0;
  let stamp = null;

  async function poll() {
    clearTimeout(timer);
    const slug = D.place && D.place.run.slug;
    let pause = SLOW;
    if (slug && !document.hidden) {
      const status = await D.load(`${slug}/status`, { fresh: true }).catch((error) => ({ missing: error.message }));
      if (!status.missing) {
        const seen = history.get(slug) || [];
        seen.push(status);
        if (seen.length > KEPT) seen.shift();
        history.set(slug, seen);
        if (status.running) pause = QUICK;
        const mark = `${slug}:${status.stamp}`;
        if (stamp && stamp !== mark && stamp.startsWith(slug + ':')) D.forget(`${slug}/`);
        stamp = mark;
      }
      badge(status);
      document.dispatchEvent(new CustomEvent('status', { detail: { slug, status } }));
    }
    if (D.live) timer = setTimeout(poll, pause);
  }

  function badge(status) {
    const place = document.getElementById('status');
    if (!place) return;
    D.fill(place, status.running ? h('a.pill.running', { href: D.link([D.place.run.slug, 'live']) }, h('span.dot'), `running, ${D.plural(status.explained, 'feature')}`) : null);
  }

  function rate(seen) {
    const points = [];
    for (let i = 1; i < seen.length; i++) {
      const seconds = seen[i].now - seen[i - 1].now;
      if (seconds > 0) points.push([seen[i].now, ((seen[i].answers - seen[i - 1].answers) / seconds) * 60]);
    }
    return points;
  }

  const money = (x) => `$${x >= 100 ? x.toFixed(0) : x.toFixed(x < 0.1 && x > 0 ? 4 : 2)}`;
  const ago = (now, then) => {
    const s = Math.max(0, now - then);
    return s < 90 ? `${Math.round(s)} s ago` : s < 5400 ? `${Math.round(s / 60)} min ago` : s < 172800 ? `${Math.round(s / 3600)} h ago` : `${Math.round(s / 86400)} days ago`;
  };

  function panel(title, value, told, drawing) {
    return h('section.card.figure', h('h2', title), h('div.figure-value', value), told ? h('p.muted.small', told) : null, drawing || null);
  }

  function render(root, slug, status) {
    if (status.missing) return void D.fill(root, h('section.card', D.missing(status)));
    const seen = history.get(slug) || [status];
    const done = status.explained + status.failed + status.skipped;
    const speed = status.answered_last_minute;
    const share = status.asked ? Math.min(done / status.asked, 1) : null;
    const bar = share === null ? null : h('div.progress', { role: 'progressbar', 'aria-label': 'features done', 'aria-valuenow': Math.round(share * 100), 'aria-valuemin': 0, 'aria-valuemax': 100 }, h('span'));
    if (bar) bar.firstChild.style.setProperty('width', `${share * 100}%`);
    const money_told = [status.maybe_usd ? `up to ${money(status.maybe_usd)} more for attempts in flight or cut off` : null, status.unpriced ? `${D.plural(status.unpriced, 'answer')} of unknown price` : null, status.budget ? `budget ${money(status.budget)}` : null].filter(Boolean).join('; ');
    const failures = Object.entries(status.failures);
    D.fill(root,
      h('div.row', h('h1', status.running ? 'Running' : 'Not running'), h('span.pill', { class: status.running ? 'pill running' : 'pill' }, h('span.dot'), status.running ? D.plural(status.workers, 'process', 'processes') : status.last ? `last sign ${ago(status.now, status.last)}` : 'never started')),
      h('div.grid.figures',
        panel('Features', `${done.toLocaleString('en')}${status.asked ? ` of ${status.asked.toLocaleString('en')}` : ''}`, `${status.explained.toLocaleString('en')} explained, ${status.failed.toLocaleString('en')} failed, ${status.skipped.toLocaleString('en')} skipped`, bar),
        panel('Scores', status.scores.toLocaleString('en'), `${status.nulls.toLocaleString('en')} nulls beside them`, D.line(seen.map((s) => [s.now, s.scores]), { label: 'scores over time' })),
        panel('Rate', `${speed.toLocaleString('en')} a minute`, `${status.in_flight.toLocaleString('en')} requests in flight, ${status.answers.toLocaleString('en')} answered`, D.line(rate(seen), { label: 'answers a minute over time' })),
        panel('Spend', money(status.usd), money_told || `${D.number(status.input_tokens)} tokens in, ${D.number(status.output_tokens)} out`, D.line(seen.map((s) => [s.now, s.usd]), { label: 'spend over time' }))),
      h('div.grid.wide',
        h('section.card', h('header', h('h2', 'Scored last')), status.latest.feature.length ? h('table.table', h('thead', h('tr', h('th', 'feature'), h('th', 'explainer'), h('th', 'scorer'), h('th.num', 'value'))), h('tbody', status.latest.feature.slice(0, 12).map((feature, i) =>
          h('tr', h('td', h('a', { href: D.link([slug, 'feature', feature]) }, feature)), h('td', status.latest.explainer[i]), h('td', status.latest.scorer[i]), h('td.num', D.fixed(status.latest.value[i])))))) : h('p.muted', 'Nothing yet.')),
        h('section.card', h('header', h('h2', 'Failures')), failures.length ? h('table.table', h('tbody', failures.map(([kind, n]) => h('tr', h('td', kind), h('td.num', n.toLocaleString('en')))))) : h('p.muted', 'No attempt has failed.'),
          h('h3', 'Requests by model'), h('table.table', h('tbody', Object.entries(status.models).map(([name, n]) => h('tr', h('td', name), h('td.num', n.toLocaleString('en')))))),
          status.events.length ? [h('h3', 'Events'), h('ul.events', [...status.events].reverse().slice(0, 8).map((event) => h('li', h('span.muted', `${ago(status.now, event.time)} `), `${event.kind}: ${event.text}`)))] : null)));
  }

  async function show(main, place) {
    const root = h('div.page');
    D.fill(main, root);
    const slug = place.run.slug;
    render(root, slug, await D.load(`${slug}/status`));
    const follow = (event) => event.detail.slug === slug && render(root, slug, event.detail.status);
    document.addEventListener('status', follow);
    poll();
    return () => document.removeEventListener('status', follow);
  }

  D.view('live', { title: 'Progress', order: 90, tab: true, show });
  addEventListener('load', () => setTimeout(poll, 400));
  addEventListener('hashchange', () => setTimeout(() => D.live && poll(), 50));
  document.addEventListener('visibilitychange', () => D.live && !document.hidden && poll());
})();
