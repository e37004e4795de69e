// The jobs of the service, the chosen one's pictures, and its puppet once there is one.
import { Viewer } from "/viewer.js";

const ROW = 13; // numbers of a splat, as restage4d/status_page/splats.py packs them
const EVERY_MS = 2000;
const element = (id) => document.getElementById(id);
const viewer = new Viewer(element("viewer"));
let chosen = location.hash.slice(1);
let shown = { job: "", puppet: null, timer: 0, asked: 0 };

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

function describe(job) {
  if (job.state === "running") {
    const left = job.time_left_s === null ? "" : `, ${Math.ceil(job.time_left_s / 60)} min left`;
    return `${job.stage || "starting"} ${Math.round(job.percent)} %${left}`;
  }
  return job.state === "queued" ? `queued, ${job.ahead} before it` : job.state;
}

function list(jobs) {
  const items = jobs.map((job) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.job = job.id;
    button.setAttribute("aria-current", String(job.id === chosen));
    const name = document.createElement("strong");
    name.textContent = job.name;
    const about = document.createElement("small");
    about.textContent = describe(job);
    button.append(name, document.createElement("br"), about);
    if (job.state === "running") {
      const bar = document.createElement("progress");
      bar.max = 100;
      bar.value = job.percent;
      button.append(bar);
    }
    button.addEventListener("click", () => { chosen = job.id; location.hash = job.id; refresh(); });
    item.append(button);
    return item;
  });
  element("jobs").replaceChildren(...items);
}

function picture(id, path) {
  const image = element(id);
  image.hidden = !path;
  if (path && image.dataset.path !== path) { image.src = path; image.dataset.path = path; }
}

function show(job) {
  element("job").hidden = !job;
  if (!job) return;
  element("name").textContent = job.name;
  element("prompt").textContent = job.prompt;
  element("about").textContent = describe(job) + (job.device ? ` on ${job.device}` : "");
  element("error").textContent = job.error ? `${job.error.what} ${job.error.remedy}` : "";
  const at = `/jobs/${encodeURIComponent(job.id)}`;
  const sheet = "contact_sheet.png" in job.artefacts;
  picture("preview", job.has_preview && !sheet ? `${at}/preview?${job.step}` : "");
  picture("sheet", sheet ? `${at}/results/contact_sheet.png` : "");
  element("splats").hidden = !("puppet" in job.artefacts);
  if ("puppet" in job.artefacts && shown.job !== job.id) openPuppet(job.id, at);
}

async function openPuppet(id, at) {
  stop();
  shown = { job: id, puppet: null, timer: 0, asked: 0, at };
  shown.puppet = await (await ask(`${at}/puppet`)).json();
  const options = shown.puppet.performances.map((p, i) => new Option(p.name, i));
  element("performance").replaceChildren(...options);
  element("performance").value = String(options.length - 1);
  await choosePerformance();
}

async function choosePerformance() {
  const performance = shown.puppet.performances[element("performance").value];
  element("frame").max = performance.frames - 1;
  element("frame").value = 0;
  await showFrame(true);
}

async function showFrame(frameIt = false) {
  const number = element("frame").value;
  const asked = ++shown.asked;
  const answer = await ask(`${shown.at}/splats/${element("performance").value}/${number}`);
  const rows = new Float32Array(await answer.arrayBuffer());
  if (asked !== shown.asked) return; // a later frame was asked for
  viewer.show(rows, rows.length / ROW, frameIt);
  element("number").textContent = number;
  document.body.dataset.drawn = String(rows.length / ROW);
}

function stop() {
  clearTimeout(shown.timer);
  shown.timer = 0;
  element("play").textContent = "Play";
}

async function step() {
  const slider = element("frame");
  slider.value = (Number(slider.value) + 1) % (Number(slider.max) + 1);
  const begun = performance.now();
  await showFrame();
  const fps = shown.puppet.performances[element("performance").value].fps;
  if (shown.timer) shown.timer = setTimeout(step, Math.max(0, 1000 / fps - (performance.now() - begun)));
}

element("performance").addEventListener("change", choosePerformance);
element("frame").addEventListener("input", () => showFrame());
element("play").addEventListener("click", () => {
  if (shown.timer) { stop(); return; }
  element("play").textContent = "Stop";
  shown.timer = setTimeout(step, 0);
});

async function refresh() {
  try {
    const jobs = await (await ask("/jobs")).json();
    if (!jobs.some((job) => job.id === chosen)) chosen = jobs.length ? jobs[0].id : "";
    list(jobs);
    show(jobs.find((job) => job.id === chosen));
    element("state").textContent = jobs.length === 1 ? "1 job" : `${jobs.length} jobs`;
  } catch (error) {
    element("state").textContent = error.message;
  }
}

async function repeat() {
  await refresh();
  setTimeout(repeat, EVERY_MS);
}
repeat();
