// TensorFlow.js's side.

import { ADAM, LORA, NORM_EPSILON, RATES, SHAPE, batch, countCalls, measure, parameters, settings, tunes } from "./model.js";

const tf = globalThis.tf;
const asked = await settings();
countCalls();
window.result = await run().catch((error) => ({ error: String(error) }));

async function run() {
  const { layers, width, heads, rows, length } = SHAPE;
  const { method, device } = asked;
  if (device === "wasm") {
    tf.wasm.setWasmPaths("/node_modules/@tensorflow/tfjs-backend-wasm/wasm-out/");
    tf.wasm.setThreadsCount(2);
  }
  if (!(await tf.setBackend(device))) throw new Error(`TensorFlow.js has no backend ${device}`);
  await tf.ready();
  const all = {};
  const tuned = [];
  let trainable_parameters = 0;
  for (const [name, { shape, data }] of Object.entries(parameters(method, asked.initial))) {
    const tensor = tf.tensor(data, shape);
    all[name] = tunes(method, name) ? tf.variable(tensor, true, name) : tensor;
    if (!tunes(method, name)) continue;
    tuned.push(all[name]);
    if (!name.startsWith("head.")) trainable_parameters += data.length;
  }
  const { ids, labels } = batch();
  const tokens = tf.tensor1d(ids, "int32");
  const right = tf.cast(tf.oneHot(tf.tensor1d(labels, "int32"), 2), "float32");

  const norm = (x, name) => {
    const centred = tf.sub(x, tf.mean(x, -1, true));
    const variance = tf.mean(tf.square(centred), -1, true);
    const normal = tf.mul(centred, tf.rsqrt(tf.add(variance, NORM_EPSILON)));
    return tf.add(tf.mul(normal, all[`${name}.g`]), all[`${name}.b`]);
  };
  const linear = (x, name) => {
    const y = tf.add(tf.matMul(x, all[`${name}.w`]), all[`${name}.b`]);
    if (!all[`${name}.A`]) return y;
    return tf.add(y, tf.mul(tf.matMul(tf.matMul(x, all[`${name}.A`]), all[`${name}.B`]), LORA.scale));
  };
  const gelu = (x) => {
    const inner = tf.mul(tf.mul(x, tf.add(tf.mul(tf.mul(x, x), 0.044715), 1)), Math.sqrt(2 / Math.PI));
    return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
  };
  const split = (x) => tf.transpose(tf.reshape(x, [rows, length, heads, width / heads]), [0, 2, 1, 3]);
  const encode = () => {
    let x = tf.add(tf.reshape(tf.gather(all.words, tokens), [rows, length, width]), all.positions);
    x = norm(tf.reshape(x, [rows * length, width]), "norm");
    for (let i = 0; i < layers; i++) {
      const [q, k, v] = ["q", "k", "v"].map((part) => split(linear(x, `${i}.${part}`)));
      const weights = tf.softmax(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(width / heads)));
      const states = tf.reshape(tf.transpose(tf.matMul(weights, v), [0, 2, 1, 3]), [rows * length, width]);
      x = norm(tf.add(x, linear(states, `${i}.o`)), `${i}.norm1`);
      x = norm(tf.add(x, linear(gelu(linear(x, `${i}.f1`)), `${i}.f2`)), `${i}.norm2`);
    }
    return tf.mean(tf.reshape(x, [rows, length, width]), 1);
  };
  const loss = () => {
    const logits = tf.add(tf.matMul(encode(), all["head.w"]), all["head.b"]);
    return tf.neg(tf.mean(tf.sum(tf.mul(right, tf.logSoftmax(logits)), -1)));
  };
  const optimizer = tuned.length ? tf.train.adam(RATES[method], ADAM.beta1, ADAM.beta2, ADAM.epsilon) : null;
  const step = async () => {
    const value = tf.tidy(() => {
      if (!optimizer) return loss();
      const { value, grads } = tf.variableGrads(loss, tuned);
      optimizer.applyGradients(grads);
      return value;
    });
    const [number] = await value.data();
    value.dispose();
    return number;
  };
  return { ...(await measure(step, asked)), trainable_parameters };
}
