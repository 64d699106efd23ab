// What makes the pictures: this browser, by onnxruntime-web, in a worker.

export const where = "Everything happens in this browser: photos never leave it.";

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const waiting = new Map(); // of requests to the worker
let number = 0, device = "", broken = "";

worker.onmessage = ({ data: { id, output, error, ready } }) => {
  if (ready !== undefined) device = ready;
  if (error && id === undefined) broken = error;
  const request = waiting.get(id);
  waiting.delete(id);
  if (request && error) request.reject(new Error(error));
  else request?.resolve(output);
};
worker.onerror = () => {
  broken = "The network could not be started in this browser.";
};

/** Styles and bounds, and whether the network is ready. */
export async function about() {
  if (broken) throw new Error(broken);
  const answer = await fetch("about.json");
  if (!answer.ok) throw new Error("about.json is missing beside this page.");
  return { ...(await answer.json()), warm: device !== "", device };
}

/** Where a style's painting is. */
export const thumbnail = (name) => `thumbnails/${encodeURIComponent(name)}.webp`;

/** Float32 [h w 3] in [0, 255], stylised; `weights` are those of all styles. */
export function stylized(pixels, h, w, weights) {
  const id = number++;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, pixels, h, w, weights });
  });
}

/** An encoded picture of the photo, a Blob, as `wish` has it; an Error has a sentence. */
export async function picture(photo, wish, signal) {
  const { styles, max_size } = await about();
  let bitmap;
  try {
    bitmap = await createImageBitmap(photo);
  } catch {
    throw new Error("This file is no image that this browser can read.");
  }
  const factor = Math.min(1, Math.min(wish.size, max_size) / Math.max(bitmap.width, bitmap.height));
  const w = Math.max(1, Math.round(bitmap.width * factor)), h = Math.max(1, Math.round(bitmap.height * factor));
  const canvas = drawn(bitmap, w, h);
  const before = pixelsOf(canvas);
  const scale = Number(wish.style_scale);
  const nw = Math.max(1, Math.round(w / scale)), nh = Math.max(1, Math.round(h / scale));
  if (Math.max(nw, nh) > max_size) throw new Error(`Strokes this fine take more than ${max_size} px; use a smaller size.`);
  const weights = weightsOf(wish.style, styles.map(({ name }) => name));
  const input = scale === 1 ? before : pixelsOf(drawn(canvas, nw, nh));
  let output = await stylized(withGrain(input, nh, nw), nh, nw, weights);
  signal?.throwIfAborted();
  if (scale !== 1) output = pixelsOf(drawn(paintedOn(output, nh, nw), w, h));
  mix(before, output, Number(wish.strength), Number(wish.preserve_color));
  const type = { jpg: "image/jpeg", webp: "image/webp" }[wish.format] ?? "image/png";
  return new Promise((done) => paintedOn(output, h, w).toBlob(done, type, 0.95));
}

/** "a:0.75,b:0.25" as the weights of all styles, which add up to 1. */
function weightsOf(style, names) {
  const weights = new Float32Array(names.length);
  for (const part of style.split(",")) {
    const [name, weight] = part.split(":");
    weights[names.indexOf(name)] = Number(weight ?? 1);
  }
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** As `inference.stylizer.mix`: the photo's colours, then a share of the photo. */
function mix(photo, output, strength, preserveColor) {
  for (let i = 0; i < output.length; i += 3) {
    if (preserveColor) {
      const shift = luma(output, i) - luma(photo, i);
      for (let c = i; c < i + 3; c++) output[c] = Math.min(255, Math.max(0, photo[c] + shift));
    }
    for (let c = i; c < i + 3; c++) output[c] = photo[c] + strength * (output[c] - photo[c]);
  }
}

const luma = (pixels, i) => 0.299 * pixels[i] + 0.587 * pixels[i + 1] + 0.114 * pixels[i + 2];

/** As `images/grain.py`: squares of one colour get grain, for the network to paint. */
export function withGrain(pixels, h, w) {
  const side = 8, level = Math.sqrt(12);
  const colour = (i) => pixels[3 * i] + 256 * pixels[3 * i + 1] + 65536 * pixels[3 * i + 2];
  const sides = new Uint8Array(h * w).fill(1); // of the square of one colour that begins there, up to 8
  for (let y = h - 2; y >= 0; y--) {
    for (let x = w - 2, i = y * w + x; x >= 0; x--, i--) {
      const own = colour(i);
      if (own !== colour(i + 1) || own !== colour(i + w) || own !== colour(i + w + 1)) continue;
      sides[i] = Math.min(side, 1 + Math.min(sides[i + 1], sides[i + w], sides[i + w + 1]));
    }
  }
  const grained = pixels.slice();
  const below = new Uint8Array(w); // rows that such a square goes on for, in each column
  for (let y = 0, i = 0; y < h; y++) {
    for (let x = 0, along = 0; x < w; x++, i++) {
      along = sides[i] === side ? side : Math.max(0, along - 1);
      below[x] = along ? side : Math.max(0, below[x] - 1);
      if (!below[x]) continue;
      let mixed = Math.imul(x, 374761393) + Math.imul(y, 668265263);
      mixed = Math.imul(mixed ^ (mixed >>> 13), 1274126177);
      mixed ^= mixed >>> 16;
      const grain = level * ((mixed >>> 8) / 2 ** 24 - 0.5);
      for (let c = 3 * i; c < 3 * i + 3; c++) grained[c] += grain;
    }
  }
  return grained;
}

/** A canvas of w x h with the picture on white. */
function drawn(picture, w, h) {
  const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, w, h);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, w, h);
  return canvas;
}

function pixelsOf(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const pixels = new Float32Array((data.length / 4) * 3);
  for (let i = 0, j = 0; i < data.length; i += 4, j += 3) {
    pixels[j] = data[i];
    pixels[j + 1] = data[i + 1];
    pixels[j + 2] = data[i + 2];
  }
  return pixels;
}

function paintedOn(pixels, h, w) {
  const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
  const image = new ImageData(w, h); // rounds and clips what is put in
  for (let i = 0, j = 0; i < image.data.length; i += 4, j += 3) {
    image.data[i] = pixels[j];
    image.data[i + 1] = pixels[j + 1];
    image.data[i + 2] = pixels[j + 2];
    image.data[i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
