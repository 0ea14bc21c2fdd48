'use strict';
// The frame around every page: runs, tabs, theme, help; and which page is shown.
(function () {
  const D = Dashboard;
  const { h } = D;
  const THEMES = { auto: ['◐', 'as the system'], light: ['☀', 'light'], dark: ['☾', 'dark'] };
  let shown = null;
  let turn = 0;

  function themed(name) {
    document.documentElement.dataset.theme = name;
    D.store.set('theme', name);
    const [sign, told] = THEMES[name];
    const button = document.getElementById('theme');
    if (button) {
      button.textContent = sign;
      button.setAttribute('aria-label', `colours: ${told}`);
      button.title = `colours: ${told} (t)`;
    }
    document.dispatchEvent(new CustomEvent('theme'));
  }
  D.nextTheme = function () {
    const names = Object.keys(THEMES);
    themed(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
  };
  const wanted = D.store.get('theme');
  document.documentElement.dataset.theme = wanted in THEMES ? wanted : 'auto';

  function help() {
    const rows = [...D.keys()].map(([key, { told }]) => h('tr', h('td', h('kbd', key === ' ' ? 'space' : key)), h('td', told)));
    const dialog = h('dialog.help', { 'aria-label': 'keys' }, h('h2', 'Keys'), h('table.keys', h('tbody', rows)),
      h('form', { method: 'dialog' }, h('button.button', 'Close')));
    dialog.addEventListener('close', () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  function header(run, name) {
    const tabs = [...D.views].filter(([, view]) => view.tab && view.available(run)).sort((a, b) => a[1].order - b[1].order);
    const links = tabs.map(([key, view]) => h('a.tab', {
      href: D.link([run.slug, key]), 'aria-current': key === name || view.holds === name ? 'page' : null,
    }, view.title));
    const runs = D.site.runs;
    const which = runs.length > 1
      ? h('select.input.which', { 'aria-label': 'run', onchange: (e) => D.go([e.target.value, D.views.get(name).tab ? name : 'overview']) },
        runs.map((one) => h('option', { value: one.slug, selected: one === run }, one.name)))
      : h('span.which', { title: run.folder }, run.name);
    const top = h('header.top', h('a.brand', { href: D.link([run.slug, 'overview']) }, mark(), 'autointerp'), which,
      h('nav.tabs', { 'aria-label': 'pages' }, links),
      h('div.right', h('span', { id: 'status' }), h('button.icon', { type: 'button', id: 'theme', onclick: D.nextTheme }),
        h('button.icon', { type: 'button', 'aria-label': 'keys', title: 'keys (?)', onclick: help }, '?')));
    return top;
  }

  function mark() {
    const dots = [[3, 13, 1], [8, 8, 2.4], [13, 3, 1], [13, 13, 1.6], [3, 3, 1.6]];
    return D.svg('svg.mark', { viewBox: '0 0 16 16', width: 18, height: 18, 'aria-hidden': 'true' },
      dots.map(([cx, cy, r], i) => D.svg('circle', { cx, cy, r, class: i === 1 ? 'hot' : 'cold' })));
  }

  D.isCurrent = (number) => number === turn;

  /** Shows what the address names. */
  D.show = async function (again = false) {
    const { slug, view, parts, params } = D.readAddress();
    const run = D.site.runs.find((one) => one.slug === slug) || D.site.runs[0];
    const name = D.views.has(view) ? view : 'overview';
    const place = { run, view: name, parts: D.views.has(view) ? parts : [], params };
    const same = shown && D.place && D.place.run === run && D.place.view === name && D.place.parts.join('/') === place.parts.join('/');
    D.place = place;
    D.hideTip();
    if (same && again !== true && shown.update) return shown.update(place);
    if (shown && shown.leave) shown.leave();
    shown = null;
    const mine = ++turn;
    D.resetKeys();
    D.key('o', 'overview', () => D.go([run.slug, 'overview']));
    D.key('t', 'light, dark, as the system', D.nextTheme);
    D.key('?', 'this list', help);
    const main = h('main', { id: 'main', tabIndex: -1 });
    const old = document.getElementById('main');
    const fresh = header(run, name);
    if (old) {
      document.querySelector('header.top').replaceWith(fresh);
      old.replaceWith(main);
    } else {
      document.body.prepend(h('a.skip', { href: '#main', onclick: (e) => { e.preventDefault(); main.focus(); } }, 'to the content'), fresh, main);
    }
    themed(document.documentElement.dataset.theme);
    const title = D.views.get(name).title;
    document.title = `${title} · ${run.name} · autointerp`;
    document.body.dataset.view = name;
    scrollTo(0, 0);
    try {
      const result = await D.views.get(name).show(main, place);
      if (mine !== turn) return void (typeof result === 'function' ? result() : result && result.leave && result.leave());
      shown = typeof result === 'function' ? { leave: result } : result || {};
    } catch (error) {
      if (mine === turn) D.fill(main, h('div.page', h('section.card', D.missing({ missing: error.message }))));
      console.error(error);
    }
  };

  D.start = async function () {
    try {
      D.site = await D.load('site');
    } catch (error) {
      document.body.prepend(h('main.entry', h('h1', 'autointerp'), D.missing({ missing: error.message })));
      return;
    }
    addEventListener('hashchange', D.show);
    await D.show();
  };
})();
