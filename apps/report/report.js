"use strict";
(() => {
  const settings = JSON.parse(document.getElementById("settings").textContent);
  const root = document.documentElement;
  const find = (id) => document.getElementById(id);
  const { width, height, labels, window: auto } = settings;
  const hasReference = settings.reference !== null;
  if (!hasReference) find("viewer").classList.add("no-reference");

  // Codes travel in base64, one element per slice, and are decoded when they are first shown.
  const decodeBytes = (text) => Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  const cache = new Map();
  const codesOf = (set, slice) => {
    const key = set + slice;
    if (!cache.has(key)) {
      const bytes = decodeBytes(find(`${set}-${slice}`).textContent);
      let codes = bytes;
      if (settings.bits === 16) {
        codes = new Uint16Array(bytes.length / 2);
        for (let i = 0; i < codes.length; ++i) codes[i] = bytes[2 * i] | (bytes[2 * i + 1] << 8);
      }
      if (cache.size > 128) cache.delete(cache.keys().next().value);
      cache.set(key, codes);
    }
    return cache.get(key);
  };
  const top = settings.bits === 16 ? 65535 : 255;
  const unit = { image: settings.image.maximum / top, reference: hasReference ? settings.reference.maximum / top : 0 };

  // Window and level are values of the image; sliders run over 0 .. range in thousandths.
  const range = Math.max(settings.image.maximum, hasReference ? settings.reference.maximum : 0, Number.MIN_VALUE);
  const state = { slice: 0, width: 1, centre: 0.5, zoom: 0 };
  const resetWindow = () => {
    state.width = auto.upper - auto.lower;
    state.centre = (auto.upper + auto.lower) / 2;
  };
  const scale = () => (find("match").checked ? settings.matchScale : 1);
  const contexts = {};
  const panes = hasReference ? ["image", "reference", "difference"] : ["image"];
  for (const name of panes) {
    const canvas = find(`canvas-${name}`);
    canvas.width = width;
    canvas.height = height;
    contexts[name] = canvas.getContext("2d", { willReadFrequently: true });
  }

  const paint = (name, valueAt, lower, span) => {
    const picture = contexts[name].createImageData(width, height);
    const out = picture.data;
    for (let i = 0; i < width * height; ++i) {
      const grey = Math.round((255 * (valueAt(i) - lower)) / span);
      out[4 * i] = out[4 * i + 1] = out[4 * i + 2] = grey < 0 ? 0 : grey > 255 ? 255 : grey;
      out[4 * i + 3] = 255;
    }
    contexts[name].putImageData(picture, 0, 0);
  };

  const short = (value) => {
    const size = Math.abs(value);
    if (value !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(3);
    return Number(value.toPrecision(4)).toString();
  };
  const draw = () => {
    const lower = state.centre - state.width / 2;
    const image = codesOf("image", state.slice);
    const factor = unit.image * scale();
    paint("image", (i) => image[i] * factor, lower, state.width);
    if (hasReference) {
      const reference = codesOf("reference", state.slice);
      const gain = Number(find("gain").value);
      paint("reference", (i) => reference[i] * unit.reference, lower, state.width);
      paint("difference", (i) => gain * Math.abs(image[i] * factor - reference[i] * unit.reference), 0, state.width);
      find("gain-label").textContent = `×${gain}`;
    }
    find("slice").value = state.slice;
    find("slice-label").textContent = `${labels[state.slice]} (${state.slice + 1} of ${labels.length})`;
    find("window").value = Math.round((1000 * state.width) / range);
    find("window-label").textContent = short(state.width);
    find("level").value = Math.round((1000 * state.centre) / range);
    find("level-label").textContent = short(state.centre);
    Object.assign(root.dataset, { slice: state.slice, window: state.width, level: state.centre, zoom: state.zoom });
  };
  let pending = false;
  const redraw = () => {  // many events, one picture a frame; a page in the background draws as well
    if (pending) return;
    pending = true;
    setTimeout(() => { pending = false; draw(); }, 0);
  };

  // Zoom 0 fits the pane. Pixels have the shape of the voxels.
  const layout = () => {
    for (const name of panes) {
      const canvas = find(`canvas-${name}`);
      const pane = canvas.parentElement;
      const room = Math.max(pane.clientWidth, 64);
      const fit = Math.min(room / width, (0.72 * window.innerHeight) / (height * settings.pixelAspect), 8);
      const factor = Math.max(fit, 32 / width) * 2 ** state.zoom;
      canvas.style.width = `${Math.round(width * factor)}px`;
      canvas.style.height = `${Math.round(height * settings.pixelAspect * factor)}px`;
      canvas.style.imageRendering = factor >= 3 ? "pixelated" : "auto";
    }
    find("zoom").value = state.zoom;
    find("zoom-label").textContent = `${short(2 ** state.zoom)}×`;
    root.dataset.zoom = state.zoom;
  };

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const goTo = (slice) => { state.slice = clamp(slice, 0, labels.length - 1); redraw(); };
  const setWindow = (span, centre) => {
    state.width = clamp(span, range / 1000, range);
    state.centre = clamp(centre, 0, range);
    redraw();
  };
  const setZoom = (zoom) => { state.zoom = clamp(zoom, -2, 4); layout(); };
  const reset = () => { resetWindow(); setZoom(0); redraw(); };

  find("slice").max = labels.length - 1;
  find("slice").disabled = labels.length === 1;
  find("slice").addEventListener("input", (e) => goTo(Number(e.target.value)));
  find("window").addEventListener("input", (e) => setWindow((Number(e.target.value) * range) / 1000, state.centre));
  find("level").addEventListener("input", (e) => setWindow(state.width, (Number(e.target.value) * range) / 1000));
  find("zoom").addEventListener("input", (e) => setZoom(Number(e.target.value)));
  find("gain").addEventListener("change", redraw);
  find("match").addEventListener("change", redraw);
  find("reset").addEventListener("click", reset);
  window.addEventListener("resize", layout);
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.altKey || e.metaKey || e.target.matches("select")) return;
    const onSlider = e.target.matches("input[type=range]");
    const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, PageUp: -10, PageDown: 10,
                    Home: -labels.length, End: labels.length };
    if (e.key in steps) {
      if (onSlider && e.target.id !== "slice") return;
      goTo(state.slice + steps[e.key]);
    } else if (e.key === "+" || e.key === "=") {
      setZoom(state.zoom + 0.25);
    } else if (e.key === "-") {
      setZoom(state.zoom - 0.25);
    } else {
      return;
    }
    e.preventDefault();
  });

  for (const name of panes) {
    const canvas = find(`canvas-${name}`);
    let drag = null;
    canvas.addEventListener("pointerdown", (e) => {
      if (e.button !== 0) return;
      drag = { x: e.clientX, y: e.clientY, width: state.width, centre: state.centre };
      try { canvas.setPointerCapture(e.pointerId); } catch { /* a pointer that is already gone */ }
    });
    canvas.addEventListener("pointermove", (e) => {
      if (drag) {  // right: wider window; down: higher level, a darker image
        const step = range / 400;
        setWindow(drag.width + (e.clientX - drag.x) * step, drag.centre + (e.clientY - drag.y) * step);
      }
      const box = canvas.getBoundingClientRect();
      const x = Math.floor(((e.clientX - box.left) / box.width) * width);
      const y = Math.floor(((e.clientY - box.top) / box.height) * height);
      if (x < 0 || y < 0 || x >= width || y >= height) return;
      const at = y * width + x;
      let text = `x ${x}, y ${y}: image ${short(codesOf("image", state.slice)[at] * unit.image * scale())}`;
      if (hasReference) text += `, reference ${short(codesOf("reference", state.slice)[at] * unit.reference)}`;
      find("probe").textContent = text;
    });
    for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, () => { drag = null; });
    canvas.addEventListener("pointerleave", () => { find("probe").textContent = ""; });
    canvas.addEventListener("dblclick", reset);
    canvas.addEventListener("wheel", (e) => {
      e.preventDefault();
      if (e.ctrlKey) setZoom(state.zoom - Math.sign(e.deltaY) * 0.25);
      else if (e.deltaY) goTo(state.slice + Math.sign(e.deltaY));
    }, { passive: false });
    const pane = canvas.parentElement;  // panes scroll together
    pane.addEventListener("scroll", () => {
      for (const other of panes) {
        const twin = find(`canvas-${other}`).parentElement;
        if (twin !== pane) { twin.scrollLeft = pane.scrollLeft; twin.scrollTop = pane.scrollTop; }
      }
    });
  }

  // Small 8-bit pictures: coil sensitivities and the map of k-space lines.
  for (const canvas of document.querySelectorAll("canvas[data-source]")) {
    const bytes = decodeBytes(find(canvas.dataset.source).textContent);
    const context = canvas.getContext("2d");
    const picture = context.createImageData(canvas.width, canvas.height);
    for (let i = 0; i < canvas.width * canvas.height; ++i) {
      picture.data.fill(bytes[i], 4 * i, 4 * i + 3);
      picture.data[4 * i + 3] = 255;
    }
    context.putImageData(picture, 0, 0);
  }

  resetWindow();
  layout();
  draw();
  root.dataset.ready = "yes";
})();
