// jax-js's side. Every use of a value takes a reference; a value that is used up is freed.

import { blockUntilReady, defaultDevice, init, jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import { ADAM, LORA, NORM_EPSILON, RATES, SHAPE, batch, countCalls, measure, parameters, settings, tunes } from "./model.js";

const asked = await settings();
countCalls();
window.result = await run().catch((error) => ({ error: String(error) }));

async function run() {
  const { layers, width, heads, rows, length } = SHAPE;
  const { method, device } = asked;
  if (!(await init()).includes(device)) throw new Error(`jax-js has no device ${device}`);
  defaultDevice(device);
  let tuned = {};
  const frozen = {};
  let trainable_parameters = 0;
  for (const [name, { shape, data }] of Object.entries(parameters(method, asked.initial))) {
    const array = np.array(data).reshape(shape);
    if (tunes(method, name)) {
      tuned[name] = array;
      if (!name.startsWith("head.")) trainable_parameters += data.length;
    } else frozen[name] = array;
  }
  const { ids, labels } = batch();
  frozen.ids = np.array(ids, { dtype: np.int32 });
  const right = Float32Array.from({ length: rows * 2 }, (_, i) => (labels[i >> 1] === (i & 1) ? 1 : 0));
  frozen.right = np.array(right).reshape([rows, 2]);
  await blockUntilReady(tuned);
  await blockUntilReady(frozen);

  const norm = (all, x, name) => {
    const centred = x.sub(np.mean(x.ref, -1, { keepdims: true }));
    const variance = np.mean(np.square(centred.ref), -1, { keepdims: true });
    return centred.div(np.sqrt(variance.add(NORM_EPSILON))).mul(all[`${name}.g`].ref).add(all[`${name}.b`].ref);
  };
  const linear = (all, x, name) => {
    const low = all[`${name}.A`] !== undefined;
    const y = np.matmul(low ? x.ref : x, all[`${name}.w`].ref).add(all[`${name}.b`].ref);
    return low ? y.add(np.matmul(np.matmul(x, all[`${name}.A`].ref), all[`${name}.B`].ref).mul(LORA.scale)) : y;
  };
  const split = (x) => x.reshape([rows, length, heads, width / heads]).transpose([0, 2, 1, 3]);
  const encode = (all) => {
    let x = all.words.ref.slice(all.ids.ref).reshape([rows, length, width]).add(all.positions.ref);
    x = norm(all, x.reshape([rows * length, width]), "norm");
    for (let i = 0; i < layers; i++) {
      const [q, k, v] = ["q", "k", "v"].map((part) => split(linear(all, x.ref, `${i}.${part}`)));
      const weights = nn.softmax(np.matmul(q, k.transpose([0, 1, 3, 2])).mul(1 / Math.sqrt(width / heads)), -1);
      const states = np.matmul(weights, v).transpose([0, 2, 1, 3]).reshape([rows * length, width]);
      x = norm(all, x.add(linear(all, states, `${i}.o`)), `${i}.norm1`);
      x = norm(all, x.ref.add(linear(all, nn.gelu(linear(all, x, `${i}.f1`)), `${i}.f2`)), `${i}.norm2`);
    }
    return np.mean(x.reshape([rows, length, width]), 1);
  };
  const loss = (tuned, frozen) => {
    const all = { ...frozen, ...tuned };
    const logits = np.matmul(encode(all), all["head.w"].ref).add(all["head.b"].ref);
    const value = nn.logSoftmax(logits, -1).mul(all.right.ref).sum().mul(-1 / rows);
    tree.dispose(all);
    return value;
  };
  const update = (values, gradients, first, second, c1, c2) => {
    const moved = [{}, {}, {}];
    for (const name of Object.keys(values)) {
      const m = first[name].mul(ADAM.beta1).add(gradients[name].ref.mul(1 - ADAM.beta1));
      const v = second[name].mul(ADAM.beta2).add(np.square(gradients[name]).mul(1 - ADAM.beta2));
      const root = np.sqrt(v.ref.mul(c2.ref)).add(ADAM.epsilon);
      moved[0][name] = values[name].sub(m.ref.mul(c1.ref).mul(RATES[method]).div(root));
      [moved[1][name], moved[2][name]] = [m, v];
    }
    c1.dispose();
    c2.dispose();
    return moved;
  };
  const train = (values, first, second, frozen, c1, c2) => {
    const [value, gradients] = valueAndGrad(loss)(tree.ref(values), frozen);
    return [value, ...update(values, gradients, first, second, c1, c2)];
  };
  const forward = (frozen) => loss({}, frozen);
  const [trainStep, forwardStep] = asked.jit ? [jit(train), jit(forward)] : [train, forward];
  const zeros = () => Object.fromEntries(Object.entries(tuned).map(([name, { shape }]) => [name, np.zeros(shape)]));
  let [first, second, number] = [zeros(), zeros(), 0];
  const step = async () => {
    let value;
    if (method === "forward") value = forwardStep(tree.ref(frozen));
    else {
      number++;
      const [c1, c2] = [ADAM.beta1, ADAM.beta2].map((beta) => np.array(1 / (1 - beta ** number)));
      [value, tuned, first, second] = trainStep(tuned, first, second, tree.ref(frozen), c1, c2);
    }
    return (await value.data())[0];
  };
  return { ...(await measure(step, asked)), trainable_parameters };
}
