// The network, by onnxruntime-web: on WebGPU where the browser has it, else in WASM.

let ort, session;

async function start() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (adapter) {
    try {
      await load("ort.webgpu.min.mjs", "webgpu");
      return "WebGPU";
    } catch (error) {
      console.warn(`WebGPU cannot be used (${error.message}); WASM it is.`);
    }
  }
  await load("ort.wasm.min.mjs", "wasm");
  return `WASM, threads: ${ort.env.wasm.numThreads}`;
}

async function load(file, provider) {
  ort = await import(`./ort/${file}`);
  ort.env.wasm.wasmPaths = new URL("ort/", import.meta.url).href;
  // More than one needs a page that is served with COOP and COEP.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  const answer = await fetch("gallery.onnx");
  if (!answer.ok) throw new Error("gallery.onnx is missing beside this page");
  const model = new Uint8Array(await answer.arrayBuffer());
  session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
  // A first picture compiles; and shows whether it works.
  const { styles } = await (await fetch("about.json")).json();
  const weights = new Float32Array(styles.length);
  weights[0] = 1;
  await run(new Float32Array(64 * 64 * 3), 64, 64, weights);
}

async function run(pixels, h, w, weights) {
  const { outputs } = await session.run({
    images: new ort.Tensor("float32", pixels, [1, h, w, 3]),
    styles: new ort.Tensor("float32", weights, [weights.length]),
  });
  return outputs.data;
}

const started = start().then(
  (ready) => self.postMessage({ ready }),
  (error) => self.postMessage({ error: `The network could not be started: ${error.message}.` }),
);
let last = started; // one at a time

self.onmessage = ({ data: { id, pixels, h, w, weights } }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id, output: await run(pixels, h, w, weights) });
    } catch (error) {
      self.postMessage({ id, error: `This did not work at this size: ${error.message}.` });
    }
  });
};
