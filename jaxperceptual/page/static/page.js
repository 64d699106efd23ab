// The page: what is chosen, what is shown. `engine.js` makes the pictures.

import * as engine from "./engine.js";

const $ = (id) => document.getElementById(id);
const photos = []; // {blob, url, name}
let current = null; // the photo shown
let result = null; // {blob, wish}, of the current photo
let request = null; // the AbortController of the picture being made
let stopCamera = null;
let bounds = {};

// --- what is chosen ------------------------------------------------------------------

function chosenStyle() {
  return document.querySelector("#styles input:checked")?.value ?? "none";
}

function wish() {
  const style = chosenStyle(), second = $("second").value, share = $("share").value / 100;
  const blended = style !== "none" && second && second !== style;
  return {
    style: blended ? `${style}:${(1 - share).toFixed(2)},${second}:${share.toFixed(2)}` : style,
    size: $("size").value,
    strength: $("strength").value / 100,
    style_scale: $("scale").value,
    preserve_color: $("colors").checked ? 1 : 0,
    enlarge: $("enlarge").value,
  };
}

function showValues() {
  for (const output of document.querySelectorAll("output")) {
    output.textContent = `${$(output.htmlFor.value).value} %`;
  }
  $("share").disabled = !$("second").value;
}

function addStyles(styles, first) {
  const plain = { name: "none", title: "The photo as it is, to be enlarged", label: "no style" };
  const tiles = bounds.enlarge.length ? [...styles, plain] : styles;
  for (const { name, title, label } of tiles) {
    const tile = document.createElement("label");
    tile.className = "tile";
    tile.title = title;
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "style", value: name });
    input.checked = name === first;
    const words = Object.assign(document.createElement("span"), { className: "name", textContent: label ?? name.replaceAll("_", " ") });
    tile.append(input, face(name), words);
    $("styles").append(tile);
    if (name !== "none") $("second").append(new Option(name.replaceAll("_", " "), name));
  }
  $("blend").hidden = styles.length < 2;
  document.querySelector("#styles input:checked")?.parentElement.scrollIntoView({ block: "nearest", inline: "center" });
}

function face(name) {
  const blank = Object.assign(document.createElement("span"), { className: "blank", textContent: name === "none" ? "∅" : name[0] });
  if (name === "none") return blank;
  const image = Object.assign(document.createElement("img"), { alt: "", src: engine.thumbnail(name), loading: "lazy" });
  image.onerror = () => image.replaceWith(blank);
  return image;
}

// --- photos --------------------------------------------------------------------------

function take(files) {
  const images = [...files];
  if (!images.length) return;
  stopCamera?.();
  for (const { url } of photos.splice(0)) URL.revokeObjectURL(url);
  for (const file of images) photos.push({ blob: file, url: URL.createObjectURL(file), name: file.name || "photo" });
  $("strip").hidden = photos.length < 2;
  $("strip").replaceChildren(...photos.map((photo) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: photo.name });
    button.append(Object.assign(document.createElement("img"), { src: photo.url, alt: photo.name }));
    button.onclick = () => show(photo);
    photo.button = button;
    return button;
  }));
  show(photos[0]);
}

function show(photo) {
  current = photo;
  result = null;
  for (const { button } of photos) button?.setAttribute("aria-current", button === photo.button);
  $("after").removeAttribute("src");
  $("before").src = photo.url;
  $("before").onerror = () => $("before").removeAttribute("src"); // a format browsers lack
  reveal();
  make();
}

function reveal() {
  $("empty").hidden = true;
  $("view").hidden = false;
}

// --- pictures ------------------------------------------------------------------------

let timer = 0;
function soon() {
  clearTimeout(timer);
  timer = setTimeout(make, 120);
}

async function make() {
  if (!current || stopCamera) return;
  request?.abort();
  const own = (request = new AbortController());
  const photo = current, asked = wish(), begun = performance.now();
  busy(asked.style === "none" ? "Enlarging…" : "Painting…");
  fail("");
  try {
    const blob = await engine.picture(photo.blob, { ...asked, format: "png" }, own.signal);
    if (own.signal.aborted) return;
    await put($("after"), blob);
    result = { blob, wish: asked, name: photo.name };
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    $("told").textContent = `${$("after").naturalWidth} × ${$("after").naturalHeight} px, ${seconds} s`;
  } catch (error) {
    if (own.signal.aborted) return;
    result = null;
    $("told").textContent = "";
    fail(error.message);
  }
  busy("");
  $("save").disabled = !result;
  document.body.dataset.done = (+document.body.dataset.done || 0) + 1;
}

async function put(image, blob) {
  const old = image.src;
  image.src = URL.createObjectURL(blob);
  await image.decode();
  if (old.startsWith("blob:") && !photos.some(({ url }) => url === old)) URL.revokeObjectURL(old);
}

async function save() {
  if (!result) return;
  const format = $("format").value;
  const { wish, name } = result; // another photo may come while this one is written
  let { blob } = result;
  if (format !== "png" && !stopCamera) {
    busy("Writing…");
    try {
      blob = await engine.picture(current.blob, { ...wish, format });
    } catch (error) {
      fail(error.message);
      return;
    } finally {
      busy("");
    }
  }
  const extension = blob.type === "image/jpeg" ? "jpg" : blob.type.split("/")[1];
  const stem = name.replace(/\.[^.]*$/, "");
  const what = wish.style === "none" ? "enlarged" : "stylized";
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: url, download: `${stem}-${what}.${extension}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function busy(words) {
  $("busy").hidden = !words;
  $("doing").textContent = words;
}

function fail(sentence) {
  $("error").hidden = !sentence;
  $("error").textContent = sentence;
}

// --- camera --------------------------------------------------------------------------

async function camera() {
  if (stopCamera) {
    stopCamera();
    return;
  }
  const video = $("video");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, facingMode: "user" } });
  } catch (error) {
    fail(navigator.mediaDevices ? `The camera cannot be used: ${error.message}.` : "Browsers give the camera to pages on this computer or over HTTPS alone.");
    return;
  }
  request?.abort();
  video.srcObject = stream;
  await video.play();
  let on = true;
  stopCamera = () => {
    on = false;
    stopCamera = null;
    for (const track of stream.getTracks()) track.stop();
    for (const button of document.querySelectorAll(".camera")) button.textContent = "Use the camera";
    busy("");
  };
  for (const button of document.querySelectorAll(".camera")) button.textContent = "Stop the camera";
  fail("");
  $("strip").hidden = true;
  reveal();
  const canvas = document.createElement("canvas");
  let begun = performance.now(), frames = 0;
  while (on) {
    // Small enough to be live; the picture is shown as large as the page has room.
    const scale = Math.min(1, 320 / Math.max(video.videoWidth, video.videoHeight));
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    const frame = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
    const asked = { ...wish(), size: 320, enlarge: 1 };
    try {
      const blob = await engine.picture(frame, { ...asked, format: "png" });
      if (!on) break;
      await Promise.all([put($("before"), frame), put($("after"), blob)]);
      current = { blob: frame, url: $("before").src, name: "camera" };
      result = { blob, wish: asked, name: "camera" };
      $("save").disabled = false;
      fail("");
    } catch (error) {
      fail(error.message);
      await new Promise((done) => setTimeout(done, 1000));
    }
    frames += 1;
    const seconds = (performance.now() - begun) / 1000;
    $("told").textContent = `${(frames / seconds).toFixed(1)} pictures a second`;
    if (seconds > 3) [begun, frames] = [performance.now(), 0];
    document.body.dataset.frames = (+document.body.dataset.frames || 0) + 1;
  }
}

// --- start ---------------------------------------------------------------------------

function listen() {
  $("file").onchange = (event) => {
    take(event.target.files);
    event.target.value = "";
  };
  addEventListener("paste", (event) => take(event.clipboardData.files));
  const stage = $("stage");
  for (const kind of ["dragenter", "dragover"]) {
    addEventListener(kind, (event) => {
      event.preventDefault();
      stage.classList.add("over");
    });
  }
  addEventListener("dragleave", (event) => event.relatedTarget ?? stage.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    take(event.dataTransfer.files);
  });
  $("controls").addEventListener("input", showValues);
  $("controls").addEventListener("change", soon);
  $("split").addEventListener("input", (event) => $("compare").style.setProperty("--at", `${event.target.value}%`));
  for (const button of document.querySelectorAll(".camera")) button.onclick = camera;
  $("save").onclick = save;
}

async function start() {
  listen();
  showValues();
  $("where").textContent = engine.where;
  const state = $("state");
  state.className = "wait";
  try {
    bounds = await engine.about();
  } catch (error) {
    state.className = "";
    fail(error.message);
    return;
  }
  addStyles(bounds.styles, bounds.default);
  $("format").append(...bounds.formats.map((name) => new Option(name.toUpperCase(), name)));
  $("enlarging").hidden = !bounds.enlarge.length;
  for (const option of [...$("size").options]) if (option.value > bounds.max_size) option.remove();
  document.body.dataset.styles = bounds.styles.length;
  while (!bounds.warm) {
    state.textContent = "Warming up: the first picture takes a few seconds more";
    await new Promise((done) => setTimeout(done, 700));
    try {
      bounds = await engine.about();
    } catch (error) {
      state.className = state.textContent = "";
      fail(error.message);
      return;
    }
  }
  state.className = "";
  state.textContent = [`${bounds.styles.length} styles`, bounds.device].filter(Boolean).join(" · ");
}

start();
