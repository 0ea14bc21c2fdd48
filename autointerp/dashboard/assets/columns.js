'use strict';
// The table of all features as columns in memory: search, ranges, words, order. No element is touched here.
(function () {
  const D = Dashboard;

  const MOST_COLLATED = 2000;

  class Table {
    constructor(payload) {
      this.features = Int32Array.from(payload.features);
      this.n = this.features.length;
      this.payload = payload;
      this.columns = new Map();
      for (const column of payload.columns) this.columns.set(column.name, decoded(column));
      this.columns.set('feature', { name: 'feature', label: 'feature', kind: 'number', group: 'feature', values: Float64Array.from(this.features) });
      this.extra = null;
      const told = this.columns.get('explanation');
      this.lower = told ? told.values.map((text) => (text || '').toLowerCase()) : [];
      this.scores = [...this.columns.values()].filter((c) => c.group === 'score');
      this.firstScores = this.scores.filter((c) => c.first);
      this.row = new Map();
      this.features.forEach((feature, i) => this.row.set(feature, i));
    }

    get(name) { return this.columns.get(name); }

    text(row) {
      const told = this.columns.get('explanation');
      return told ? told.values[row] : null;
    }

    /** Texts of the other explanations join the search. */
    async loadTexts(slug) {
      if (this.extra || !this.payload.several) return;
      const extra = new Array(this.n).fill('');
      const parts = Math.ceil(this.n / this.payload.chunk);
      await Promise.all(Array.from({ length: parts }, async (_, i) => {
        const chunk = await D.load(`${slug}/texts/${i}`);
        chunk.feature.forEach((feature, k) => { extra[this.row.get(feature)] += '\n' + chunk.text[k].toLowerCase(); });
      }));
      this.extra = extra;
    }

    /** Rows that fit the parameters of an address, in their order. */
    query(params) {
      const tests = [];
      const told = this.columns.get('explanation');
      const only = params.get('rows') || (told ? 'told' : 'all');
      if (only === 'told' && told) tests.push((i) => told.values[i] !== null && told.values[i] !== undefined);
      tests.push(...this.textTests(params.get('q') || '', params.get('all') === '1'));
      for (const [key, value] of params) {
        const column = this.columns.get(key);
        if (!column || !value) continue;
        if (column.kind === 'number') tests.push(rangeTest(column.values, value));
        else if (column.kind === 'category') tests.push(wordTest(column, value));
        else if (column.kind === 'tags') tests.push(tagTest(column, value));
      }
      const box = params.get('box');
      if (box && this.columns.has('x')) tests.push(boxTest(this.columns.get('x').values, this.columns.get('y').values, box));
      const rows = new Int32Array(this.n);
      let n = 0;
      rows: for (let i = 0; i < this.n; i++) {
        for (let t = 0; t < tests.length; t++) if (!tests[t](i)) continue rows;
        rows[n++] = i;
      }
      return this.ordered(rows.subarray(0, n), params.get('sort') || this.defaultSort());
    }

    defaultSort() { return this.firstScores.length ? '-' + this.firstScores[0].name : 'feature'; }

    textTests(words, everywhere) {
      const tests = [];
      const found = words.toLowerCase().match(/-?"[^"]+"|\S+/g) || [];
      for (const word of found) {
        const not = word.startsWith('-') && word.length > 1;
        const wanted = (not ? word.slice(1) : word).replace(/^"|"$/g, '');
        if (!wanted) continue;
        const lower = this.lower;
        const extra = everywhere ? this.extra : null;
        const number = /^\d+$/.test(wanted) ? Number(wanted) : -1;
        const fits = (i) => (lower.length && lower[i].includes(wanted)) || (extra && extra[i].includes(wanted)) || this.features[i] === number;
        tests.push(not ? (i) => !fits(i) : fits);
      }
      return tests;
    }

    ordered(rows, sort) {
      const down = sort.startsWith('-');
      const column = this.columns.get(down ? sort.slice(1) : sort);
      if (!column) return rows;
      const order = this.orderOf(column, down);
      const chosen = new Uint8Array(this.n);
      for (let i = 0; i < rows.length; i++) chosen[rows[i]] = 1;
      const found = new Int32Array(rows.length);
      let n = 0;
      for (let i = 0; i < order.length; i++) if (chosen[order[i]]) found[n++] = order[i];
      return found;
    }

    /** All rows in the order of a column, those without a value last; made once. */
    orderOf(column, down) {
      const name = down ? 'orderDown' : 'orderUp';
      if (column[name]) return column[name];
      const keys = this.sortKeys(column);
      const sign = down ? -1 : 1;
      const of = Float64Array.from(keys, (key) => (Number.isNaN(key) ? Infinity : sign * key));
      const order = Uint32Array.from(of, (_, i) => i);
      column[name] = order.sort((a, b) => (of[a] === of[b] ? a - b : of[a] - of[b]));
      return column[name];
    }

    /** Numbers that order a column; of words by the alphabet, made once. */
    sortKeys(column) {
      if (column.kind === 'number') return column.values;
      if (column.keys) return column.keys;
      let texts;
      if (column.kind === 'text') texts = column.values;
      else if (column.kind === 'tags') texts = column.values.map((codes) => (codes.length ? column.words[codes[0]] : null));
      else texts = Array.from(column.values, (code) => (code >= 0 ? column.words[code] : null));
      const sorted = [...new Set(texts.filter((text) => text !== null))];
      // many texts are compared by their characters, which is fifty times as quick
      if (sorted.length > MOST_COLLATED) sorted.sort();
      else sorted.sort(new Intl.Collator('en', { numeric: true }).compare);
      const rank = new Map(sorted.map((text, i) => [text, i]));
      column.keys = Float64Array.from(texts, (text) => (text === null ? NaN : rank.get(text)));
      return column.keys;
    }

    /** How many of some rows have each word of a column. */
    counts(column, rows) {
      const counts = new Array(column.words.length).fill(0);
      for (let i = 0; i < rows.length; i++) {
        const value = column.values[rows[i]];
        if (column.kind === 'tags') for (const code of value) counts[code]++;
        else if (value >= 0) counts[value]++;
      }
      return counts;
    }
  }

  function decoded(column) {
    if (column.kind === 'number') {
      for (const key of ['values', 'low', 'high', 'null']) if (column[key]) column[key] = floats(column[key]);
    } else if (column.kind === 'category') column.values = Int32Array.from(column.values);
    return column;
  }

  function floats(values) {
    const found = new Float32Array(values.length);
    for (let i = 0; i < values.length; i++) found[i] = values[i] === null ? NaN : values[i];
    return found;
  }

  /** "low~high", either may be missing. */
  D.range = function (text) {
    const [low, high] = (text || '').split('~');
    return [low === '' || low === undefined ? null : Number(low), high === '' || high === undefined ? null : Number(high)];
  };

  function rangeTest(values, text) {
    const [low, high] = D.range(text);
    const a = low === null || Number.isNaN(low) ? -Infinity : low - Math.abs(low) * 1e-6;
    const b = high === null || Number.isNaN(high) ? Infinity : high + Math.abs(high) * 1e-6;
    return (i) => values[i] >= a && values[i] <= b;
  }

  function wordTest(column, text) {
    const wanted = new Set(text.split('|').map((word) => column.words.indexOf(word)));
    return (i) => wanted.has(column.values[i]) && column.values[i] >= 0;
  }

  function tagTest(column, text) {
    const words = text.toLowerCase();
    const wanted = new Set();
    column.words.forEach((word, i) => { if (word.toLowerCase().includes(words)) wanted.add(i); });
    return (i) => column.values[i].some((code) => wanted.has(code));
  }

  function boxTest(x, y, text) {
    const [a, b, c, d] = text.split(',').map(Number);
    return (i) => x[i] >= a && x[i] <= b && y[i] >= c && y[i] <= d;
  }

  D.Table = Table;
  const tables = new Map();
  /** The table of a run; made once for each answer of the server. */
  D.table = async function (slug, { fresh = false } = {}) {
    const payload = await D.load(`${slug}/table`, { fresh });
    const known = tables.get(slug);
    if (known && known.payload === payload) return known;
    const table = new Table(payload);
    tables.set(slug, table);
    return table;
  };
})();
