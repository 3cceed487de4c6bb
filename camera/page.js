"use strict";
// The viewer of camera/page.py. World: OpenCV axes of the first camera (x right, y down, z forward).
// State lies in the address (#frame=40&view=camera&track=1&yaw=30&pitch=20&zoom=1&theme=dark) and in body.dataset.
window.addEventListener("error", event => { document.body.dataset.error = event.message; });

const data = JSON.parse(document.getElementById("data").textContent);
const tracks = data.tracks;
const element = id => document.getElementById(id);
const canvas = element("canvas"), context = canvas.getContext("2d");
const START = { yaw: 32, pitch: 28, zoom: 1, shift: [0, 0, 0] };
const state = { frame: 0, view: "orbit", track: 0, playing: false, theme: "", ...START };
const picture = new Image();

// ---- vectors and views
const sub = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const add = (a, b, scale = 1) => [a[0] + scale * b[0], a[1] + scale * b[1], a[2] + scale * b[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = a => { const length = Math.hypot(...a) || 1; return a.map(value => value / length); };
const degrees = radians => radians * 180 / Math.PI;
const column = (track, frame, k) => [0, 3, 6].map(row => track.rotations[frame][row + k]);
const lens = (track, frame) => track.intrinsics[Math.min(frame, track.intrinsics.length - 1)];
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const boundsOf = () => {
  const points = tracks.flatMap(track => track.centres.concat(track.subject ? [track.subject] : []));
  const low = [0, 1, 2].map(k => points.reduce((least, point) => Math.min(least, point[k]), Infinity) - data.depth);
  const high = [0, 1, 2].map(k => points.reduce((most, point) => Math.max(most, point[k]), -Infinity) + data.depth);
  return { low, high, middle: low.map((value, k) => (value + high[k]) / 2), radius: Math.hypot(...sub(high, low)) / 2 };
};
const bounds = boundsOf();
const reach = data.depth / 0.17;

function orbitView(rect) {
  const yaw = state.yaw * Math.PI / 180, pitch = state.pitch * Math.PI / 180;
  const back = [Math.sin(yaw) * Math.cos(pitch), -Math.sin(pitch), -Math.cos(yaw) * Math.cos(pitch)];
  const forward = back.map(value => -value), right = unit(cross([0, 1, 0], forward)), down = cross(forward, right);
  const fy = 1.3, fx = fy * rect.h / rect.w;
  const distance = 0.8 * bounds.radius / Math.sin(Math.atan(0.5 / Math.max(fx, fy))) / state.zoom;
  const eye = add(add(bounds.middle, state.shift), back, distance);
  return { eye, right, down, forward, fx, fy, cx: 0.5, cy: 0.5, rect, near: distance * 1e-3, distance };
}

function cameraView(track, frame, outer) {
  const [fx, fy, cx, cy] = lens(track, frame), aspect = fy / fx;
  const w = Math.min(outer.w, outer.h * aspect), h = w / aspect;
  const rect = { x: outer.x + (outer.w - w) / 2, y: outer.y + (outer.h - h) / 2, w, h };
  const [right, down, forward] = [0, 1, 2].map(k => column(track, frame, k));
  return { eye: track.centres[frame], right, down, forward, fx, fy, cx, cy, rect, near: reach * 1e-3 };
}

const inCamera = (view, point) => {
  const away = sub(point, view.eye);
  return [dot(away, view.right), dot(away, view.down), dot(away, view.forward)];
};
const toPixel = (view, p) => [view.rect.x + (view.fx * p[0] / p[2] + view.cx) * view.rect.w,
  view.rect.y + (view.fy * p[1] / p[2] + view.cy) * view.rect.h];

// the part of a polygon (or, open, of a line) in front of the near plane, as pixels
function clipped(view, points, open) {
  const corners = points.map(point => inCamera(view, point)), kept = [], near = view.near;
  for (let index = 0; index < corners.length; index++) {
    const here = corners[index], next = corners[(index + 1) % corners.length];
    if (here[2] >= near) kept.push(here);
    const last = open && index === corners.length - 1;
    if (!last && (here[2] >= near) !== (next[2] >= near)) {
      kept.push(add(here, sub(next, here), (near - here[2]) / (next[2] - here[2])));
    }
  }
  return kept.map(corner => toPixel(view, corner));
}

function trace(pixels) {
  context.beginPath();
  pixels.forEach(([x, y], index) => index ? context.lineTo(x, y) : context.moveTo(x, y));
}
function line(view, from, to, colour, width) {
  const pixels = clipped(view, [from, to], true);
  if (pixels.length < 2) return;
  trace(pixels);
  context.strokeStyle = colour; context.lineWidth = width; context.stroke();
}
function fill(view, points, colour, stroke) {
  const pixels = clipped(view, points, false);
  if (pixels.length < 3) return;
  trace(pixels); context.closePath();
  if (colour) { context.fillStyle = colour; context.fill(); }
  if (stroke) { context.strokeStyle = stroke; context.lineWidth = 1; context.stroke(); }
}
function dotAt(view, point, radius, colour) {
  const p = inCamera(view, point);
  if (p[2] < view.near) return;
  context.beginPath(); context.arc(...toPixel(view, p), radius, 0, 2 * Math.PI);
  context.fillStyle = colour; context.fill();
  context.strokeStyle = css("--text"); context.lineWidth = 1; context.stroke();
}
function label(view, point, text, colour) {
  const p = inCamera(view, point);
  if (p[2] < view.near) return;
  context.fillStyle = colour; context.font = "12px system-ui, sans-serif"; context.textAlign = "center";
  context.fillText(text, ...toPixel(view, p));
}

// ---- colours
const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [205, 224, 40]];
function colourOf(index, frame) {
  if (index) return ["#d1495b", "#e08e2b", "#8e5bd1", "#3b82d0"][(index - 1) % 4];
  const place = 4 * frame / Math.max(tracks[0].times.length - 1, 1), below = Math.min(Math.floor(place), 3);
  return "rgb(" + VIRIDIS[below].map((from, k) => Math.round(from + (place - below) * (VIRIDIS[below + 1][k] - from)));
}

// ---- what is drawn
function frustum(track, frame, scale = 1) {
  const [fx, fy, cx, cy] = lens(track, frame);
  const rays = [[0, 0], [1, 0], [1, 1], [0, 1]].map(([u, v]) => [(u - cx) / fx, (v - cy) / fy, 1]);
  const longest = Math.max(1.3, ...rays.map(ray => Math.hypot(...ray)));
  return rays.map(ray => ray.reduce(
    (sum, value, k) => add(sum, column(track, frame, k), value * scale * data.depth * 1.3 / longest), track.centres[frame]));
}
function drawFrustum(view, index, frame, current) {
  const track = tracks[index], corners = frustum(track, frame, current ? 1.25 : 1), colour = colourOf(index, frame);
  context.globalAlpha = current ? 0.35 : 0.08; fill(view, corners, colour);
  context.globalAlpha = current ? 1 : 0.6;
  const width = current ? 2.4 : 1;
  corners.forEach((corner, k) => {
    line(view, track.centres[frame], corner, colour, width);
    line(view, corner, corners[(k + 1) % 4], colour, k ? width : width * 2.2);
  });
  context.globalAlpha = 1;
  if (current) dotAt(view, track.centres[frame], 5, colour);
}
function drawGround(view) {
  const level = bounds.high[1], step = data.step;
  const from = [0, 2].map(k => Math.floor(bounds.low[k] / step) - 1), to = [0, 2].map(k => Math.ceil(bounds.high[k] / step) + 1);
  const colour = css("--line");
  for (let x = from[0]; x <= to[0]; x++) line(view, [x * step, level, from[1] * step], [x * step, level, to[1] * step], colour, 1);
  for (let z = from[1]; z <= to[1]; z++) line(view, [from[0] * step, level, z * step], [to[0] * step, level, z * step], colour, 1);
}
function drawAxes(view) {
  const size = 1.4 * data.depth;
  [["x", "#d9534f"], ["y", "#3a9d5d"], ["z", "#3b82d0"]].forEach(([name, colour], k) => {
    const tip = [0, 0, 0]; tip[k] = size;
    line(view, [0, 0, 0], tip, colour, 2.5);
    label(view, tip.map(value => value * 1.15), name, colour);
  });
}
function drawPath(view, index) {
  const { centres } = tracks[index], level = bounds.high[1];
  for (let frame = 1; frame < centres.length; frame++) {
    const [from, to] = [centres[frame - 1], centres[frame]];
    line(view, [from[0], level, from[2]], [to[0], level, to[2]], css.edge, 1);
    line(view, from, to, colourOf(index, frame), 2.5);
  }
}
// a picture on a plane in perspective: small triangles, each mapped affinely
function drawPicture(view, corners) {
  const cells = 8, { width, height } = picture;
  const at = (u, v) => add(add(corners[0], sub(corners[1], corners[0]), u), sub(corners[3], corners[0]), v);
  for (let row = 0; row < cells; row++) for (let col = 0; col < cells; col++) for (const lower of [0, 1]) {
    const uv = [[col + lower, row + lower], [col + 1, row], [col, row + 1]].map(([u, v]) => [u / cells, v / cells]);
    const places = uv.map(([u, v]) => inCamera(view, at(u, v)));
    if (places.some(place => place[2] < view.near)) continue;
    const [p, q, r] = places.map(place => toPixel(view, place)), [a, b, c] = uv.map(([u, v]) => [u * width, v * height]);
    const scale = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]);
    const solve = k => [((q[k] - p[k]) * (c[1] - a[1]) - (r[k] - p[k]) * (b[1] - a[1])) / scale,
      ((r[k] - p[k]) * (b[0] - a[0]) - (q[k] - p[k]) * (c[0] - a[0])) / scale];
    const [x, y] = [solve(0), solve(1)];
    const middle = [0, 1].map(k => (p[k] + q[k] + r[k]) / 3);
    // a little larger, so that no seam shows between neighbours
    context.save(); trace([p, q, r].map(place => place.map((value, k) => value + 0.6 * Math.sign(value - middle[k]))));
    context.closePath(); context.clip();
    context.transform(x[0], y[0], x[1], y[1], p[0] - x[0] * a[0] - x[1] * a[1], p[1] - y[0] * a[0] - y[1] * a[1]);
    context.drawImage(picture, 0, 0); context.restore();
  }
}
const paint = {
  orbit(view) {
    css.edge = css("--edge");
    drawGround(view);
    if (picture.width) drawPicture(view, frustum(tracks[0], 0));
    drawAxes(view);
    tracks.forEach((track, index) => {
      if (track.hidden) return;
      drawPath(view, index);
      const shown = Math.min(track.times.length, 25), last = track.times.length - 1;
      for (let k = 0; k < shown; k++) drawFrustum(view, index, shown > 1 ? Math.round(k * last / (shown - 1)) : 0, false);
      if (track.subject) { dotAt(view, track.subject, 6, "#f2a541"); label(view, add(track.subject, [0, -0.5 * data.depth, 0]), "subject", css("--faint")); }
    });
    tracks.forEach((track, index) => { if (!track.hidden) drawFrustum(view, index, frameOf(index), true); });
  },
  camera(view) { drawRoom(view); },
};

// ---- the room that one sees from the camera: it holds every camera, so its walls never hide one another
const room = (() => {
  const far = 1.2 * reach;
  return { low: [bounds.low[0] - far, bounds.low[1] - 0.7 * far, bounds.low[2] - far],
    high: [bounds.high[0] + far, bounds.high[1] + 0.35 * far, bounds.high[2] + 1.4 * far] };
})();
function drawRoom(view) {
  const { low, high } = room, shades = [["--side-a", "--side-b"], ["--floor-a", "--floor-b"], ["--wall-a", "--wall-b"]];
  [0, 1, 2].forEach(axis => [low, high].forEach(side => {
    const [s, t] = [0, 1, 2].filter(k => k !== axis), colours = shades[axis].map(css), cells = [12, 12];
    const corner = (i, j) => {
      const point = [0, 0, 0];
      point[axis] = side[axis];
      point[s] = low[s] + (high[s] - low[s]) * i / cells[0]; point[t] = low[t] + (high[t] - low[t]) * j / cells[1];
      return point;
    };
    for (let i = 0; i < cells[0]; i++) for (let j = 0; j < cells[1]; j++) {
      const colour = colours[(i + j) % 2];
      fill(view, [corner(i, j), corner(i + 1, j), corner(i + 1, j + 1), corner(i, j + 1)], colour, colour);
    }
  }));
  blocks.map(block => ({ ...block, away: Math.hypot(...sub(block.middle, view.eye)) }))
    .sort((a, b) => b.away - a.away).forEach(block => drawBlock(view, block));
}
const blocks = (() => {
  const ahead = (tracks[0].subject || [0, 0, reach])[2], floor = room.high[1], list = [];
  const stand = (x, z, half, top, hue) => list.push({ middle: [x, (floor + top) / 2, z], half: [half, (floor - top) / 2, half], hue });
  stand(0, ahead, 0.07 * reach, -0.06 * reach, 32);
  [[-0.75, 1.35, 205], [0.8, 1.5, 140], [-0.95, 0.35, 275], [1.0, 0.45, 350], [-0.2, 1.9, 60]].forEach(
    ([x, z, hue]) => stand(x * reach, z * Math.max(ahead, reach), 0.08 * reach, -0.35 * reach, hue));
  return list;
})();
function drawBlock(view, { middle, half, hue }) {
  const inside = [0, 1, 2].every(k => Math.abs(view.eye[k] - middle[k]) < half[k]);
  if (inside) return;
  const dark = document.documentElement.classList.contains("dark");
  for (const axis of [0, 1, 2]) for (const sign of [-1, 1]) {
    if (sign * (view.eye[axis] - middle[axis]) <= half[axis]) continue;
    const [s, t] = [0, 1, 2].filter(k => k !== axis);
    const face = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([i, j]) => {
      const point = [...middle];
      point[axis] += sign * half[axis]; point[s] += i * half[s]; point[t] += j * half[t];
      return point;
    });
    fill(view, face, `hsl(${hue} 55% ${(dark ? 34 : 52) + 8 * axis + 4 * sign}%)`, css("--edge"));
  }
}

// ---- frames and read-out
const active = () => tracks[state.track];
function frameOf(index) {
  if (index === state.track) return state.frame;
  const { times } = tracks[index], wanted = active().times[state.frame] - active().times[0];
  return times.reduce((best, time, k) =>
    Math.abs(time - times[0] - wanted) < Math.abs(times[best] - times[0] - wanted) ? k : best, 0);
}
function readOut(track, frame) {
  const [x, y, z] = track.centres[frame], [right, , forward] = [0, 1, 2].map(k => column(track, frame, k));
  const down = column(track, frame, 1), [fx, fy, cx, cy] = lens(track, frame), number = value => Number(value.toPrecision(4)) + 0;
  const span = (focal, centre) => degrees(Math.atan(centre / focal) + Math.atan((1 - centre) / focal)).toFixed(1) + "°";
  const speed = frame ? Math.hypot(...sub(track.centres[frame], track.centres[frame - 1])) / (track.times[frame] - track.times[frame - 1]) : 0;
  const rounded = value => (Math.abs(value) < 1e-6 * reach ? 0 : number(value)) + " " + track.unit;
  const turned = value => (Math.abs(value) < 0.05 ? 0 : value).toFixed(1) + "°";
  return { "right (x)": rounded(x), "up (−y)": rounded(-y), "forward (z)": rounded(z),
    "yaw right": turned(degrees(Math.atan2(forward[0], forward[2]))),
    "pitch up": turned(degrees(Math.asin(Math.max(-1, Math.min(1, -forward[1]))))),
    "roll clockwise": turned(degrees(Math.atan2(right[1], down[1]))),
    "field of view": span(fx, cx) + " × " + span(fy, cy), speed: rounded(speed) + "/s" };
}
function draw() {
  const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = css("--back"); context.fillRect(0, 0, w, h);
  context.lineJoin = context.lineCap = "round";
  const wide = w > 620, whole = { x: wide ? 290 : 0, y: 0, w: wide ? w - 290 : w, h: h - 70 };
  const small = wide ? 268 : 0.4 * w, corner = { x: wide ? 12 : w - small - 12, y: h - 80 - 0.62 * small, w: small, h: 0.62 * small };
  const other = state.view === "orbit" ? "camera" : "orbit";
  inRect(viewOf(state.view, whole), state.view, state.view === "camera");
  inRect(viewOf(other, corner), other, true);
  show();
}
const viewOf = (name, rect) => name === "orbit" ? orbitView(rect) : cameraView(active(), state.frame, rect);
function inRect(view, name, framed) {
  const { x, y, w, h } = view.rect;
  context.save();
  if (framed) {
    context.beginPath(); context.rect(x, y, w, h); context.clip();
    context.fillStyle = css("--back"); context.fillRect(x, y, w, h);
  }
  paint[name](view);
  context.restore();
  if (framed) { context.strokeStyle = css("--edge"); context.lineWidth = 1.5; context.strokeRect(x, y, w, h); }
}
function show() {
  const track = active(), last = track.times.length - 1, values = readOut(track, state.frame);
  element("readout").replaceChildren(...Object.entries(values).flatMap(pair => pair.map((text, k) => {
    const cell = document.createElement(k ? "dd" : "dt");
    cell.textContent = text;
    return cell;
  })));
  element("slider").max = last; element("slider").value = state.frame;
  element("clock").textContent = `frame ${state.frame} of ${last}, ${track.times[state.frame].toFixed(2)} s`;
  element("play").textContent = state.playing ? "Pause" : "Play";
  element("play").setAttribute("aria-pressed", state.playing);
  element("view").setAttribute("aria-pressed", state.view === "camera");
  Object.assign(document.body.dataset, { frame: state.frame, view: state.view, track: state.track, playing: state.playing,
    frames: last + 1, yaw: state.yaw.toFixed(1), zoom: state.zoom.toFixed(3), picture: picture.width,
    position: track.centres[state.frame].join(" "), ready: "true" });
}

// ---- control
function set(change, silent) {
  Object.assign(state, change);
  state.track = Math.max(0, Math.min(tracks.length - 1, Math.round(state.track) || 0));
  state.frame = Math.max(0, Math.min(active().times.length - 1, Math.round(state.frame) || 0));
  state.pitch = Math.max(-89, Math.min(89, state.pitch));
  state.zoom = Math.max(0.1, Math.min(50, state.zoom));
  if (!silent) history.replaceState(null, "", `#frame=${state.frame}&view=${state.view}&track=${state.track}` +
    `&yaw=${state.yaw.toFixed(1)}&pitch=${state.pitch.toFixed(1)}&zoom=${state.zoom.toFixed(3)}` + (state.theme ? `&theme=${state.theme}` : ""));
  draw();
}
function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1)), change = {};
  for (const name of ["frame", "track", "yaw", "pitch", "zoom"]) {
    const value = Number(asked.get(name));
    if (asked.get(name) && Number.isFinite(value)) change[name] = value;
  }
  if (["orbit", "camera"].includes(asked.get("view"))) change.view = asked.get("view");
  if (["dark", "light"].includes(asked.get("theme"))) change.theme = asked.get("theme");
  if (asked.get("play") === "1") play(true);
  set(change, true);
  applyTheme();
}
const darkQuery = matchMedia("(prefers-color-scheme: dark)");
function applyTheme() {
  document.documentElement.classList.toggle("dark", state.theme ? state.theme === "dark" : darkQuery.matches);
  draw();
}
let begun = null;
function play(on) {
  if (on && !state.playing) {
    const again = state.frame === active().times.length - 1 ? 0 : state.frame;
    begun = { clock: performance.now(), time: active().times[again] };
    requestAnimationFrame(tick);
  }
  set({ playing: on });
}
function tick(now) {
  if (!state.playing) return;
  const { times } = active(), end = times[times.length - 1];
  let time = begun.time + (now - begun.clock) / 1000;
  if (time > end + 0.4) { begun = { clock: now, time: times[0] }; time = times[0]; }
  let frame = 0;
  while (frame < times.length - 1 && times[frame + 1] <= time) frame++;
  if (frame !== state.frame) set({ frame });
  requestAnimationFrame(tick);
}
const stop = change => { state.playing = false; set(change); };

const fingers = new Map();
canvas.addEventListener("pointerdown", event => {
  canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, [event.clientX, event.clientY]);
});
for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, event => fingers.delete(event.pointerId));
canvas.addEventListener("pointermove", event => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]], others = [...fingers].filter(([id]) => id !== event.pointerId);
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
  if (others.length) {
    const [x, y] = others[0][1];
    const ratio = Math.hypot(event.clientX - x, event.clientY - y) / (Math.hypot(before[0] - x, before[1] - y) || 1);
    set({ zoom: state.zoom * ratio }); shift(dx / 2, dy / 2);
  } else if (event.buttons & 2 || event.shiftKey) shift(dx, dy);
  else set({ yaw: state.yaw - dx * 0.4, pitch: state.pitch + dy * 0.4 });
});
function shift(dx, dy) {
  const view = orbitView({ x: 0, y: 0, w: canvas.clientWidth, h: canvas.clientHeight });
  const scale = view.distance / (view.fy * canvas.clientHeight);
  set({ shift: add(add(state.shift, view.right, -dx * scale), view.down, -dy * scale) });
}
canvas.addEventListener("contextmenu", event => event.preventDefault());
canvas.addEventListener("wheel", event => {
  event.preventDefault(); set({ zoom: state.zoom * Math.exp(-event.deltaY * 0.0012) });
}, { passive: false });
const KEYS = {
  " ": () => play(!state.playing), ArrowLeft: () => stop({ frame: state.frame - 1 }), ArrowRight: () => stop({ frame: state.frame + 1 }),
  Home: () => stop({ frame: 0 }), End: () => stop({ frame: Infinity }), a: () => set({ yaw: state.yaw + 5 }), d: () => set({ yaw: state.yaw - 5 }),
  w: () => set({ pitch: state.pitch + 5 }), s: () => set({ pitch: state.pitch - 5 }), "+": () => set({ zoom: state.zoom * 1.15 }),
  "-": () => set({ zoom: state.zoom / 1.15 }), c: () => toggleView(), r: () => set({ ...START }),
};
const toggleView = () => set({ view: state.view === "orbit" ? "camera" : "orbit" });
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || (event.key === " " && event.target.tagName === "BUTTON")) return;
  event.preventDefault(); action();
});
element("play").addEventListener("click", () => play(!state.playing));
element("view").addEventListener("click", toggleView);
element("reset").addEventListener("click", () => set({ ...START }));
element("slider").addEventListener("input", event => stop({ frame: Number(event.target.value) }));
window.addEventListener("resize", draw);
window.addEventListener("hashchange", readAddress);
darkQuery.addEventListener("change", applyTheme);

if (tracks.length > 1) tracks.forEach((track, index) => {
  const row = document.createElement("label"), box = document.createElement("input"), swatch = document.createElement("i");
  const name = document.createElement("span"), pick = document.createElement("input");
  Object.assign(box, { type: "checkbox", checked: true, title: "shown" });
  Object.assign(pick, { type: "radio", name: "active", checked: !index, title: "its frames are on the slider" });
  swatch.style.background = index ? colourOf(index, 0) : "linear-gradient(90deg, #440154, #21918c, #cde028)";
  name.textContent = track.name;
  box.addEventListener("change", () => { track.hidden = !box.checked; draw(); });
  pick.addEventListener("change", () => set({ track: index }));
  row.append(box, pick, swatch, name);
  element("tracks").append(row);
});
picture.addEventListener("load", draw);
if (data.image) picture.src = data.image;
readAddress();
