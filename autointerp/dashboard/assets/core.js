'use strict';
// The core: elements, payloads, addresses, keys, tooltips. Text reaches the page through text nodes alone.
(function () {
  const root = document.documentElement;
  const D = (window.Dashboard = { live: root.dataset.mode === 'live', site: null, views: new Map(), panels: [] });

  // ------------------------------------------------------------------------------------------------------ elements
  const SVG = 'http://www.w3.org/2000/svg';
  const PROPERTIES = new Set(['value', 'checked', 'disabled', 'hidden', 'selected', 'open', 'tabIndex', 'indeterminate']);
  const SAFE_ADDRESS = /^(#|https?:\/\/|assets\/|data\/|\.\/|blob:)/;

  // signs that turn the direction of what follows, and others that are not seen
  const UNSEEN = /[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c\u0000-\u0008\u000b-\u001f\u007f]/g;
  D.plain = (text) => String(text).replace(UNSEEN, '\ufffd');

  function put(element, child) {
    if (child === null || child === undefined || child === false) return;
    if (Array.isArray(child)) child.forEach((one) => put(element, one));
    else element.append(child instanceof Node ? child : document.createTextNode(D.plain(child)));
  }

  function dress(element, attributes) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith('on') && typeof value === 'function') element.addEventListener(name.slice(2), value);
      else if (name === 'style') for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
      else if (name === 'data') for (const [key, one] of Object.entries(value)) element.dataset[key] = one;
      else if (PROPERTIES.has(name) && name in element) element[name] = value;
      else if (name === 'href' && !SAFE_ADDRESS.test(value)) continue;
      else element.setAttribute(name, value === true ? '' : D.plain(value));
    }
  }

  function make(element, classes, rest) {
    if (classes.length) element.setAttribute('class', classes.join(' '));
    let children = rest;
    const first = rest[0];
    if (first && typeof first === 'object' && !Array.isArray(first) && !(first instanceof Node)) {
      dress(element, first);
      children = rest.slice(1);
    }
    put(element, children);
    return element;
  }

  /** h('div.card', {title: 'x', onclick: f}, 'text', child, [children]) */
  D.h = function (spec, ...rest) {
    const [name, ...classes] = spec.split('.');
    return make(document.createElement(name || 'div'), classes, rest);
  };
  /** The same for SVG. */
  D.svg = function (spec, ...rest) {
    const [name, ...classes] = spec.split('.');
    return make(document.createElementNS(SVG, name), classes, rest);
  };
  D.fill = function (element, ...children) {
    element.replaceChildren();
    put(element, children);
    return element;
  };

  // ------------------------------------------------------------------------------------------------------ payloads
  const known = new Map();
  const waiting = new Map();
  const MOST_KNOWN = 300;

  async function answered(response) {
    const value = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
    if (!response.ok) throw new Error(value.error || `the server answered ${response.status}`);
    return value;
  }

  const address = (name) => name.split('/').map(encodeURIComponent).join('/');

  function fromDisk(name) {
    return new Promise((resolve, reject) => {
      waiting.set(name, resolve);
      const script = document.createElement('script');
      script.src = `data/${address(name)}.js`;
      script.onload = () => {
        script.remove();
        if (waiting.delete(name)) reject(new Error(`${name} holds something else`));
      };
      script.onerror = () => {
        script.remove();
        waiting.delete(name);
        reject(new Error(`${name} is not part of this static site`));
      };
      document.head.append(script);
    });
  }

  /** The payload of that name: asked of the server, or a script beside the page in a static site. */
  D.load = function (name, { fresh = false } = {}) {
    if (known.has(name) && !(fresh && D.live)) return known.get(name);
    const promise = D.live ? fetch(`data/${address(name)}`).then(answered) : fromDisk(name);
    known.delete(name);
    known.set(name, promise);
    promise.catch(() => known.get(name) === promise && known.delete(name));
    if (known.size > MOST_KNOWN) known.delete([...known.keys()].find((key) => key.split('/').length > 2));
    return promise;
  };
  /** Called by the scripts of a static site. */
  D.receive = function (name, value) {
    const resolve = waiting.get(name);
    waiting.delete(name);
    if (resolve) resolve(value);
  };
  D.forget = function (prefix) {
    for (const name of [...known.keys()]) if (name.startsWith(prefix)) known.delete(name);
  };
  D.post = function (name, body) {
    if (!D.live) return Promise.reject(new Error('a static site cannot do this: open it with `autointerp dashboard`'));
    const headers = { 'Content-Type': 'application/json', 'X-Autointerp': '1' };
    return fetch(`act/${address(name)}`, { method: 'POST', headers, body: JSON.stringify(body) }).then(answered);
  };
  const scripts = new Map();
  /** A script of the package, loaded when it is first needed. */
  D.script = function (file) {
    if (!scripts.has(file)) {
      scripts.set(file, new Promise((resolve, reject) => {
        const script = D.h('script', { src: `assets/${file}` });
        script.onload = () => resolve();
        script.onerror = () => reject(new Error(`${file} cannot be loaded`));
        document.head.append(script);
      }));
    }
    return scripts.get(file);
  };

  // ------------------------------------------------------------------------------------------------------ addresses
  function read() {
    const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
    const [slug, view, ...parts] = path.split('/').filter(Boolean).map(decodeURIComponent);
    return { slug, view, parts, params: new URLSearchParams(query || '') };
  }

  function address_of(parts, params) {
    const query = new URLSearchParams();
    for (const [key, value] of params instanceof URLSearchParams ? params : Object.entries(params || {})) {
      if (value !== null && value !== undefined && value !== '') query.set(key, value);
    }
    const text = query.toString();
    return '#/' + parts.map((part) => encodeURIComponent(part)).join('/') + (text ? '?' + text : '');
  }

  D.link = address_of;
  D.place = null;
  D.go = function (parts, params) {
    const next = address_of(parts, params);
    if (next === location.hash) D.show();
    else location.hash = next;
  };
  /** Changes parameters of the address; no new entry in the history. */
  D.setParams = function (changes) {
    const params = D.place.params;
    for (const [key, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === '') params.delete(key);
      else params.set(key, value);
    }
    history.replaceState(null, '', address_of([D.place.run.slug, D.place.view, ...D.place.parts], params));
  };
  D.readAddress = read;
  D.view = (name, view) => D.views.set(name, { order: 100, tab: false, available: () => true, ...view });
  D.panel = (panel) => D.panels.push({ order: 100, side: false, ...panel });

  // ------------------------------------------------------------------------------------------------------ keys
  let keys = new Map();
  D.key = (key, told, act) => keys.set(key, { told, act });
  D.resetKeys = () => (keys = new Map());
  D.keys = () => keys;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest && event.target.closest('input, textarea, select, [contenteditable]');
    if (event.key === 'Escape' && typing) event.target.blur();
    if (typing || document.querySelector('dialog[open]')) return;
    const found = keys.get(event.key);
    if (!found) return;
    if (event.key === 'Enter' && event.target.closest('a, button, summary, [role=option]')) return;
    event.preventDefault();
    found.act(event);
  });

  // ------------------------------------------------------------------------------------------------------ tooltips
  const tips = new WeakMap();
  const tip = D.h('div.tip', { role: 'tooltip', hidden: true });
  document.addEventListener('DOMContentLoaded', () => document.body.append(tip));
  function over(event) {
    for (let at = event.target; at && at.nodeType === 1; at = at.parentNode) {
      const told = tips.get(at);
      if (told === undefined) continue;
      const content = typeof told === 'function' ? told(event.target) : told;
      if (!content) continue;
      D.fill(tip, content);
      tip.hidden = false;
      const box = (event.target.closest('[data-at]') || (event.target === at ? at : event.target)).getBoundingClientRect();
      const width = tip.offsetWidth;
      const height = tip.offsetHeight;
      const left = Math.min(Math.max(box.left + box.width / 2 - width / 2, 6), innerWidth - width - 6);
      const top = box.top - height - 7 < 4 ? box.bottom + 7 : box.top - height - 7;
      tip.style.setProperty('left', `${left}px`);
      tip.style.setProperty('top', `${top}px`);
      return;
    }
    tip.hidden = true;
  }
  document.addEventListener('mouseover', over);
  document.addEventListener('focusin', over);
  document.addEventListener('scroll', () => (tip.hidden = true), true);
  document.addEventListener('focusout', () => (tip.hidden = true));
  /** What to show beside an element: a text, an element, or a function of what the mouse is on. */
  D.tip = function (element, told) {
    tips.set(element, told);
    return element;
  };
  D.hideTip = () => (tip.hidden = true);

  // ------------------------------------------------------------------------------------------------------ words
  D.number = function (x, digits = 3) {
    if (x === null || x === undefined || Number.isNaN(x)) return '–';
    if (Number.isInteger(x)) return x.toLocaleString('en');
    const size = Math.abs(x);
    if (size >= 1000) return Math.round(x).toLocaleString('en');
    if (size !== 0 && size < 0.001) return x.toExponential(1).replace('e-', 'e−');
    return String(Number(x.toPrecision(digits))).replace('-', '−');
  };
  D.fixed = (x, digits = 2) =>
    x === null || x === undefined || Number.isNaN(x) ? '–' : x.toFixed(digits).replace('-', '−');
  D.percent = function (x) {
    if (x === null || x === undefined || Number.isNaN(x)) return '–';
    const share = x * 100;
    return (share !== 0 && share < 0.01 ? share.toExponential(0) : String(Number(share.toPrecision(2)))) + ' %';
  };
  D.plural = (n, one, many) => `${n.toLocaleString('en')} ${n === 1 ? one : many || one + 's'}`;
  /** The class a0 … a9 that colours a token, 0 for the weakest. */
  D.level = (value, max) => (value > 0 && max > 0 ? Math.min(9, Math.floor((value / max) * 10)) : -1);
  D.colour = (i) => `var(--c${((i % 9) + 9) % 9})`;
  /** What a variable of the style sheet is now, for a canvas: read as text it would be `light-dark(…)`. */
  D.colourNow = function (name) {
    document.head.style.setProperty('color', `var(${name})`); // never seen itself
    return getComputedStyle(document.head).color;
  };

  /** In the place of what is missing: what, and the command that makes it. */
  D.missing = function (what) {
    const body = D.h('div.empty', D.h('p', what.missing || 'Nothing here.'));
    if (what.command) {
      const copy = D.h('button.button.small', { type: 'button', onclick: () => {
        navigator.clipboard?.writeText(what.command).then(() => D.toast('copied'), () => {});
      } }, 'copy');
      body.append(D.h('div.command', D.h('code', { tabIndex: 0 }, what.command), copy));
    }
    return body;
  };

  const voice = D.h('div.unseen', { 'aria-live': 'polite' });
  document.addEventListener('DOMContentLoaded', () => document.body.append(voice));
  /** Does something once what was made so far is on the screen. */
  D.afterPaint = (act) => requestAnimationFrame(() => setTimeout(act));
  D.announce = (text) => (voice.textContent = text);
  D.toast = function (text) {
    D.announce(text);
    const toast = D.h('div.toast', text);
    document.body.append(toast);
    setTimeout(() => toast.remove(), 2600);
  };
  D.store = {
    get(key) { try { return localStorage.getItem('autointerp-' + key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem('autointerp-' + key, value); } catch { /* private window */ } },
  };
})();
