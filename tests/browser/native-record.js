// @ts-check
// Records as a native run writes them (crates/apet-record), for import into the page.

/**
 * @param {object} [of]
 * @param {string} [of.run] 16 hexadecimal digits
 * @param {string} [of.method]
 * @param {number} [of.count]
 * @param {number} [of.seed]
 * @param {number} [of.test]
 * @param {string} [of.model]
 * @param {number} [of.parameters]
 * @param {number} [of.placement] the seed where absent
 * @param {number} [of.steps]
 * @param {number} [of.bytes] memory
 * @param {string} [of.note]
 * @param {boolean} [of.ended]
 */
export function nativeRecord({
  run = "00000000000000a1",
  method = "apet",
  count = 10_000,
  seed = 1,
  test = 0.74,
  model = "bert-tiny",
  parameters = 108_000,
  placement = seed,
  steps = 40,
  bytes = 0,
  note = "",
  ended = true,
} = {}) {
  const methods = {
    apet: { name: "apet", count, pool: { modules: ["attention", "ffn", "norm", "bias"] } },
    lora: { name: "lora", rank: 8, alpha: 16, targets: ["query", "value"] },
    bitfit: { name: "bitfit" },
    head: { name: "head" },
    full: { name: "full" },
  };
  const lines = [
    {
      kind: "header",
      record: "1.1",
      run,
      spec: {
        model,
        task: { name: "sentences", train_rows: 0, dev_rows: 0, test_rows: 0, max_length: 32 },
        method: methods[/** @type {keyof typeof methods} */ (method)],
        head: { pooling: "mean" },
        train: { steps, batch_size: 8, accumulation: 1, eval_every: 20, patience: 0, checkpoint_every: 0 },
        optimizer: {
          learning_rate: 0.001,
          beta1: 0.9,
          beta2: 0.999,
          epsilon: 1e-8,
          weight_decay: 0,
          clip_norm: 1,
          schedule: "linear",
        },
        seeds: { placement, batches: seed, init: seed },
      },
      model: {
        name: model,
        family: "bert",
        layers: 2,
        hidden: 64,
        parameters,
        parameters_without_embeddings: 71_000,
        weights_hash: "00",
      },
      theta: { method, requested_parameters: count, trainable_parameters: count, head: 130, weights: 30, candidate_parameters: 66_000, positions_hash: "00" },
      task: {
        name: "sentences",
        labels: ["0", "1"],
        train_rows: 2400,
        dev_rows: 300,
        test_rows: 300,
        uniform_guess: 0.5,
        majority_guess: 0.51,
        split_note: "",
        data_hash: "00",
      },
      device: { name: "cpu", adapter: "2 threads", host: "native" },
      software: { apet: "0.1.0", burn: "0.22.1", target: "x86_64-unknown-linux-gnu" },
      started: `2026-01-0${(seed % 9) + 1}T10:00:00Z`,
    },
    ...Array.from({ length: steps }, (_, i) => ({
      kind: "step",
      step: i + 1,
      loss: 0.7 * Math.exp(-i / 60),
      learning_rate: 0.001,
      grad_norm: 1,
      tokens: 160,
      ms: 20 * i,
    })),
    ...[steps / 2, steps].map((step) => ({
      kind: "eval",
      step,
      split: "dev",
      metric: "accuracy",
      score: test - 0.01 + step / steps / 100,
      loss: 0.5,
      rows: 300,
    })),
    ...(note ? [{ kind: "note", step: 0, text: note }] : []),
    ...(ended
      ? [
          { kind: "eval", step: steps, split: "test", metric: "accuracy", score: test, loss: 0.5, rows: 300 },
          { kind: "summary", status: "done", steps, best_step: steps, dev: test, test, seconds: 4.2, message: "", ...(bytes > 0 && { peak_bytes: bytes }) },
        ]
      : []),
  ];
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}
