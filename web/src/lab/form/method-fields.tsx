// The method and its options.

import { MODULES, type Method, type MethodName, type Module, type Pool, type Select, type Selector } from "../../spec";
import { METHODS } from "../../format";
import { InitialiseFrom } from "./initialise-from";
import { change, chooseMethod, spec } from "../choices";
import { Check, CountField, Field, NumberField, SelectField } from "./fields";
import { plan } from "../run/state";

const NAMES = Object.keys(METHODS) as MethodName[];
const MODULE_TITLES: Record<Module, string> = {
  attention: "Attention",
  ffn: "Feed-forward",
  norm: "LayerNorm",
  bias: "Biases",
  embedding: "Embeddings",
  pooler: "Pooler",
};

/** The selectors of a tab; a mask needs a file of the native store. */
const SELECTORS: Record<Exclude<Selector, "mask">, string> = {
  element: "Random single weights",
  rows: "Random rows",
  columns: "Random columns",
  diagonal: "Diagonals",
  magnitude: "Largest weights",
  gradient: "Largest gradients",
  snip: "Largest gradient × weight (SNIP)",
  unit: "Random units",
  lora_scalar: "Scalars inside LoRA",
};

/** The fields of the method. */
export function MethodFields() {
  const { method } = spec.value;
  return (
    <section class="group" aria-labelledby="method-title">
      <h2 id="method-title">Trained parameters</h2>
      <SelectField
        label="Method"
        value={method.name}
        options={NAMES.map((value) => ({ value, title: METHODS[value].title }))}
        onChange={(name) => chooseMethod(name as MethodName)}
      />
      <p class="hint">{METHODS[method.name].says} The classifier on top is always trained, and counted separately.</p>
      {method.name === "apet" && <ApetFields method={method} />}
      {method.name === "lora" && <LoraFields method={method} />}
      {method.name === "prompt" && (
        <NumberField
          label="Virtual tokens"
          value={method.tokens}
          min={1}
          onChange={(tokens) => edit<Prompt>({ tokens })}
        />
      )}
      {method.name === "adapter" && (
        <NumberField
          label="Bottleneck size"
          value={method.bottleneck}
          min={1}
          onChange={(bottleneck) => edit<AdapterMethod>({ bottleneck })}
        />
      )}
      <InitialiseFrom />
    </section>
  );
}

type Apet = Extract<Method, { name: "apet" }>;
type Lora = Extract<Method, { name: "lora" }>;
type Prompt = Extract<Method, { name: "prompt" }>;
type AdapterMethod = Extract<Method, { name: "adapter" }>;

const edit = <M extends Method>(changes: Partial<M>) =>
  change((s) => void (s.method = { ...s.method, ...changes } as Method));

function ApetFields({ method }: { method: Apet }) {
  const { count, pool } = method;
  return (
    <>
      <CountField label="Number of parameters" value={count} onChange={(n) => edit<Apet>({ count: n })} />
      <SelectField
        label="Selection"
        value={method.select?.by ?? "element"}
        options={Object.entries(SELECTORS).map(([value, title]) => ({ value, title }))}
        onChange={(by) => edit<Apet>({ select: { by } as Select })}
      />
      <fieldset class="choice">
        <legend>Chosen among</legend>
        <div class="checks">
          {MODULES.map((m) => (
            <Check
              key={m}
              label={MODULE_TITLES[m]}
              checked={pool.modules.includes(m)}
              onChange={(on) =>
                edit<Apet>({
                  pool: { ...pool, modules: MODULES.filter((x) => (x === m ? on : pool.modules.includes(x))) },
                })
              }
            />
          ))}
        </div>
      </fieldset>
      <LayerFields pool={pool} />
    </>
  );
}

function LayerFields({ pool }: { pool: Pool }) {
  const last = (plan.value?.model.layers ?? 1) - 1;
  const set = (layers: Pool["layers"]) => {
    const { layers: _, ...rest } = pool;
    edit<Apet>({ pool: layers ? { ...rest, layers } : rest });
  };
  const { layers } = pool;
  return (
    <>
      <Check
        label="Only some layers"
        checked={layers !== undefined}
        onChange={(on) => set(on ? { first: 0, last } : undefined)}
      />
      {layers && (
        <div class="pair">
          <NumberField
            label="First layer"
            hint="starting at 0"
            value={layers.first}
            min={0}
            onChange={(first) => set({ ...layers, first })}
          />
          <NumberField label="Last layer" value={layers.last} min={0} onChange={(n) => set({ ...layers, last: n })} />
        </div>
      )}
    </>
  );
}

function LoraFields({ method }: { method: Lora }) {
  const words = (text: string) => text.split(/[\s,]+/).filter(Boolean);
  return (
    <>
      <div class="pair">
        <NumberField label="Rank" value={method.rank} min={1} onChange={(rank) => edit<Lora>({ rank })} />
        <NumberField label="Alpha" value={method.alpha} min={0} real onChange={(alpha) => edit<Lora>({ alpha })} />
      </div>
      <Field
        label="Linear layers"
        for="lora-targets"
        hint="The last parts of their names, such as query, key, value, dense."
      >
        <input
          id="lora-targets"
          type="text"
          autocomplete="off"
          spellcheck={false}
          defaultValue={method.targets.join(", ")}
          onChange={(e) => edit<Lora>({ targets: words(e.currentTarget.value) })}
        />
      </Field>
    </>
  );
}
