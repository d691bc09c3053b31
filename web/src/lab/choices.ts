// What the form holds: a spec and a device. Fields left out take Rust's defaults.

import { computed, effect, signal } from "@preact/signals";
import { catalogue } from "../storage/catalogue";
import { METHODS } from "../format";
import { inAddress } from "../route";
import type { Method, MethodName, Pool, Spec } from "../spec";
import type { DeviceName } from "../wasm/protocol";
import { busy, webgpu } from "./run/state";

/** Where APET's parameters are drawn from where nothing is said. */
export const POOL: Pool["modules"] = ["attention", "ffn", "norm", "bias"];

/** What the page begins with: small enough to be watched. */
export const spec = signal<Spec>({
  model: "",
  task: { name: "", max_length: 64 },
  method: { name: "apet", count: 1000, pool: { modules: POOL } },
  train: { steps: 200, batch_size: 16, eval_every: 20 },
  optimizer: { learning_rate: 1e-3 },
  seeds: { placement: 1, batches: 1, init: 1 },
});

export const device = signal<DeviceName | undefined>(undefined);

/** Fields whose text is no number yet, with what they expect. */
export const invalid = signal<ReadonlyMap<string, string>>(new Map());

export const ready = computed(
  () =>
    spec.value.model !== "" && spec.value.task.name !== "" && device.value !== undefined && invalid.value.size === 0,
);

/** Models that are downloaded whatever their size: the user asked for them. */
export const asked = new Set<string>();

/** Changes a copy of the spec. */
export function change(edit: (spec: Spec) => void): void {
  const next = structuredClone(spec.value);
  edit(next);
  spec.value = next;
}

/** What each method begins with; what was chosen for another method comes back with it. */
const methods: Record<MethodName, Method> = {
  apet: spec.value.method,
  lora: { name: "lora", rank: 8, alpha: 16, targets: ["query", "value"] },
  prompt: { name: "prompt", tokens: 20 },
  adapter: { name: "adapter", bottleneck: 24 },
  ia3: { name: "ia3" },
  layer_norm: { name: "layer_norm" },
  bitfit: { name: "bitfit" },
  head: { name: "head" },
  full: { name: "full" },
};

/** Full tuning wants small steps; everything else here the paper's. */
const rates: Record<MethodName, number> = {
  apet: 1e-3,
  lora: 1e-3,
  prompt: 1e-2,
  adapter: 1e-3,
  ia3: 1e-2,
  layer_norm: 1e-3,
  bitfit: 1e-3,
  head: 1e-3,
  full: 5e-5,
};

export function chooseMethod(name: MethodName): void {
  change((s) => {
    methods[s.method.name] = s.method;
    if (s.optimizer.learning_rate === rates[s.method.name]) s.optimizer.learning_rate = rates[name];
    s.method = methods[name];
  });
}

/** The form as a link has it: nothing where it is as the page begins. */
const linked = inAddress("lab", "spec", "");
let plain = "";

/** A spec that a link brought, as far as the form can show it; what of it can not be run, Rust says. */
function fromLink(text: string): Spec | undefined {
  try {
    const { model, task, method, train, optimizer, seeds } = JSON.parse(text) as Partial<Spec>;
    const whole = (of: object | undefined, names: string[]) =>
      names.every((n) => Number.isFinite((of as Record<string, unknown> | undefined)?.[n]));
    if (typeof model !== "string" || typeof task?.name !== "string" || !method || !(method.name in METHODS)) return undefined;
    if (!whole(train, ["steps", "batch_size", "eval_every"]) || !whole(seeds, ["placement", "batches", "init"])) return undefined;
    if (!whole(optimizer, ["learning_rate"])) return undefined;
    const filled = wholeMethod(method);
    return filled && { ...(JSON.parse(text) as Spec), method: filled };
  } catch {
    return undefined;
  }
}

/** What a link leaves out of a method is as the form begins it. */
function wholeMethod(given: Method): Method | undefined {
  const plain = methods[given.name];
  const whole = { ...plain, ...given } as Method;
  if (whole.name === "apet") {
    whole.pool = Object.assign({ modules: POOL }, whole.pool);
    if (!Array.isArray(whole.pool.modules)) return undefined;
  }
  if (whole.name === "lora" && !Array.isArray(whole.targets)) return undefined;
  return whole;
}

effect(() => {
  const found = linked.value === "" ? undefined : fromLink(linked.value);
  if (!found || JSON.stringify(found) === JSON.stringify(spec.peek())) return;
  // While a run is on the screen the form is its own.
  if (!busy.peek()) spec.value = found;
});
// The address says what the form is, also where it came without.
effect(() => {
  void linked.value;
  const text = JSON.stringify(spec.value);
  if (spec.value.model !== "" && plain !== "") linked.value = text === plain ? "" : text;
});

/** Sets the form to a spec from a record. */
export function adopt(text: string): Spec {
  invalid.value = new Map();
  spec.value = JSON.parse(text) as Spec;
  return spec.value;
}

// The host's default model and task, the device that suits the adapter: until something is chosen.
effect(() => {
  const c = catalogue.value;
  if (c === null || typeof c === "string") return;
  // A link chose.
  if (spec.peek().model !== "") {
    plain ||= " ";
    return;
  }
  const first = (wanted: string | null | undefined, names: string[]) =>
    wanted && names.includes(wanted) ? wanted : (names[0] ?? "");
  change((s) => {
    s.model = first(
      c.default?.model,
      c.models.map((m) => m.name),
    );
    s.task.name = first(
      c.default?.task,
      c.tasks.map((t) => t.name),
    );
  });
  plain = JSON.stringify(spec.peek());
});
effect(() => {
  const found = webgpu.value;
  if (found && device.peek() === undefined) device.value = found.available && !found.software ? "webgpu" : "cpu";
});
