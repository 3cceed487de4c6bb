// How a user acts on the viewer: address, slider, keys, mouse, touch. Follows page.js in the same script.
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
