// The samples explorer. Outside text is only ever set as text content, never parsed as markup.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  // Folded parts are opened for printing.
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => (details.open = true)));
  const list = byId("list");
  if (!list) return;
  const [spacer, detail, status] = ["spacer", "detail", "status"].map(byId);
  const [taskBox, kindBox, queryBox] = ["task", "kind", "query"].map(byId);
  const KEPT_CHUNKS = 24;

  let index = null; // ids and scores of the selected task
  let number = 0; // number of the selected task
  let shown = []; // positions in the index that match the filter
  let active = -1; // selected position in `shown`
  let generation = 0; // number of the latest filter; older searches stop
  const chunks = new Map(); // decompressed texts, least recently used first
  const rows = []; // row elements, reused while scrolling

  async function inflate(id) {
    const text = atob(byId(id).textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function texts(task, chunk) {
    const id = `texts-${task}-${chunk}`;
    const cached = chunks.get(id);
    if (cached) {
      chunks.delete(id);
      chunks.set(id, cached);
      return cached;
    }
    const loading = inflate(id).then((value) => (loading.value = value));
    chunks.set(id, loading);
    if (chunks.size > KEPT_CHUNKS) chunks.delete(chunks.keys().next().value);
    return loading;
  }

  // Question, expected answer, answers of candidate and baseline, scores of candidate and baseline.
  const entryAt = (position) => texts(number, Math.floor(position / index.size)).then((chunk) => chunk[position % index.size]);

  function kindOf(position) {
    const candidate = index.candidate[position];
    const baseline = index.baseline ? index.baseline[position] : undefined;
    if (baseline === undefined) return "same";
    if (candidate === null || baseline === null) return "single";
    if (candidate === baseline) return "same";
    return candidate > baseline === index.higher ? "better" : "worse";
  }

  function matches(position, kind) {
    if (kind === "all") return true;
    if (kind === "wrong") return index.higher ? index.candidate[position] === 0 : index.candidate[position] > 0;
    return kindOf(position) === kind;
  }

  const format = (value) => (value === null || value === undefined ? "–" : String(Math.round(value * 1e4) / 1e4));

  function change(position) {
    const kind = kindOf(position);
    const score = format(index.candidate[position]);
    if (!index.baseline) return [score, ""];
    const label = { worse: "▼ worse", better: "▲ better", same: "same", single: "one side" }[kind];
    return [`${format(index.baseline[position])} → ${score} ${label}`, kind];
  }

  async function filter() {
    const current = ++generation;
    const kind = kindBox.value;
    const query = queryBox.value.trim().toLowerCase();
    const positions = [];
    for (let position = 0; position < index.ids.length; position++) if (matches(position, kind)) positions.push(position);
    if (!query) return showList(positions, "");
    list.setAttribute("aria-busy", "true");
    const hits = [];
    let chunk = -1;
    let entries = null;
    let updated = performance.now();
    for (const position of positions) {
      const needed = Math.floor(position / index.size);
      if (needed !== chunk) {
        chunk = needed;
        entries = await texts(number, chunk);
        if (current !== generation) return;
        if (performance.now() - updated > 150) {
          updated = performance.now();
          showList(hits.slice(), `searching, ${Math.floor((100 * position) / index.ids.length)} %`);
          await new Promise((next) => setTimeout(next));
          if (current !== generation) return;
        }
      }
      const entry = entries[position % index.size];
      const hit = index.ids[position].toLowerCase().includes(query)
        || entry.some((text) => typeof text === "string" && text.toLowerCase().includes(query));
      if (hit) hits.push(position);
    }
    showList(hits, "");
  }

  function showList(positions, progress) {
    const selected = shown[active];
    shown = positions;
    active = shown.indexOf(selected);
    spacer.style.height = `${shown.length * rowHeight()}px`;
    if (active < 0) list.scrollTop = 0;
    status.textContent = `${shown.length.toLocaleString("en")} of ${index.ids.length.toLocaleString("en")} samples`
      + (progress ? ` (${progress})` : "");
    list.setAttribute("aria-busy", progress ? "true" : "false");
    draw();
    if (active < 0) choose(shown.length ? 0 : -1);
  }

  let height = 0;
  function rowHeight() {
    if (!height) height = Math.round(3.5 * parseFloat(getComputedStyle(document.documentElement).fontSize));
    return height;
  }

  function element(name, className, text) {
    const created = document.createElement(name);
    if (className) created.className = className;
    if (text !== undefined) created.textContent = text;
    return created;
  }

  function newRow() {
    const row = element("div", "item");
    row.setAttribute("role", "option");
    row.append(element("span"), element("span"), element("span", "snippet"));
    row.addEventListener("click", () => choose(Number(row.dataset.at), true));
    list.append(row);
    rows.push(row);
    return row;
  }

  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / rowHeight()) - 4);
    const count = Math.min(shown.length - first, Math.ceil(list.clientHeight / rowHeight()) + 8);
    for (let i = 0; i < Math.max(count, rows.length); i++) {
      const row = rows[i] || newRow();
      row.hidden = i >= count;
      if (i >= count) {
        row.removeAttribute("id");
        continue;
      }
      fill(row, first + i);
    }
    const selected = active >= 0 && byId(`item-${active}`);
    if (selected) list.setAttribute("aria-activedescendant", selected.id);
    else list.removeAttribute("aria-activedescendant");
  }

  function fill(row, at) {
    const position = shown[at];
    const [name, scores, snippet] = row.children;
    const [label, kind] = change(position);
    row.id = `item-${at}`;
    row.dataset.at = at;
    row.dataset.position = `${number}:${position}`;
    row.style.transform = `translateY(${at * rowHeight()}px)`;
    row.setAttribute("aria-posinset", at + 1);
    row.setAttribute("aria-setsize", shown.length);
    row.setAttribute("aria-selected", at === active);
    name.textContent = index.ids[position];
    scores.textContent = label;
    scores.className = kind;
    const chunk = texts(number, Math.floor(position / index.size));
    if (chunk.value) {
      snippet.textContent = (chunk.value[position % index.size][0] || "").slice(0, 160);
      return;
    }
    snippet.textContent = "";
    chunk.then((entries) => {
      if (row.dataset.position === `${number}:${position}`) snippet.textContent = (entries[position % index.size][0] || "").slice(0, 160);
    });
  }

  // The fragment that opens this item, for links in comments and mails.
  function addressOf(position) {
    const { task, model } = taskBox.options[number].dataset;
    return `#${new URLSearchParams({ task, model, item: index.ids[position] })}`;
  }

  async function choose(at, byUser) {
    active = at;
    if (at >= 0 && byUser) history.replaceState(null, "", addressOf(shown[at]));
    if (at >= 0 && byUser) {
      const top = at * rowHeight();
      if (top < list.scrollTop) list.scrollTop = top;
      const bottom = top + rowHeight() - list.clientHeight;
      if (bottom > list.scrollTop) list.scrollTop = bottom;
    }
    draw();
    if (at < 0) {
      detail.replaceChildren(element("p", "quiet", "No sample to show."));
      return;
    }
    const position = shown[at];
    const task = number;
    const entry = await entryAt(position);
    if (shown[active] === position && task === number) show(position, entry);
  }

  function block(title, text) {
    const part = element("div");
    const box = element("pre", "", text === null || text === undefined ? "–" : text);
    box.dir = "auto";
    box.tabIndex = 0;
    part.append(element("h3", "", title), box);
    return part;
  }

  function scoreText(scores) {
    return scores ? Object.entries(scores).map(([name, value]) => `${name} ${format(value)}`).join(" · ") : "no sample";
  }

  function side(title, answer, scores) {
    const part = block(title, answer);
    part.append(element("p", "quiet", scoreText(scores)));
    return part;
  }

  function show(position, [question, expected, candidate, baseline, candidateScores, baselineScores]) {
    const sides = element("div", "sides");
    if (index.baseline) sides.append(side("Baseline", baseline, baselineScores));
    sides.append(side("This change", candidate, candidateScores));
    const steps = element("div", "steps");
    for (const [text, by] of [["Previous", -1], ["Next", 1]]) {
      const button = element("button", "", text);
      button.type = "button";
      button.disabled = !(active + by in shown);
      button.addEventListener("click", () => choose(active + by, true));
      steps.append(button);
    }
    const head = element("h3", "", `${index.ids[position]}: ${change(position)[0]}`);
    const link = element("a", "anchor", "link to this sample");
    link.href = addressOf(position);
    steps.append(link);
    detail.replaceChildren(head, steps, block("Question", question), block("Expected", expected), sides);
    detail.scrollTop = 0;
  }

  function onKey(event) {
    const page = Math.max(1, Math.floor(list.clientHeight / rowHeight()) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" || event.key === " ") detail.focus();
    else if (!(event.key in steps) || !shown.length) return;
    else choose(Math.min(Math.max(active + steps[event.key], 0), shown.length - 1), true);
    event.preventDefault();
  }

  async function open() {
    number = Number(taskBox.value);
    active = -1;
    shown = [];
    index = await inflate(`index-${number}`);
    const has = (kind) => index.ids.some((_, position) => kindOf(position) === kind);
    for (const option of kindBox.options) {
      option.disabled = ["worse", "better", "same", "single"].includes(option.value) && !index.baseline;
    }
    kindBox.value = index.baseline && has("worse") ? "worse" : "all";
    await filter();
  }

  // Opens the item or the filter in the fragment; a fragment without a task changes nothing.
  async function follow() {
    const params = new URLSearchParams(location.hash.slice(1));
    const selected = (option) => option.dataset.task === params.get("task")
      && (!params.has("model") || option.dataset.model === params.get("model"));
    const option = [...taskBox.options].find(selected);
    if (!option) return index ? undefined : open();
    taskBox.value = option.value;
    await open();
    queryBox.value = "";
    const item = params.get("item");
    const kinds = [...kindBox.options].filter((choice) => !choice.disabled).map((choice) => choice.value);
    if (item !== null) kindBox.value = "all";
    else if (kinds.includes(params.get("show"))) kindBox.value = params.get("show");
    await filter();
    byId("samples").scrollIntoView();
    if (item === null) return;
    const at = shown.findIndex((position) => index.ids[position] === item);
    if (at < 0) status.textContent = `no sample "${item}" on this page`;
    else await choose(at, true);
  }

  let timer = 0;
  queryBox.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(filter, 150);
  });
  queryBox.form.addEventListener("submit", (event) => event.preventDefault());
  kindBox.addEventListener("change", filter);
  taskBox.addEventListener("change", open);
  list.addEventListener("scroll", draw, { passive: true });
  list.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", follow);
  window.addEventListener("resize", () => {
    height = 0;
    if (index) showList(shown, "");
  });
  const ready = "DecompressionStream" in window ? follow() : Promise.reject(new Error("this browser does not support DecompressionStream"));
  ready.then(
    () => (document.documentElement.dataset.ready = "true"),
    (error) => (status.textContent = `Samples cannot be shown: ${error.message}`),
  );
})();
