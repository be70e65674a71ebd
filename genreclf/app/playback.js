// Draws the timeline of the answer and lets a cursor follow the song; gr.HTML runs it with `element` and `watch`.
const STEP_S = 5;

// Screen readers are told the answer in a sentence, not all of it.
const status = document.createElement("div");
status.className = "g-status";
status.setAttribute("role", "status");
document.body.append(status);

// The name of the button to upload is to hold the words on it (WCAG 2.5.3), however often gradio makes it anew.
const rename = () => document.querySelector("#song .upload-container[aria-label]")?.removeAttribute("aria-label");
new MutationObserver(rename).observe(document.body, { childList: true, subtree: true, attributeFilter: ["aria-label"] });
rename();

function arrive() {
  const answer = element.querySelector(".g-answer");
  status.textContent = answer ? answer.dataset.said : "";
  if (!element.querySelector(".g-answer, .g-error")) return;
  // On a narrow screen the answer is below what was pressed.
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (element.getBoundingClientRect().top > innerHeight / 2 || matchMedia("(max-width: 799px)").matches)
    element.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
}

function draw() {
  const stage = element.querySelector(".g-stage");
  if (!stage) return;
  const { duration_s, edges_s, shares, bands } = JSON.parse(stage.dataset.timeline);
  const song = element.querySelector(".g-song");
  const svg = stage.querySelector("svg");
  const cursor = stage.querySelector(".g-cursor");
  const now = element.querySelector(".g-now");
  const rows = [...element.querySelectorAll(".g-shares li")];

  let below = edges_s.slice(1).map(() => 0);
  for (const [name, color] of bands) {
    const above = below.map((low, i) => (name in shares ? low + shares[name][i] : 1));
    const steps = (heights) => heights.flatMap((height, i) => [[edges_s[i], height], [edges_s[i + 1], height]]);
    const points = [...steps(above), ...steps(below).reverse()];
    const polygon = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    polygon.setAttribute("points", points.map(([x, y]) => `${x / duration_s},${1 - y}`).join(" "));
    polygon.setAttribute("fill", color);
    svg.append(polygon);
    below = above;
  }

  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  function show() {
    const at_s = Math.min(song.currentTime, duration_s);
    let moment = edges_s.findIndex((edge) => edge > at_s) - 1;
    if (moment < 0) moment = at_s < edges_s[0] ? 0 : edges_s.length - 2;
    cursor.style.left = `${(100 * at_s) / duration_s}%`;
    const ranked = Object.keys(shares).sort((a, b) => shares[b][moment] - shares[a][moment]);
    const words = ranked.slice(0, 3).map((name) => `${name} ${(100 * shares[name][moment]).toFixed(0)}\u00a0%`);
    now.textContent = `${clock(at_s)}\u2002${words.join(", ")}`;
    stage.setAttribute("aria-valuenow", Math.round(at_s));
    stage.setAttribute("aria-valuetext", `${clock(at_s)}, ${words[0]}`);
    for (const row of rows) row.querySelector("b").style.left = `${100 * shares[row.dataset.genre][moment]}%`;
  }
  function follow() {
    if (!song.isConnected) return;
    show();
    if (!song.paused) requestAnimationFrame(follow);
  }
  song.addEventListener("play", follow);
  song.addEventListener("seeked", show);
  song.addEventListener("ended", show);
  song.addEventListener("error", () => { now.textContent = "This browser cannot play the song."; });

  function jump(at_s) {
    song.currentTime = Math.min(duration_s, Math.max(0, at_s));
    show();
  }
  function seek(event) {
    const box = stage.getBoundingClientRect();
    jump(((event.clientX - box.left) / box.width) * duration_s);
  }
  const keys = {
    ArrowLeft: () => song.currentTime - STEP_S, ArrowDown: () => song.currentTime - STEP_S,
    ArrowRight: () => song.currentTime + STEP_S, ArrowUp: () => song.currentTime + STEP_S,
    Home: () => 0, End: () => duration_s,
  };
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); seek(event); });
  stage.addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
  stage.addEventListener("keydown", (event) => {
    if (event.key === " ") song.paused ? song.play() : song.pause();
    else if (event.key in keys) jump(keys[event.key]());
    else return;
    event.preventDefault();
  });
  show();
}

// One song at a time.
element.addEventListener("play", (event) => {
  for (const other of element.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);
watch("value", () => { draw(); arrive(); });
draw();
