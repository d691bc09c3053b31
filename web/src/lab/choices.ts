// The state of the form: a spec and a device. Absent fields have Rust's defaults.

import { computed, effect, signal } from "@preact/signals";
import { catalogue } from "../storage/catalogue";
import { METHODS } from "../generated/methods";
import { inAddress } from "../route";
import type { Method, MethodName, Pool, Spec } from "../spec";
import type { DeviceName } from "../wasm/protocol";
import { busy, webgpu } from "./run/state";

/** The default candidates of APET's parameters. */
export const POOL: Pool["modules"] = ["attention", "ffn", "norm", "bias"];

/** The initial spec: small enough to watch. */
export const spec = signal<Spec>({
  model: "",
  task: { name: "", max_length: 64 },
  method: { name: "apet", count: 1000, pool: { modules: POOL } },
  train: { steps: 200, batch_size: 16, eval_every: 20 },
  optimizer: { learning_rate: 1e-3 },
  seeds: { placement: 1, batches: 1, init: 1 },
});

/** The device of this tab. */
export const device = signal<DeviceName | undefined>(undefined);

/** Fields with invalid text, with the error message of each. */
export const invalid = signal<ReadonlyMap<string, string>>(new Map());

/** Whether the form can be trained. */
export const ready = computed(
  () =>
    spec.value.model !== "" && spec.value.task.name !== "" && device.value !== undefined && invalid.value.size === 0,
);

/** Models that the user requested: they are downloaded whatever their size. */
export const requested = new Set<string>();

/** Replaces the spec by an edited copy. */
export function change(edit: (spec: Spec) => void): void {
  const next = structuredClone(spec.value);
  edit(next);
  spec.value = next;
}

/** The initial options of each method; edited options are kept when the method changes. */
const methods: Record<string, Method> = Object.fromEntries(
  METHODS.map(({ name, fields }) => {
    const options = fields.map((field) => [field.name, field.default] as const);
    return [name, { name, ...Object.fromEntries(options) } as Method];
  }),
);
methods["apet"] = spec.value.method;
// Fewer than the paper's 100, which would make a sequence of the page's tasks several times as long.
methods["prompt"] = { name: "prompt", tokens: 20 };

const defaultRate = (name: string) => METHODS.find((method) => method.name === name)?.learning_rate;

/** Sets the method, and its default learning rate unless the rate was edited. */
export function chooseMethod(name: MethodName): void {
  change((s) => {
    methods[s.method.name] = s.method;
    if (s.optimizer.learning_rate === defaultRate(s.method.name)) {
      s.optimizer.learning_rate = defaultRate(name) ?? s.optimizer.learning_rate;
    }
    s.method = methods[name] ?? s.method;
  });
}

/** The form in the page's address; empty if it is in its initial state. */
const linked = inAddress("lab", "spec", "");
let initial = "";

/** The spec of a link, if the form can show it; Rust reports what cannot be run. */
function fromLink(text: string): Spec | undefined {
  try {
    const { model, task, method, train, optimizer, seeds } = JSON.parse(text) as Partial<Spec>;
    const whole = (of: object | undefined, names: string[]) =>
      names.every((n) => Number.isFinite((of as Record<string, unknown> | undefined)?.[n]));
    if (typeof model !== "string" || typeof task?.name !== "string" || !method || !(method.name in methods)) return undefined;
    if (!whole(train, ["steps", "batch_size", "eval_every"]) || !whole(seeds, ["placement", "batches", "init"])) return undefined;
    if (!whole(optimizer, ["learning_rate"])) return undefined;
    const filled = wholeMethod(method);
    return filled && { ...(JSON.parse(text) as Spec), method: filled };
  } catch {
    return undefined;
  }
}

/** Fills absent options of a link's method with the form's initial ones. */
function wholeMethod(given: Method): Method | undefined {
  const whole = { ...methods[given.name], ...given } as Method;
  if (whole.name === "apet") {
    whole.pool = Object.assign({ modules: POOL }, whole.pool);
    if (!Array.isArray(whole.pool.modules)) return undefined;
  }
  const lists = METHODS.find((method) => method.name === whole.name)?.fields.filter((field) => field.values === "names");
  if (lists?.some((field) => !Array.isArray((whole as Record<string, unknown>)[field.name]))) return undefined;
  return whole;
}

effect(() => {
  const found = linked.value === "" ? undefined : fromLink(linked.value);
  if (!found || JSON.stringify(found) === JSON.stringify(spec.peek())) return;
  // During a run, the form belongs to the run.
  if (!busy.peek()) spec.value = found;
});
// The address follows the form, even if it came without a spec.
effect(() => {
  void linked.value;
  const text = JSON.stringify(spec.value);
  if (spec.value.model !== "" && initial !== "") linked.value = text === initial ? "" : text;
});

/** Fills the form with a spec from a record. */
export function adopt(text: string): Spec {
  invalid.value = new Map();
  spec.value = JSON.parse(text) as Spec;
  return spec.value;
}

// Until the user chooses: the host's default model and task, and the device that suits the adapter.
effect(() => {
  const c = catalogue.value;
  if (c === null || typeof c === "string") return;
  // The link has chosen.
  if (spec.peek().model !== "") {
    initial ||= " ";
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
  initial = JSON.stringify(spec.peek());
});
effect(() => {
  const found = webgpu.value;
  if (found && device.peek() === undefined) device.value = found.available && !found.software ? "webgpu" : "cpu";
});
