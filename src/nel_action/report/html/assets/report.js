// The explorer of samples. All that comes from outside is set as text; nothing here makes markup of it.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  // What is folded on a screen cannot be unfolded on paper.
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
  const list = byId("list");
  if (!list) return;
  const [spacer, detail, status] = ["spacer", "detail", "status"].map(byId);
  const [taskBox, kindBox, queryBox] = ["task", "kind", "query"].map(byId);
  const KEPT_CHUNKS = 24;

  let index = null; // of the chosen task
  let number = 0; // which task
  let shown = []; // places in the index, filtered
  let active = -1; // place in `shown`
  let turn = 0; // counts filters, so that an older search stops
  const chunks = new Map(); // opened texts, the least used first
  const rows = []; // elements that are used again while scrolling

  async function inflate(id) {
    const text = atob(byId(id).textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function texts(task, chunk) {
    const id = `texts-${task}-${chunk}`;
    const known = chunks.get(id);
    if (known) {
      chunks.delete(id);
      chunks.set(id, known);
      return known;
    }
    const opened = inflate(id).then((value) => (opened.value = value));
    chunks.set(id, opened);
    if (chunks.size > KEPT_CHUNKS) chunks.delete(chunks.keys().next().value);
    return opened;
  }

  // Question, expected, our answer, their answer, our scores, their scores.
  const lineOf = (place) => texts(number, Math.floor(place / index.size)).then((chunk) => chunk[place % index.size]);

  function kindOf(place) {
    const ours = index.ours[place];
    const theirs = index.theirs ? index.theirs[place] : undefined;
    if (theirs === undefined) return "same";
    if (ours === null || theirs === null) return "single";
    if (ours === theirs) return "same";
    return ours > theirs === index.higher ? "better" : "worse";
  }

  function fits(place, kind) {
    if (kind === "all") return true;
    if (kind === "wrong") return index.higher ? index.ours[place] === 0 : index.ours[place] > 0;
    return kindOf(place) === kind;
  }

  const figure = (value) => (value === null || value === undefined ? "–" : String(Math.round(value * 1e4) / 1e4));

  function change(place) {
    const kind = kindOf(place);
    const now = figure(index.ours[place]);
    if (!index.theirs) return [now, ""];
    const word = { worse: "▼ worse", better: "▲ better", same: "same", single: "one side" }[kind];
    return [`${figure(index.theirs[place])} → ${now} ${word}`, kind];
  }

  async function filter() {
    const mine = ++turn;
    const kind = kindBox.value;
    const query = queryBox.value.trim().toLowerCase();
    const places = [];
    for (let place = 0; place < index.ids.length; place++) if (fits(place, kind)) places.push(place);
    if (!query) return settle(places, "");
    list.setAttribute("aria-busy", "true");
    const found = [];
    let chunk = -1;
    let opened = null;
    let told = performance.now();
    for (const place of places) {
      const wanted = Math.floor(place / index.size);
      if (wanted !== chunk) {
        chunk = wanted;
        opened = await texts(number, chunk);
        if (mine !== turn) return;
        if (performance.now() - told > 150) {
          told = performance.now();
          settle(found.slice(), `searching, ${Math.floor((100 * place) / index.ids.length)} %`);
          await new Promise((next) => setTimeout(next));
          if (mine !== turn) return;
        }
      }
      const line = opened[place % index.size];
      const hit = index.ids[place].toLowerCase().includes(query)
        || line.some((text) => typeof text === "string" && text.toLowerCase().includes(query));
      if (hit) found.push(place);
    }
    settle(found, "");
  }

  function settle(places, progress) {
    const before = shown[active];
    shown = places;
    active = shown.indexOf(before);
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
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
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
    const place = shown[at];
    const [name, scores, snippet] = row.children;
    const [words, kind] = change(place);
    row.id = `item-${at}`;
    row.dataset.at = at;
    row.dataset.place = `${number}:${place}`;
    row.style.transform = `translateY(${at * rowHeight()}px)`;
    row.setAttribute("aria-posinset", at + 1);
    row.setAttribute("aria-setsize", shown.length);
    row.setAttribute("aria-selected", at === active);
    name.textContent = index.ids[place];
    scores.textContent = words;
    scores.className = kind;
    const chunk = texts(number, Math.floor(place / index.size));
    if (chunk.value) {
      snippet.textContent = (chunk.value[place % index.size][0] || "").slice(0, 160);
      return;
    }
    snippet.textContent = "";
    chunk.then((opened) => {
      if (row.dataset.place === `${number}:${place}`) snippet.textContent = (opened[place % index.size][0] || "").slice(0, 160);
    });
  }

  // What stands after the # opens this very item again: in a comment, in a mail.
  function addressOf(place) {
    const { task, model } = taskBox.options[number].dataset;
    return `#${new URLSearchParams({ task, model, item: index.ids[place] })}`;
  }

  async function choose(at, byHand) {
    active = at;
    if (at >= 0 && byHand) history.replaceState(null, "", addressOf(shown[at]));
    if (at >= 0 && byHand) {
      const top = at * rowHeight();
      if (top < list.scrollTop) list.scrollTop = top;
      const under = top + rowHeight() - list.clientHeight;
      if (under > list.scrollTop) list.scrollTop = under;
    }
    draw();
    if (at < 0) {
      detail.replaceChildren(element("p", "quiet", "No sample to show."));
      return;
    }
    const place = shown[at];
    const task = number;
    const line = await lineOf(place);
    if (shown[active] === place && task === number) show(place, line);
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
    return scores ? Object.entries(scores).map(([name, value]) => `${name} ${figure(value)}`).join(" · ") : "not there";
  }

  function side(title, answer, scores) {
    const part = block(title, answer);
    part.append(element("p", "quiet", scoreText(scores)));
    return part;
  }

  function show(place, [question, expected, ours, theirs, ourScores, theirScores]) {
    const sides = element("div", "sides");
    if (index.theirs) sides.append(side("Baseline", theirs, theirScores));
    sides.append(side("This change", ours, ourScores));
    const steps = element("div", "steps");
    for (const [text, by] of [["Previous", -1], ["Next", 1]]) {
      const button = element("button", "", text);
      button.type = "button";
      button.disabled = !(active + by in shown);
      button.addEventListener("click", () => choose(active + by, true));
      steps.append(button);
    }
    const head = element("h3", "", `${index.ids[place]}: ${change(place)[0]}`);
    const link = element("a", "anchor", "link to this sample");
    link.href = addressOf(place);
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
    const some = (kind) => index.ids.some((_, place) => kindOf(place) === kind);
    for (const option of kindBox.options) {
      option.disabled = ["worse", "better", "same", "single"].includes(option.value) && !index.theirs;
    }
    kindBox.value = index.theirs && some("worse") ? "worse" : "all";
    await filter();
  }

  // Opens what the address asks for; one that asks for nothing here leaves things as they are.
  async function follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const wanted = (option) => option.dataset.task === asked.get("task")
      && (!asked.has("model") || option.dataset.model === asked.get("model"));
    const option = [...taskBox.options].find(wanted);
    if (!option) return index ? undefined : open();
    taskBox.value = option.value;
    await open();
    queryBox.value = "";
    const item = asked.get("item");
    const kinds = [...kindBox.options].filter((one) => !one.disabled).map((one) => one.value);
    if (item !== null) kindBox.value = "all";
    else if (kinds.includes(asked.get("show"))) kindBox.value = asked.get("show");
    await filter();
    byId("samples").scrollIntoView();
    if (item === null) return;
    const at = shown.findIndex((place) => index.ids[place] === item);
    if (at < 0) status.textContent = `There is no sample "${item}" on this page.`;
    else await choose(at, true);
  }

  let waiting = 0;
  queryBox.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 150);
  });
  queryBox.form.addEventListener("submit", (event) => event.preventDefault());
  kindBox.addEventListener("change", filter);
  taskBox.addEventListener("change", open);
  list.addEventListener("scroll", draw, { passive: true });
  list.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", follow);
  window.addEventListener("resize", () => {
    height = 0;
    if (index) settle(shown, "");
  });
  const ready = "DecompressionStream" in window ? follow() : Promise.reject(new Error("this browser is too old"));
  ready.then(
    () => (document.documentElement.dataset.ready = "true"),
    (error) => (status.textContent = `Samples cannot be shown: ${error.message}`),
  );
})();
