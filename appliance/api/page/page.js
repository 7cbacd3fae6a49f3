"use strict";
// The status page: state arrives by server-sent events and is drawn as it is.
// Text goes in by textContent only, so nothing from a machine can be markup.
const state = { machine: new Map(), request: new Map(), alert: new Map() };
const $ = (id) => document.getElementById(id);
let drawn = false;

function el(tag, props, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props || {})) { if (k === "class") e.className = v; else e.setAttribute(k, v); }
  for (const c of children) e.append(c instanceof Node ? c : document.createTextNode(c ?? ""));
  return e;
}
const gib = (n) => (n / 2 ** 30).toFixed(n < 2 ** 33 ? 1 : 0) + " GiB";
const mib = (n) => (n / 2 ** 20).toFixed(0) + " MiB";
const past = (t) => t && !t.startsWith("0001");
function seconds(from, to) {
  if (!past(from)) return "";
  return ((past(to) ? new Date(to) : new Date()) - new Date(from)) / 1000;
}
const secs = (from, to) => { const s = seconds(from, to); return s === "" ? "" : s.toFixed(1) + " s"; };

function drawMachine(m) {
  const inv = m.inventory;
  const hw = inv ? `${inv.cpu.threads} × ${inv.cpu.model || inv.cpu.arch}, ${gib(inv.memory)} memory, ${(inv.disks || []).map((d) => gib(d.bytes)).join(" + ") || "no"} disk, ${inv.firmware.toUpperCase()}` : "not inspected";
  return el("tr", {},
    el("td", {}, el("strong", {}, m.id), el("div", { class: "dim" }, (m.macs || [])[0] || "")),
    el("td", { class: "free" }, el("span", { class: "state s-" + m.status.state }, m.status.state), el("div", { class: "dim" }, m.status.reason || "")),
    el("td", {}, m.server ? m.server.hostname : "—", el("div", { class: "dim" }, m.server ? m.server.image : "")),
    el("td", { class: "free wide" }, hw), el("td", {}, m.address || "—"),
    el("td", {}, (m.power || []).map((f) => `${f.pdu}/${f.outlet}`).join(", ") || "by hand"));
}

function drawRequest(r) {
  const a = el("article", {}, el("header", {},
    el("span", {}, el("strong", {}, `${r.kind} ${r.machine}`), " ", el("span", { class: "state s-" + r.status }, r.status)),
    el("span", { class: "dim" }, `${secs(r.created, r.ended)} · ${r.by} · ${r.id}`)));
  const steps = el("ul", { class: "steps" });
  for (const s of r.steps || []) {
    const li = el("li", {}, el("span", { class: "state s-" + s.status }, `${s.undo ? "undo: " : ""}${s.name} ${secs(s.began, s.ended)}${s.attempt > 1 ? ` (attempt ${s.attempt})` : ""}`));
    if (s.phases) li.append(el("ul", {}, ...s.phases.map((p) => el("li", {}, `${p.name} ${secs(p.began, p.ended)}`))));
    steps.append(li);
  }
  a.append(steps);
  if (r.progress) {
    const p = r.progress;
    let text = `${p.phase || p.step}:` + (p.message ? " " + p.message : "");
    if (p.total) {
      text += ` ${mib(p.done)} of ${mib(p.total)}` + (p.rate ? `, ${mib(p.rate)}/s` : "") + (p.remaining_seconds ? `, ${p.remaining_seconds.toFixed(0)} s left` : "");
      a.append(el("progress", { max: p.total, value: p.done || 0, "aria-label": text }));
    }
    a.append(el("div", { class: "dim" }, text));
  }
  if (r.error) a.append(el("p", { class: "error" }, `${r.error.detail}${r.error.action ? " — " + r.error.action : ""}`));
  return a;
}

function draw() {
  drawn = false;
  const machines = [...state.machine.values()].sort((a, b) => a.id.localeCompare(b.id, undefined, { numeric: true }));
  $("machines").replaceChildren(...machines.map(drawMachine));
  $("no-machines").hidden = machines.length > 0;
  const n = {};
  for (const m of machines) n[m.status.state] = (n[m.status.state] || 0) + 1;
  $("counts").textContent = Object.entries(n).map(([k, v]) => `${v} ${k}`).join(", ");
  const requests = [...state.request.values()].sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, 30);
  $("requests").replaceChildren(...requests.map(drawRequest));
  $("no-requests").hidden = requests.length > 0;
  const alerts = [...state.alert.values()].filter((a) => !past(a.resolved || ""));
  $("alerts").hidden = alerts.length === 0;
  $("alert-list").replaceChildren(...alerts.map((a) => el("li", {}, `${a.subject}: ${a.detail} — ${a.action || ""} (${a.count}×)`)));
}
function schedule() { if (!drawn) { drawn = true; requestAnimationFrame(draw); } }

const events = new EventSource("/v1/events");
for (const kind of ["machine", "request", "alert"]) {
  events.addEventListener(kind, (e) => { const v = JSON.parse(e.data); state[kind].set(v.id, v); schedule(); });
}
events.addEventListener("gone", (e) => { const v = JSON.parse(e.data); state[v.kind].delete(v.id); schedule(); });
events.addEventListener("open", () => { for (const m of Object.values(state)) m.clear(); $("link").textContent = "live"; });
events.addEventListener("ready", () => { schedule(); });
events.addEventListener("error", () => { $("link").textContent = `no connection since ${new Date().toLocaleTimeString()}; trying again`; });
fetch("/v1/status").then((r) => r.json()).then((s) => { $("pod").textContent = s.pod; document.title = `Gantry ${s.pod}`; }).catch(() => {}); // the link says that nobody answers
setInterval(() => { if ([...state.request.values()].some((r) => r.status === "running")) schedule(); }, 1000);
