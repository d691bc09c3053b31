// The method and its options.

import { MODULES, type Method, type MethodName, type Module, type Pool, type Select, type Selector } from "../../spec";
import { METHODS } from "../../generated/methods";
import { InitialiseFrom } from "./initialise-from";
import { change, chooseMethod, spec } from "../choices";
import { Check, CountField, Field, NumberField, SelectField } from "./fields";
import { plan } from "../run/state";

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
  const info = METHODS.find((info) => info.name === method.name);
  return (
    <section class="group" aria-labelledby="method-title">
      <h2 id="method-title">Trained parameters</h2>
      <SelectField
        label="Method"
        value={method.name}
        options={METHODS.map(({ name, title }) => ({ value: name, title }))}
        onChange={(name) => chooseMethod(name as MethodName)}
      />
      <p class="hint">{info?.description} The classifier on top is always trained, and counted separately.</p>
      {method.name === "apet" ? (
        <ApetFields method={method} />
      ) : (
        <div class="pair">
          {info?.fields.map((field) => (
            <MethodField key={`${method.name}.${field.name}`} field={field} />
          ))}
        </div>
      )}
      <InitialiseFrom />
    </section>
  );
}

type Apet = Extract<Method, { name: "apet" }>;
type FieldInfo = (typeof METHODS)[number]["fields"][number];

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

/** One field of a method; pools are edited for APET only. */
function MethodField({ field }: { field: FieldInfo }) {
  const { name, title, values } = field;
  const value = (spec.value.method as Record<string, unknown>)[name];
  const set = (value: unknown) => change((s) => void (s.method = { ...s.method, [name]: value } as Method));
  if (values === "count" || values === "number") {
    const real = values === "number";
    return <NumberField label={title} value={Number(value)} min={real ? 0 : 1} real={real} onChange={set} />;
  }
  if (values !== "names") return null;
  const id = `method-${name}`;
  const words = (text: string) => text.split(/[\s,]+/).filter(Boolean);
  return (
    <Field label={title} for={id} hint={field.description}>
      <input
        id={id}
        type="text"
        autocomplete="off"
        spellcheck={false}
        defaultValue={(value as string[]).join(", ")}
        onChange={(e) => set(words(e.currentTarget.value))}
      />
    </Field>
  );
}
