// The networks in onnxruntime-web, and what becomes of their logits: the twin of thorax.inference.

import { ImageError } from "./errors.js";

let sessions = null; // a promise of one session for each member

/** Open the networks of a model, once. `runtime` and the graphs are files of this site. */
export function openNetworks(model) {
  sessions ??= open(model).catch((error) => {
    sessions = null; // so that trying again may help
    throw new ImageError(`the model could not be loaded (${error.message}); see whether the site can be reached`, {
      again: true,
    });
  });
  return sessions;
}

async function open({ members, runtime, preparation: { size } }) {
  const graphs = members.map(({ graph }) => graphAt(graph)); // while the runtime is compiled
  Promise.all(graphs).catch(() => {}); // those that fail are awaited below
  const ort = await runtimeAt(runtime);
  const opened = [];
  for (const graph of graphs) {
    const session = await ort.InferenceSession.create(await graph, { executionProviders: ["wasm"] });
    opened.push({ session, Tensor: ort.Tensor });
  }
  await run(opened[0], new Uint8Array(size * size), size); // the first run is slow, since it compiles what it needs
  return opened;
}

const run = ({ session, Tensor }, pixels, size) =>
  session.run({ pixels: new Tensor("uint8", pixels, [1, size, size]) });

async function runtimeAt({ script, wasm }) {
  const ort = await import(new URL(script, document.baseURI));
  ort.env.wasm.numThreads = 1; // more need headers that static hosts do not send, and workers
  ort.env.wasm.proxy = false;
  ort.env.wasm.wasmPaths = { wasm: new URL(wasm, document.baseURI).href };
  return ort;
}

async function graphAt(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address} answered with status ${response.status}`);
  return fromPlanes(new Uint8Array(await response.arrayBuffer()));
}

/** Undo `byte_planes` of the export, which makes graphs smaller on the way. */
function fromPlanes(planes) {
  const quarter = Math.floor(planes.length / 4);
  const words = new Uint32Array(Math.ceil(planes.length / 4));
  const [first, second, third, fourth] = [0, 1, 2, 3].map((at) => planes.subarray(at * quarter, (at + 1) * quarter));
  for (let at = 0; at < quarter; at += 1) {
    words[at] = first[at] | (second[at] << 8) | (third[at] << 16) | (fourth[at] << 24);
  }
  const content = new Uint8Array(words.buffer, 0, planes.length); // machines with browsers store the low byte first
  content.set(planes.subarray(4 * quarter), 4 * quarter);
  return content;
}

/**
 * Return what the networks compute of a prepared image: `probabilities` in the order of the model's findings, and
 * `cams`, the class activation map of each member as `{values, shape}`, or null for one without.
 */
export async function compute(model, pixels) {
  const opened = await openNetworks(model);
  const { size } = model.preparation;
  const [logits, cams] = [[], []];
  for (const [at, one] of opened.entries()) {
    const result = await run(one, pixels, size);
    logits.push(memberLogits(model, model.members[at], result.logits));
    cams.push(result.cam ? { values: result.cam.data, shape: result.cam.dims.slice(1) } : null);
  }
  return { probabilities: calibrated(model, pooled(model, logits)), cams };
}

/** Return a member's mean over its views, in the order of the model's findings. */
function memberLogits(model, member, { data, dims: [views, , count] }) {
  if (count !== member.findings.length || !data.every(Number.isFinite)) {
    throw new ImageError("a network of this model gives logits that are not finite numbers; do not use this model");
  }
  const rows = Array.from({ length: views }, (_, view) => data.subarray(view * count, (view + 1) * count));
  const means = member.findings.map((_, at) => meanLogit(rows.map((row) => row[at]), member.mean_of));
  return model.findings.map((name) => means[member.findings.indexOf(name)]);
}

const pooled = ({ findings, mean_of: meanOf, members }, logits) =>
  findings.map((_, at) => meanLogit(logits.map((row) => row[at]), meanOf, members.map(({ weight }) => weight)));

/** Return the weighted mean of logits, or the logit of the weighted mean of their probabilities. */
function meanLogit(logits, meanOf, weights = logits.map(() => 1 / logits.length)) {
  if (logits.length === 1) return logits[0];
  if (meanOf === "logits") return logits.reduce((sum, logit, at) => sum + weights[at] * logit, 0);
  const used = logits.map((logit, at) => [logit, weights[at]]).filter(([, weight]) => weight > 0);
  const logShare = (sign) => logSum(used.map(([logit, weight]) => Math.log(weight) - logSum([0, sign * logit])));
  return logShare(-1) - logShare(1);
}

/** Return the logarithm of the sum of exponentials. */
function logSum(values) {
  const most = Math.max(...values);
  return most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

function calibrated({ calibration }, logits) {
  return logits.map((logit, at) => {
    if (calibration === null) return sigmoid(logit);
    if (calibration.kind === "temperature") return sigmoid(logit / calibration.temperature);
    return sigmoid(logit * calibration.slopes[at] + calibration.intercepts[at]);
  });
}

function sigmoid(logit) {
  const small = Math.exp(-Math.abs(logit));
  return (logit >= 0 ? 1 : small) / (1 + small);
}
