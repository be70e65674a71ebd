// Draws the timeline of the answer and lets a cursor follow the song; gr.HTML runs it with `element` and `watch`.
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
    const words = ranked.slice(0, 3).map((name) => `${name} ${(100 * shares[name][moment]).toFixed(0)} %`);
    now.textContent = `${clock(at_s)}  ${words.join(", ")}`;
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

  function seek(event) {
    const box = stage.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    song.currentTime = part * duration_s;
    show();
  }
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); seek(event); });
  stage.addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
  show();
}

// One song at a time.
element.addEventListener("play", (event) => {
  for (const other of element.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);
watch("value", draw);
draw();
