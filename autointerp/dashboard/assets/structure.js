'use strict';
// A protein's structure, coloured by what a feature does: from a file of the reader's, a folder, or AlphaFold DB.
(function () {
  const D = Dashboard;
  const { h } = D;
  const ALPHAFOLD = 'https://alphafold.ebi.ac.uk';
  const MOST = 64 * 2 ** 20;
  const THREE = { ALA: 'A', ARG: 'R', ASN: 'N', ASP: 'D', CYS: 'C', GLN: 'Q', GLU: 'E', GLY: 'G', HIS: 'H', ILE: 'I', LEU: 'L', LYS: 'K',
    MET: 'M', PHE: 'F', PRO: 'P', SER: 'S', THR: 'T', TRP: 'W', TYR: 'Y', VAL: 'V', MSE: 'M', SEC: 'U', PYL: 'O' };
  const PALE = { light: [205, 211, 219], dark: [76, 86, 98] };
  const STRONG = { light: [222, 95, 0], dark: [255, 150, 40] };

  /** AlphaFold DB's current model of an accession, by its API; its own pages say which version that is. */
  async function fromAlphaFold(accession) {
    const answer = await fetch(`${ALPHAFOLD}/api/prediction/${encodeURIComponent(accession)}`, { credentials: 'omit', referrerPolicy: 'no-referrer' });
    if (answer.status === 404) throw new Error(`AlphaFold DB has no model of ${accession}.`);
    if (!answer.ok) throw new Error(`AlphaFold DB answered ${answer.status}.`);
    const [model] = await answer.json();
    const address = model && (model.cifUrl || model.pdbUrl);
    if (!address || new URL(address).origin !== ALPHAFOLD) throw new Error('AlphaFold DB named no file.');
    const file = await fetch(address, { credentials: 'omit', referrerPolicy: 'no-referrer' });
    if (!file.ok) throw new Error(`AlphaFold DB answered ${file.status} for the file.`);
    const name = `${model.modelEntityId || model.entryId || accession}, version ${model.latestVersion || '?'}`;
    return { text: await file.text(), format: model.cifUrl ? 'cif' : 'pdb', name: `AlphaFold DB ${name}` };
  }

  async function fromFile(file) {
    if (file.size > MOST) throw new Error(`${file.name} is larger than ${MOST / 2 ** 20} MB.`);
    const text = await file.text();
    const isCif = /\.(mm)?cif$/i.test(file.name) || /^\s*data_/.test(text);
    return { text, format: isCif ? 'cif' : 'pdb', name: file.name };
  }

  /** For each chain the place in the sequence of each of its residues; by number where letters agree, else by letters. */
  function placed(atoms, sequence) {
    const chains = new Map();
    for (const atom of atoms) {
      if (atom.atom !== 'CA' || atom.hetflag && !THREE[atom.resn]) continue;
      if (!chains.has(atom.chain)) chains.set(atom.chain, []);
      chains.get(atom.chain).push([atom.resi, THREE[atom.resn] || 'X']);
    }
    const found = new Map();
    let agreeing = 0;
    for (const [chain, residues] of chains) {
      const count = (shift) => residues.filter(([number, letter]) => sequence[number + shift] === letter).length;
      let best = [-1, count(-1)];
      if (best[1] < 0.9 * residues.length && residues.length > 4) {
        const core = residues.slice(0, 12).map((one) => one[1]).join('');
        const start = sequence.indexOf(core);
        const shift = start < 0 ? null : start - residues[0][0];
        if (shift !== null && count(shift) > best[1]) best = [shift, count(shift)];
      }
      const share = best[1] / Math.max(residues.length, 1);
      agreeing = Math.max(agreeing, share);
      if (share >= 0.5) found.set(chain, best[0]);
    }
    return { found, agreeing, n: chains.size };
  }

  /** The card: `sequence` as residues; `colour(v, top)` colours what is drawn. */
  D.structure = function ({ slug, row, accession, local, sequence }) {
    const stage = h('div.stage', { role: 'img', 'aria-label': 'structure, coloured by the chosen feature', hidden: true });
    const word = h('p.muted.small', { 'aria-live': 'polite' });
    const named = h('input.input.small', { value: accession || '', size: 11, 'aria-label': 'UniProt accession', placeholder: 'accession', spellcheck: 'false', autocomplete: 'off' });
    const file = h('input', { type: 'file', accept: '.pdb,.ent,.cif,.mmcif', class: 'unseen', 'aria-label': 'structure file', tabIndex: -1,
      onchange: () => file.files[0] && take(fromFile(file.files[0]), `Reading ${file.files[0].name} …`) });
    const ask = h('form.row', { onsubmit: (event) => {
      event.preventDefault();
      const wanted = named.value.trim().toUpperCase();
      if (wanted) take(fromAlphaFold(wanted), `Asking AlphaFold DB for ${wanted} …`);
    } }, named, h('button.button.small', 'AlphaFold DB'), h('button.button.small', { type: 'button', onclick: () => file.click() }, 'file…'), file);
    const key = h('div.scale.small.muted', { hidden: true }, 'silent', h('span.ramp'), 'strongest');
    const card = h('section.card.structure', { 'aria-label': 'structure' }, h('header', h('h2', 'Structure'), h('span.right', ask)), stage, key, word);
    let viewer = null;
    let places = null;
    let painted = [null, 1];
    let turn = 0;
    D.fill(word, 'A model from AlphaFold DB, fetched by your browser, or a PDB or mmCIF file of yours.');

    card.addEventListener('dragover', (event) => event.preventDefault());
    card.addEventListener('drop', (event) => {
      event.preventDefault();
      const [one] = event.dataTransfer.files;
      if (one) take(fromFile(one), `Reading ${one.name} …`);
    });

    async function take(promise, doing) {
      const mine = ++turn;
      D.fill(word, doing);
      try {
        const found = await promise;
        if (mine !== turn) return;
        if (found.missing) return void D.fill(word, '');
        await draw(found);
      } catch (error) {
        const offline = error instanceof TypeError ? 'AlphaFold DB cannot be reached from here; open a file instead.' : error.message;
        if (mine === turn) D.fill(word, offline);
      }
    }

    async function draw(found) {
      try {
        await D.script('vendor/3Dmol-min.js');
      } catch {
        return void D.fill(word, D.missing({ missing: 'The structure viewer, 3Dmol.js, is not in this installation.', command: 'make assets' }));
      }
      stage.hidden = false;
      try {
        if (!viewer) viewer = window.$3Dmol.createViewer(stage, { backgroundAlpha: 0, antialias: true });
        viewer.removeAllModels();
        const model = viewer.addModel(found.text, found.format);
        const atoms = model ? model.selectedAtoms({}) : [];
        if (!atoms.length) throw new Error(`${found.name} holds no atoms.`);
        places = placed(atoms, sequence);
        paint();
        viewer.zoomTo();
        viewer.render();
      } catch (error) {
        stage.hidden = true;
        viewer = viewer && viewer.removeAllModels ? viewer : null;
        return void D.fill(word, /webgl/i.test(error.message) || !window.WebGLRenderingContext ? 'This browser shows no 3D graphics (WebGL is off).' : `${found.name} cannot be drawn: ${error.message}`);
      }
      key.hidden = false;
      const differs = places.found.size ? '' : ' Its residues are not those of this sequence: nothing can be coloured.';
      const partly = places.found.size && places.agreeing < 0.95 ? ` ${Math.round(places.agreeing * 100)} % of its residues agree with this sequence.` : '';
      D.fill(word, `${found.name}.${differs}${partly} Drag to turn, scroll to zoom.`);
      card.dataset.drawn = found.name;
    }

    function shade(share) {
      const dark = getComputedStyle(document.documentElement).colorScheme === 'dark';
      const [pale, strong] = dark ? [PALE.dark, STRONG.dark] : [PALE.light, STRONG.light];
      const at = share > 0 ? 0.18 + 0.82 * Math.min(1, share) : 0;
      const [r, g, b] = pale.map((x, i) => Math.round(x + (strong[i] - x) * at));
      return (r << 16) | (g << 8) | b;
    }

    function paint() {
      if (!viewer || !places) return;
      const [v, top] = painted;
      const of = (atom) => {
        const shift = places.found.get(atom.chain);
        return shade(v && shift !== undefined ? (v[atom.resi + shift] || 0) / (top || 1) : 0);
      };
      viewer.setStyle({}, { cartoon: { colorfunc: of } });
      viewer.setStyle({ hetflag: true, not: { resn: 'HOH' } }, { stick: { radius: 0.14, colorfunc: of } });
      viewer.render();
    }
    const themed = () => paint();
    document.addEventListener('theme', themed);

    if (local) take(D.load(`${slug}/structure/${row}`), '');
    return {
      element: card,
      colour(v, top) { painted = [v, top]; paint(); },
      resize() { if (viewer) viewer.resize(); },
      leave() {
        document.removeEventListener('theme', themed);
        if (viewer) viewer.clear();
      },
    };
  };
})();
