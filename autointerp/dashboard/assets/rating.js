'use strict';
// Blind rating: cards without their origin, answered by key; what raters and judges agree on.
(function () {
  const D = Dashboard;
  const { h } = D;
  const KINDS = {
    context: ['Where does it fire?', 'An explanation and a context: does the feature fire in it? What the judge was asked in detection.'],
    explanation: ['Whose explanation?', 'Contexts in which a feature fires, and an explanation: is it this feature’s own, or another’s?'],
  };
  const ASKS = {
    context: ['Does a feature with this explanation fire in this context?', 'it fires', 'it is silent'],
    explanation: ['Does this explanation fit these contexts?', 'it fits', 'it does not'],
  };

  function begin(root, place) {
    const slug = place.run.slug;
    const params = place.params;
    const kind = params.get('kind') in KINDS ? params.get('kind') : 'context';
    const choices = Object.entries(KINDS).map(([key, [title, about]]) => h('label.choice', h('input', { type: 'radio', name: 'kind', value: key, checked: key === kind }), h('span', h('b', title), h('span.muted', about))));
    const name = h('input.input', { name: 'rater', required: true, maxLength: 64, value: params.get('rater') || D.store.get('rater') || '', autocomplete: 'off', 'aria-label': 'your name' });
    const status = h('p.muted.small', { role: 'status' });
    const form = h('form.stack.rate-form', { onsubmit: (event) => {
      event.preventDefault();
      const chosen = form.querySelector('[name=kind]:checked').value;
      D.store.set('rater', name.value.trim());
      D.go([slug, 'rate', chosen], { rater: name.value.trim(), n: form.elements.n.value, seed: form.elements.seed.value });
    } }, choices, h('div.fields', h('label.field', h('span', 'your name'), name), D.field('cards', 'n', place, { inputMode: 'numeric', size: 4 }), D.field('seed', 'seed', place, { inputMode: 'numeric', size: 6 }), h('div.field.go', h('button.button.primary', 'Begin'))), status);
    form.elements.n.value ||= '40';
    form.elements.seed.value ||= '0';
    root.append(h('div.page', h('section.card.begin-card', h('header', h('h1', 'Blind rating'), h('span.muted.small', 'raters with the same seed are dealt the same cards, in the same order'), h('span.right', h('a', { href: D.link([slug, 'rate', 'results']) }, 'results'))), form)));
    return {};
  }

  async function rate(root, place) {
    const slug = place.run.slug;
    const kind = place.parts[0];
    const rater = place.params.get('rater') || '';
    const dealt = await D.post(`${slug}/rating-deal`, { rater, kind, n: place.params.get('n') || 40, seed: place.params.get('seed') || 0 });
    const done = new Set(dealt.answered);
    const total = dealt.cards.length;
    const [question, yes, no] = ASKS[kind];
    const bar = h('progress', { max: total, value: done.size, 'aria-label': 'rated' });
    const count = h('span.muted.small');
    const card = h('section.card.rated-card', { 'aria-live': 'polite' });
    const status = h('span.muted.small', { role: 'status' });
    let at = 0;
    let since = performance.now();
    let busy = false;
    const history = [];
    const next = () => { for (let i = 0; i < total; i++) if (!done.has(i)) return i; return total; };

    async function answer(said) {
      if (busy || at >= total) return;
      busy = true;
      try {
        await D.post(`${slug}/rating-answer`, { deal: dealt.deal, card: at, rater, answer: said, seconds: Math.round((performance.now() - since) / 100) / 10 });
        D.fill(status, '');
        done.add(at);
        history.push(at);
        D.forget(`${slug}/ratings`);
        at = next();
        draw();
      } catch (error) {
        D.fill(status, `not kept: ${error.message}`);
      }
      busy = false;
    }
    function back() {
      if (!history.length) return;
      at = history.pop();
      done.delete(at);
      draw();
    }
    function draw() {
      bar.value = done.size;
      D.fill(count, `${done.size} of ${total}`);
      since = performance.now();
      if (at >= total) {
        D.fill(card, h('div.stack.finished', h('h2', 'All rated. Thank you.'), h('a.button.primary', { href: D.link([slug, 'rate', 'results']) }, 'See the results')));
        return;
      }
      const one = dealt.cards[at];
      const max = Math.max(...one.contexts.flatMap((c) => c.v || []), 1e-9);
      const contexts = one.contexts.map((c) => plain(c, max));
      const parts = [h('blockquote.quoted', one.text), h('div.rated-contexts', contexts)];
      D.fill(card, h('p.question', question), kind === 'context' ? parts : parts.reverse(),
        h('div.row.answers', h('button.button.big', { type: 'button', onclick: () => answer(true) }, yes, h('kbd', 'y')), h('button.button.big', { type: 'button', onclick: () => answer(false) }, no, h('kbd', 'n')), history.length ? h('button.button', { type: 'button', onclick: back }, 'undo ', h('kbd', 'u')) : null, status));
    }
    function plain(context, max) {
      const tokens = D.tokens(context);
      const v = new Float32Array(tokens.length);
      (context.at || []).forEach((i, k) => { v[i] = context.v[k]; });
      const isText = Boolean(context.ends);
      return h(isText ? 'p.rated-text' : 'p.rated-text.mono', tokens.map((token, i) => { const level = D.level(v[i], max); return level >= 0 ? h(`span.a${level}`, token) : token; }));
    }
    at = next();
    D.key('y', yes, () => answer(true));
    D.key('n', no, () => answer(false));
    D.key('u', 'undo', back);
    root.append(h('div.page', h('section.card.slim', h('div.row', h('h1.plain', KINDS[kind][0]), h('span.muted', `rater ${rater}`), bar, count, h('span.right', h('a', { href: D.link([slug, 'rate'], { kind, rater, seed: place.params.get('seed'), n: place.params.get('n') }) }, 'other cards')))), card));
    draw();
    return {};
  }

  function save(name, type, text) {
    const address = URL.createObjectURL(new Blob([text], { type }));
    const link = h('a', { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  const interval = (value, low, high) => (value === null ? '–' : `${D.fixed(value)} (${D.fixed(low)} … ${D.fixed(high)})`);
  const head = (text, isNumber) => (text ? h(isNumber ? 'th.num' : 'th', text) : h('td'));
  function dot(one, name, range) {
    return D.scoreBar ? D.scoreBar({ value: one[name], low: one[`${name}_low`], high: one[`${name}_high`], range, chance: name === 'kappa' ? 0 : 0.5, width: 130 }) : null;
  }

  async function results(root, place) {
    const slug = place.run.slug;
    const found = await D.load(`${slug}/ratings`, { fresh: true });
    if (!found.ratings.length) {
      root.append(h('div.page', h('section.card', h('header', h('h1', 'Ratings')), h('p.muted', 'Nothing was rated yet. '), h('a', { href: D.link([slug, 'rate']) }, 'Begin'))));
      return {};
    }
    const right = found.accuracy.map((one) => h('tr', h('td', KINDS[one.kind][0]), h('td', one.who), h('td.num', one.n), h('td', dot(one, 'observed', [0, 1])), h('td.num', interval(one.observed, one.observed_low, one.observed_high))));
    const agree = found.agreement.map((one) => h('tr', h('td', KINDS[one.kind][0]), h('td', one.first), h('td', one.second), h('td.num', one.n), h('td.num', D.fixed(one.observed)), h('td', dot(one, 'kappa', [-1, 1])), h('td.num', interval(one.kappa, one.kappa_low, one.kappa_high))));
    const { csv, ...rest } = found;
    root.append(h('div.page', h('section.card', h('header', h('h1', 'Ratings'), h('span.muted.small', `${D.plural(found.ratings.length, 'rating')}; intervals take the cards of one feature together`),
      h('span.right.row', h('button.button', { type: 'button', onclick: () => save(`${slug}-ratings.csv`, 'text/csv', csv) }, 'CSV'), h('button.button', { type: 'button', onclick: () => save(`${slug}-ratings.json`, 'application/json', JSON.stringify(rest, null, 1)) }, 'JSON'), D.live ? h('a.button', { href: D.link([slug, 'rate']) }, 'rate more') : null)),
    h('h2', 'Right answers'), h('div.scrolls', h('table.table.narrow', h('thead', h('tr', ['question', 'who', 'cards', '', 'share right (95 %)'].map((x, i) => head(x, i === 2 || i === 4)))), h('tbody', right))),
    ), h('section.card', h('header', h('h2', 'Agreement'), h('span.muted.small', 'Cohen’s κ: 0 is chance, 1 is perfect; the judge says an explanation fits where its score is above chance with its interval')),
      agree.length ? h('div.scrolls', h('table.table.narrow', h('thead', h('tr', ['question', 'one', 'other', 'cards', 'same', '', 'κ (95 %)'].map((x, i) => head(x, i === 3 || i === 4 || i === 6)))), h('tbody', agree))) : h('p.muted', 'Nobody else has answered these questions.'))));
    return {};
  }

  D.view('rate', {
    title: 'Rate', order: 60, tab: true,
    available: (run) => D.live || Boolean(run.about.rating && run.about.rating.n),
    show(root, place) {
      const [part] = place.parts;
      if (part === 'results' || !D.live) return results(root, place);
      return part in KINDS ? rate(root, place) : begin(root, place);
    },
  });
})();
