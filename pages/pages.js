/* What a page can do beyond links and forms. Every page works without it; the server makes all that is shown. */
"use strict";

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const one = (selector, within = document) => within.querySelector(selector);
const typing = (element) => element.matches("input:not([type=range]), select, textarea");

async function piece(address) {
  const answer = await fetch(address, { credentials: "same-origin" });
  return answer.text();
}

/* --- pieces that come after the page ------------------------------------------------------------------------------ */

for (const place of all("[data-load]")) {
  piece(place.dataset.load).then((html) => { place.innerHTML = html; }, () => { place.textContent = "The server does not answer."; });
}

const state = one("[data-state]");
if (state) {
  const ask = async () => {
    const known = one("[data-look]", state).dataset;
    try {
      const fresh = document.createElement("div");
      fresh.innerHTML = await piece(state.dataset.state);
      const look = one("[data-look]", fresh);
      if (look && (look.dataset.look !== known.look || look.dataset.looking !== known.looking)) state.replaceChildren(...fresh.childNodes);
    } catch { /* the server is away: the next time */ }
    setTimeout(ask, document.hidden ? 60000 : one("[data-look]", state).dataset.looking === "yes" ? 1200 : 10000);
  };
  setTimeout(ask, 1200);
}

/* --- one image ---------------------------------------------------------------------------------------------------- */

const viewer = one("[data-viewer]");
if (viewer) {
  const width = Number(viewer.dataset.width), height = Number(viewer.dataset.height);
  const cross = one(".cross", viewer), panel = one("[data-why-panel]"), spot = one("[data-spot]"), form = one("[data-place]");
  const sliders = Object.fromEntries(all("[data-slider]").map((slider) => [slider.dataset.slider, slider]));
  let place = cross.dataset.x === undefined ? null : [Number(cross.dataset.x), Number(cross.dataset.y)];
  let asked = 0;

  const show = () => {
    const lit = [];
    for (const [kind, slider] of Object.entries(sliders)) {
      one(`[data-layer=${kind}]`, viewer).style.opacity = slider.value / 100;
      if (slider.value > 0) lit.push(kind);
    }
    for (const link of all("[data-solo]")) link.classList.toggle("on", lit.length === 1 ? link.dataset.solo === lit[0] : !lit.length && link.dataset.solo === "");
    try { sessionStorage.setItem("layers", JSON.stringify(Object.fromEntries(Object.entries(sliders).map(([k, s]) => [k, s.value])))); } catch { /* private window */ }
  };
  const solo = (kind) => { for (const [name, slider] of Object.entries(sliders)) slider.value = name === kind ? 75 : 0; show(); };
  if (!new URLSearchParams(location.search).has("show")) {
    try {
      const kept = JSON.parse(sessionStorage.getItem("layers") || "{}");
      for (const [kind, value] of Object.entries(kept)) if (sliders[kind]) sliders[kind].value = value;
    } catch { /* nothing kept */ }
  } else if (new URLSearchParams(location.search).get("show") === "photo") solo("");
  show();
  for (const slider of Object.values(sliders)) slider.addEventListener("input", show);
  for (const link of all("[data-solo]")) link.addEventListener("click", (event) => { event.preventDefault(); solo(link.dataset.solo); });

  for (const chip of all("button[data-class]")) chip.addEventListener("click", () => {
    for (const other of all("button[data-class]")) other.setAttribute("aria-pressed", String(other === chip));
    for (const layer of all(".layer.heat", viewer)) {
      const address = layer.getAttribute(`data-class-${chip.dataset.class}`);
      layer.src = address;
      one(`[data-strip=${layer.dataset.layer}]`).src = address;
    }
  });

  const mark = () => {
    if (!place) return;
    cross.hidden = false;
    cross.style.left = `${100 * (place[0] + 0.5) / width}%`;
    cross.style.top = `${100 * (place[1] + 0.5) / height}%`;
    spot.textContent = `x ${place[0]}, y ${place[1]}`;
  };
  const why = async () => {
    if (!place || !viewer.dataset.why) return;
    const number = ++asked;
    const query = new URLSearchParams({ id: viewer.dataset.id, x: place[0], y: place[1] });
    panel.classList.add("busy");
    try {
      const html = await piece(`${viewer.dataset.why}?${query}`);
      if (number === asked) { panel.innerHTML = html; panel.classList.remove("busy"); }
    } catch { panel.textContent = "The server does not answer."; }
    const here = new URL(location);
    here.searchParams.set("x", place[0]); here.searchParams.set("y", place[1]);
    history.replaceState(null, "", here);
    form.elements.x.value = place[0]; form.elements.y.value = place[1];
  };
  mark();
  viewer.addEventListener("click", (event) => {
    const box = viewer.getBoundingClientRect();
    const clamp = (value, most) => Math.min(most - 1, Math.max(0, Math.floor(value)));
    place = [clamp(width * (event.clientX - box.left) / box.width, width), clamp(height * (event.clientY - box.top) / box.height, height)];
    mark(); why();
  });
  viewer.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step && viewer.dataset.why) {
      const far = event.shiftKey ? 10 : 1;
      const from = place || [Math.floor(width / 2), Math.floor(height / 2)];
      place = [Math.min(width - 1, Math.max(0, from[0] + far * step[0])), Math.min(height - 1, Math.max(0, from[1] + far * step[1]))];
      mark(); event.preventDefault(); event.stopPropagation();
    } else if (event.key === "Enter") { why(); event.preventDefault(); }
  });
  if (form) form.addEventListener("submit", (event) => {
    event.preventDefault();
    place = [Number(form.elements.x.value), Number(form.elements.y.value)];
    mark(); why();
  });
  document.addEventListener("keydown", (event) => {
    if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey || !/^[0-6]$/.test(event.key)) return;
    const links = all(".sliders .solo");
    const link = links[Number(event.key) - 1];
    if (event.key === "0") solo(""); else if (link && link.dataset.solo) solo(link.dataset.solo);
  });
}

/* --- grids and filters -------------------------------------------------------------------------------------------- */

const filters = one("[data-filters]");
if (filters) {
  const submit = () => {
    for (const field of all("input, select", filters)) field.disabled = field.value === "" || (field.tagName === "SELECT" && field.selectedIndex === 0);
    filters.submit();
  };
  filters.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  for (const choice of all("select", filters)) choice.addEventListener("change", submit);
  addEventListener("pageshow", () => { for (const field of all("input, select", filters)) field.disabled = false; });
}

function move(event) {
  const links = all("[data-grid] a");
  const at = links.indexOf(document.activeElement);
  if (!links.length || !event.key.startsWith("Arrow") || (at < 0 && !["ArrowDown", "ArrowRight"].includes(event.key))) return;
  const top = links[0].offsetTop;
  const columns = Math.max(1, links.filter((link) => link.offsetTop === top).length);
  const next = at < 0 ? 0 : at + { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  if (links[next]) { links[next].focus(); event.preventDefault(); }
}

/* --- keys on every page ------------------------------------------------------------------------------------------- */

const keys = one("#keys"), help = one("[data-help]");
help.hidden = false;
help.addEventListener("click", () => keys.showModal());
let before = "";
document.addEventListener("keydown", (event) => {
  if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
  const leads = { l: "/", i: "/images", m: "/models", d: "/diff", t: one("nav a[href='/tournament']") && "/tournament" }[event.key];
  if (before === "g" && leads) { location.href = leads; return; }
  before = event.key;
  if (event.key === "?") keys.showModal();
  else if (event.key === "/") {
    const search = one("input[type=search]");
    if (search) search.focus(); else location.href = "/images";
    event.preventDefault();
  } else if (event.key === "n" || event.key === "p") one(`a[rel=${event.key === "n" ? "next" : "prev"}]`)?.click();
  else move(event);
});
