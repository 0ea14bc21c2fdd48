'use strict';
// Explanations side by side, and the judged trials behind a score: what was shown, what is true, what the judge said.
(function () {
  const D = Dashboard;
  const { h } = D;
  const FIRST = 4;
  const MORE = 20;
  const SAID = { 1: 'fires', 0: 'silent', '?': 'no answer' };
  const OUTCOMES = {
    hit: ['found', (t, p) => t === '1' && p === '1'],
    miss: ['missed', (t, p) => t === '1' && p === '0'],
    false: ['false alarm', (t, p) => t === '0' && p === '1'],
    quiet: ['rightly silent', (t, p) => t === '0' && p === '0'],
    none: ['no answer', (t, p) => p === '?'],
  };

  const outcome = (truth, predicted) => Object.keys(OUTCOMES).find((key) => OUTCOMES[key][1](truth, predicted));

  function interval(score) {
    const { value, low, high } = score;
    return value === null ? 'no answer' : `${D.fixed(value)} ${low === null ? '' : `[${D.fixed(low)}, ${D.fixed(high)}]`}`;
  }

  function scoreLine(score, picked, pick) {
    const none = score.null;
    const more = [score.label, `${score.n} trials, ${score.n_failed} without an answer`, `judge ${score.client}`];
    if (score.metrics.tpr !== undefined) more.push(`finds ${D.percent(score.metrics.tpr)}, leaves ${D.percent(score.metrics.tnr)} of the silent ones`);
    if (score.metrics.auroc !== undefined) more.push(`AUROC ${D.fixed(score.metrics.auroc)}`);
    if (none) more.push(`null ${D.fixed(none.value)}: the same trials judged by the explanation of feature ${none.partner}`);
    const button = h('button.scoreline', { type: 'button', 'aria-pressed': String(picked), onclick: pick },
      h('span.score-name', score.name), D.scoreBar({ value: score.value, low: score.low, high: score.high, nullValue: none ? none.value : null, range: score.range, chance: score.chance, width: 150 }),
      h('span.num', interval(score)), none ? h('span.muted.num', `null ${D.fixed(none.value)}`) : h('span'));
    return D.tip(button, more.join('\n'));
  }

  function hits(score) {
    const by = score.metrics.hits_by_quantile;
    if (!by) return null;
    const keys = Object.keys(by).sort((a, b) => a - b);
    return h('div.hits', { role: 'img', 'aria-label': `found by quantile: ${keys.map((k) => `${by[k][0]} of ${by[k][1]}`).join(', ')}` },
      h('span.muted.small', 'found, weak to strong'), h('span.hit-bars', keys.map((k) => {
        const bar = h('span.hit-bar', h('span'));
        bar.firstChild.style.setProperty('height', `${(100 * by[k][0]) / Math.max(by[k][1], 1)}%`);
        return D.tip(bar, `quantile ${Number(k) + 1} of ${keys.length}: ${by[k][0]} of ${by[k][1]} found`);
      })));
  }

  function trial(score, t, feature, max, slug) {
    const { trials } = score;
    const [truth, predicted] = [trials.truth[t], trials.predicted[t]];
    const kind = trials.kinds[trials.kind[t]];
    const key = outcome(truth, predicted);
    const sure = trials.probability && trials.probability[t] !== null ? ` ${D.percent(trials.probability[t])}` : '';
    const failure = trials.failure && trials.failure[t];
    const judged = score.null && score.null.trials.predicted ? score.null.trials.predicted[t] : null;
    const what = kind === 'activating' ? `quantile ${trials.quantile[t] + 1}` : kind;
    const lead = h('span.verdict', { class: `verdict ${key}` }, h('b', OUTCOMES[key][0]), h('span', `judge: ${SAID[predicted]}${sure}`), h('span.muted', what), judged !== null ? h('span.muted', `null: ${SAID[judged]}`) : null,
      failure ? h('span.muted', failure) : null);
    const example = trials.example[t];
    const context = typeof example === 'number' ? feature.examples[example] : null;
    if (context) return h('li.trial', lead, D.context(context, { max, kinds: feature.kinds, slug }));
    return h('li.trial', lead, h('div.tokens.words', typeof example === 'number' ? 'the context is in the cache, which is missing' : example));
  }

  /** The trials of one score: counts of right and wrong answers that filter the list below. */
  D.trials = function (score, feature, slug) {
    if (!score.trials || !score.trials.truth) return h('p.muted.small', score.n ? 'The trials of this score are not on this page.' : 'No trials.');
    const n = score.trials.truth.length;
    const groups = new Map(Object.keys(OUTCOMES).map((key) => [key, []]));
    for (let t = 0; t < n; t++) groups.get(outcome(score.trials.truth[t], score.trials.predicted[t])).push(t);
    const max = feature.contexts.max || Math.max(0, ...feature.examples.filter(Boolean).flatMap((e) => e.v));
    const list = h('ol.trials');
    const more = h('button.button', { type: 'button', onclick: () => grow() });
    let [chosen, shown] = [[], 0];
    function grow() {
      const next = chosen.slice(shown, shown + (shown ? MORE : FIRST));
      list.append(...next.map((t) => trial(score, t, feature, max, slug)));
      shown += next.length;
      more.hidden = shown >= chosen.length;
      more.textContent = `${Math.min(MORE, chosen.length - shown)} more of ${chosen.length}`;
    }
    function pick(key) {
      chosen = key ? groups.get(key) : mixed([...groups.values()], n);
      shown = 0;
      list.replaceChildren();
      chips.forEach((chip) => chip.setAttribute('aria-pressed', String(chip.dataset.key === (key || ''))));
      grow();
    }
    const chips = [['', 'all', n], ...[...groups].filter(([, ts]) => ts.length).map(([key, ts]) => [key, OUTCOMES[key][0], ts.length])].map(([key, label, count]) =>
      h('button.chip', { type: 'button', data: { key }, class: `chip ${key}`, onclick: () => pick(key) }, label, h('b', count)));
    const none = score.null && score.null.text ? h('p.small.muted', `The null judged the same trials by the explanation of feature ${score.null.partner}: “${score.null.text}”`) : null;
    pick('');
    return h('div.judged', h('div.row', h('div.chips', chips), hits(score)), none, list, more);
  };

  /** One of each outcome in turn, so that the first few show them all. */
  function mixed(groups, n) {
    const order = [];
    for (let k = 0; order.length < n; k++) for (const group of groups) if (k < group.length) order.push(group[k]);
    return order;
  }

  function details(told) {
    const entries = Object.entries(told.details);
    if (!entries.length) return null;
    return h('details.small', h('summary.muted', 'how it was made'), entries.map(([key, value]) => h('div', h('b', key), h('pre', value))));
  }

  /** All explanations of a feature with their scores; one score's trials are open. */
  D.explanations = function (body, feature, place) {
    if (!feature.explanations.length) {
      const why = feature.skipped ? `Skipped: ${feature.skipped}.` : 'This feature has not been explained in this run.';
      return void body.append(D.missing({ missing: why, command: feature.skipped ? '' : `autointerp run --features ${feature.feature} --out ${place.run.folder} …` }));
    }
    const opened = h('div.opened');
    const lines = [];
    const pick = (key, score) => {
      lines.forEach(([own, line]) => line.setAttribute('aria-pressed', String(own === key)));
      D.setParams({ trials: key });
      D.fill(opened, key ? [h('h3', `Trials of ${key.replace('/', ' · ')}`), D.trials(score, feature, place.run.slug)] : null);
    };
    const blocks = feature.explanations.map((told) => h('article.explanation',
      h('div.row', h('h3', told.name), h('span.muted.small', told.client === told.name ? '' : told.model || told.client)),
      told.failure ? h('p.muted', `no explanation: ${told.failure}`) : h('p.told', { dir: 'ltr' }, told.text), details(told),
      h('div.scorelines', told.scores.map((score) => {
        const key = `${told.name}/${score.name}`;
        const line = scoreLine(score, false, () => pick(line.getAttribute('aria-pressed') === 'true' ? null : key, score));
        lines.push([key, line, score]);
        return line;
      }), told.scores.length || told.failure ? null : h('p.muted.small', 'not scored yet'))));
    body.append(h('div.explanations', { class: blocks.length > 1 ? 'explanations several' : 'explanations' }, blocks), opened);
    const wanted = lines.find(([key]) => key === place.params.get('trials')) || lines.find(([, , score]) => score.trials && score.trials.truth);
    if (wanted) {
      lines.forEach(([own, line]) => line.setAttribute('aria-pressed', String(own === wanted[0])));
      D.fill(opened, [h('h3', `Trials of ${wanted[0].replace('/', ' · ')}`), D.trials(wanted[2], feature, place.run.slug)]);
    }
  };
})();
