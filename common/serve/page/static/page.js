// The page: a picture in, bars and a heat map out.

import { makePaper } from "./paper.js";
import { percent, say, switchLanguage, words } from "./words.js";

const $ = (id) => document.getElementById(id);
const TOP = 5;

let info; // what is served, and its limits: GET /info
let settings; // what the page offers: GET /page/settings
let asked; // {blob, truth, predictions, problem, label, heat}: the newest picture and what has come of it
let asking = new AbortController();
let turn = 0; // of the newest picture that somebody chose: one that arrives later is no longer wanted
let trouble = null; // the Problem that is shown

// Asking --------------------------------------------------------------------------------------------------------

class Problem extends Error {
  constructor(kind, detail = "") {
    super(detail);
    this.kind = kind; // a status of HTTP, a state of the service, or another word
  }
}

/** @returns the Response; throws Problem for every other outcome */
async function send(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("offline");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Problem(said.state ?? response.status, said.error);
}

function form(blob) {
  const data = new FormData();
  data.append("image", blob, "picture");
  return { method: "POST", body: data, signal: asking.signal };
}

/** Ask for a picture: `truth` is its label, where it is known; `scroll`: on a phone, to the answer. */
async function recognise(blob, { truth = null, scroll = true } = {}) {
  turn += 1;
  asking.abort();
  asking = new AbortController();
  URL.revokeObjectURL(asked?.heat?.picture);
  const mine = (asked = { blob, truth });
  $("result").setAttribute("aria-busy", "true");
  hideProblem();
  $("empty").hidden = true;
  for (const one of document.querySelectorAll("#example-list button")) one.setAttribute("aria-pressed", "false");
  try {
    if (info && blob.size > info.limits.megabytes * 1e6) throw new Problem(413);
    mine.predictions = (await (await send(`predict?top=${TOP}`, form(blob))).json()).predictions;
    mine.label = mine.predictions[0].label;
  } catch (error) {
    if (error.name === "AbortError") return;
    mine.problem = error;
  }
  if (mine !== asked) return;
  $("result").setAttribute("aria-busy", "false");
  showAnswer();
  if (mine.predictions) {
    tell($("spoken"), words().spoken(mine.predictions.map((row) => `${row.name} ${percent(row.probability)}`)));
    look();
  }
  if (scroll && matchMedia("(max-width: 760px)").matches)
    $("result").scrollIntoView({ behavior: "smooth", block: "start" });
}

/** Ask where the model looks for `asked.label`. */
async function look() {
  const mine = asked;
  if (!settings || settings.no_heat) return;
  const label = mine.label;
  try {
    const picture = await (await send(`page/heat?label=${label}`, form(mine.blob))).blob();
    if (mine !== asked || label !== mine.label) return;
    URL.revokeObjectURL(mine.heat?.picture);
    mine.heat = { picture: url(picture), label };
  } catch (error) {
    if (error.name === "AbortError" || mine !== asked || label !== mine.label) return;
    URL.revokeObjectURL(mine.heat?.picture);
    mine.heat = null;
  }
  showHeat();
  if (label !== mine.predictions[0].label) tell($("spoken"), $("heat-text").textContent);
}

const url = (blob) => URL.createObjectURL(blob);

// Showing -------------------------------------------------------------------------------------------------------

function element(name, className, ...content) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...content);
  return made;
}

const HAN = /(\p{Script=Han}+)/u;

/** Fill in a text that may have a Chinese class name in it, which is marked: voices and fonts go by the language. */
function tell(parent, text) {
  const parts = document.documentElement.lang === "zh-CN" ? [text] : text.split(HAN);
  parent.replaceChildren(...parts.map((part, place) => (place % 2 ? inChinese(part) : part)));
}

function inChinese(text) {
  const made = element("span", "", text);
  made.lang = "zh-CN";
  return made;
}

function named(className, name) {
  const made = element("span", className);
  tell(made, name);
  return made;
}

function showAnswer() {
  const { predictions, truth, problem } = asked;
  $("answer").hidden = !predictions;
  if (problem) showProblem(problem);
  if (!predictions) return;
  const [best] = predictions;
  tell($("best-name"), best.name);
  $("best-share").textContent = percent(best.probability);
  document.querySelector(".best").classList.toggle("character", [...best.name].length === 1);
  $("truth").hidden = truth === null;
  tell($("truth"), truth === null ? "" : words().truth(truth));
  $("bars").replaceChildren(...predictions.map((row) => element("li", "", bar(row))));
  showHeat();
}

function bar({ label, name, probability }) {
  const fill = element("span", "fill");
  fill.style.width = `${100 * probability}%`;
  const share = percent(probability);
  const looks = settings && !settings.no_heat;
  const made = element(
    looks ? "button" : "div",
    "bar",
    named("name", name),
    element("span", "share", share),
    element("span", "track", fill),
  );
  if (!looks) return made;
  made.type = "button";
  made.dataset.label = label;
  made.setAttribute("aria-label", words().lookFor(name, share));
  made.addEventListener("click", () => {
    asked.label = label;
    showHeat();
    look();
  });
  return made;
}

function showHeat() {
  const { heat, label, predictions } = asked;
  const why = settings?.no_heat ?? (heat === null ? "failed" : null);
  for (const one of document.querySelectorAll("button.bar"))
    one.setAttribute("aria-pressed", String(Number(one.dataset.label) === label));
  $("heat").hidden = Boolean(why) || !heat;
  $("no-heat").hidden = !why;
  $("no-heat").textContent = why ? words().no_heat[why] : "";
  if (why || !heat) return;
  $("heat").classList.toggle("waiting", heat.label !== label);
  const { name } = predictions.find((row) => row.label === heat.label);
  if ($("heat-picture").src !== heat.picture) $("heat-picture").src = heat.picture;
  $("heat-picture").alt = words().heatOf(name);
  tell($("heat-text"), words().heat(name) + (settings.models > 1 ? ` ${words().firstOf(settings.models)}` : ""));
}

function hideProblem() {
  trouble = null;
  $("problem").replaceChildren();
}

function showProblem(problem) {
  trouble = problem;
  const { kind, message } = problem;
  $("empty").hidden = true; // on a phone, the card is hidden with it
  const said = words().problems[kind] ?? words().problems[500];
  const sentence = typeof said === "function" ? said(info.limits) : said;
  $("problem").replaceChildren(element("p", "", sentence));
  if (message) {
    const detail = element("p", "", `${words().service} `, element("span", "", message));
    detail.lastChild.lang = "en";
    $("problem").append(detail);
  }
  if ([408, 500, 503, "busy", "loading", "offline"].includes(kind) && asked?.blob) {
    const again = element("button", "button", words().again);
    again.type = "button";
    again.addEventListener("click", () => recognise(asked.blob, { truth: asked.truth }));
    $("problem").append(again);
  }
}

function showPreview(blob) {
  const preview = $("preview");
  if (preview.src) URL.revokeObjectURL(preview.src);
  if (blob) preview.src = url(blob);
  else preview.removeAttribute("src"); // an empty one would be an error, again and again
  preview.alt = words().preview;
  preview.hidden = !blob;
  $("invitation").hidden = Boolean(blob);
  $("drop").classList.toggle("filled", Boolean(blob));
}

function showWords() {
  say();
  $("language").textContent = words().language;
  $("language").lang = words().language === "English" ? "en" : "zh";
  if (info) {
    $("about").textContent = words().about(info.classes);
    $("model").textContent = `${info.run} · ${info.model}`;
  }
  for (const one of document.querySelectorAll("#example-list button")) {
    one.setAttribute("aria-label", words().example(one.dataset.name));
    tell(one.lastChild, one.dataset.name);
  }
  $("preview").alt = words().preview;
  if (asked) showAnswer();
  if (trouble) showProblem(trouble);
}

// Pictures come in ----------------------------------------------------------------------------------------------

function take(file, truth = null) {
  choose("picture");
  paper.rest(); // what was drawn before would be asked for after this picture
  showPreview(file);
  return recognise(file, { truth });
}

function takeFrom(transfer) {
  const file = [...(transfer?.files ?? [])][0];
  if (file) return take(file);
  showProblem(new Problem("nothing"));
}

$("preview").addEventListener("error", () => showPreview(null)); // no picture: the answer says so

$("drop").addEventListener("click", () => $("file").click()); // by keyboard there is the button

for (const id of ["file", "camera"])
  $(id).addEventListener("change", ({ target }) => {
    if (target.files.length) take(target.files[0]);
    target.value = ""; // the same file may be chosen again
  });

document.addEventListener("paste", ({ clipboardData }) => takeFrom(clipboardData));

let entered = 0; // drags enter a child before they leave its parent
document.addEventListener("dragenter", () => {
  entered += 1;
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", () => {
  entered -= 1;
  document.body.classList.toggle("dragging", entered > 0);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  entered = 0;
  document.body.classList.remove("dragging");
  takeFrom(event.dataTransfer);
});

function showExamples() {
  $("examples").hidden = !settings.examples.length;
  $("seen").hidden = !settings.examples_seen;
  const items = settings.examples.map((name, number) => {
    const picture = element("img", "");
    picture.alt = "";
    picture.src = `page/examples/${number}`;
    const button = element("button", "", picture, element("span", ""));
    button.type = "button";
    button.dataset.name = name;
    button.title = name;
    button.addEventListener("click", async () => {
      const mine = (turn += 1);
      try {
        const blob = await (await send(picture.src)).blob();
        if (mine !== turn) return;
        take(blob, name);
        button.setAttribute("aria-pressed", "true");
      } catch (error) {
        if (mine === turn) showProblem(error);
      }
    });
    return element("li", "", button);
  });
  $("example-list").replaceChildren(...items);
}

// Drawing -------------------------------------------------------------------------------------------------------

const paper = makePaper($("paper"), {
  finished: (blob) => recognise(blob, { scroll: false }), // the next stroke may follow
  changed: (strokes) => {
    $("undo").disabled = $("clear").disabled = !strokes;
  },
});
$("undo").addEventListener("click", paper.undo);
$("clear").addEventListener("click", paper.clear);
$("brush").addEventListener("input", ({ target }) => paper.setBrush(Number(target.value)));

function choose(name) {
  for (const one of ["picture", "draw"]) {
    $(`${one}-tab`).setAttribute("aria-selected", String(one === name));
    $(`${one}-tab`).tabIndex = one === name ? 0 : -1;
    $(`${one}-panel`).hidden = one !== name;
  }
}
for (const [name, other] of [["picture", "draw"], ["draw", "picture"]]) {
  $(`${name}-tab`).addEventListener("click", () => choose(name));
  $(`${name}-tab`).addEventListener("keydown", ({ key }) => {
    if (!["ArrowLeft", "ArrowRight"].includes(key)) return;
    choose(other);
    $(`${other}-tab`).focus();
  });
}

// The beginning -------------------------------------------------------------------------------------------------

$("language").addEventListener("click", () => {
  switchLanguage();
  showWords();
});

/** What is served, once the model is loaded. */
async function begin() {
  showWords();
  let shown; // the problem: said once, not each second
  while (!settings) {
    try {
      info = await (await send("info")).json();
      settings = await (await send("page/settings")).json();
      hideProblem();
      $("empty").hidden = Boolean(asked);
    } catch (error) {
      $("loading").hidden = error.kind !== "loading";
      if (error.kind !== "loading" && error.kind !== shown) showProblem(error);
      shown = error.kind;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
  $("loading").hidden = true;
  const name = info.competition.replaceAll("_", " ");
  $("competition").textContent = name[0].toUpperCase() + name.slice(1);
  document.title = `${$("competition").textContent} · Podium`;
  $("sample").hidden = !info.sample_data;
  $("tabs").hidden = !settings.draw;
  if (settings.draw) {
    $("picture-panel").setAttribute("role", "tabpanel");
    $("picture-panel").setAttribute("aria-labelledby", "picture-tab");
    $("brush").value = settings.brush;
    paper.setBrush(settings.brush);
  }
  showExamples();
  showWords();
}

begin();
