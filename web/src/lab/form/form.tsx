// The form of the Lab: model and task, what is tuned, how it is trained, where.

import { useState } from "preact/hooks";
import type { Objective } from "../../spec";
import { megabytes } from "../../format";
import { offered } from "../../storage/own-models";
import { devicesThere } from "../../storage/catalogue";
import { change, device, spec } from "../choices";
import { Choice, NumberField, SelectField } from "./fields";
import { MethodFields } from "./method-fields";
import { ModelsDialog, chooseModel } from "./models-dialog";
import { TaskFields } from "./task-fields";
import { there } from "../run/there";
import { busy, unfit, webgpu } from "../run/state";

export function Form() {
  return (
    <form class="lab-form" aria-label="Run" onSubmit={(e) => e.preventDefault()}>
      <fieldset class="all" disabled={busy.value}>
        <section class="group" aria-labelledby="model-title">
          <h2 id="model-title">Model and task</h2>
          <ModelField />
          <TaskFields />
        </section>
        <MethodFields />
        <TrainFields />
        <DeviceField />
      </fieldset>
    </form>
  );
}

function ModelField() {
  const [more, setMore] = useState(false);
  const { model } = spec.value;
  const size = (bytes: number) => (bytes > 0 ? ` · ${megabytes(bytes)} MB` : "");
  const options = offered().map((m) => ({ value: m.name, title: `${m.name}${size(m.bytes)}` }));
  if (model && !options.some((o) => o.value === model)) options.unshift({ value: model, title: `${model} (not here)` });
  return (
    <>
      <SelectField label="Pretrained model" value={model} options={options} onChange={chooseModel} />
      <div class="drop">
        <button type="button" class="quiet" onClick={() => setMore(true)}>
          More models…
        </button>
      </div>
      <ModelsDialog open={more} close={() => setMore(false)} />
    </>
  );
}

function TrainFields() {
  const { train, optimizer, seeds, task, head, objective } = spec.value;
  return (
    <section class="group" aria-labelledby="train-title">
      <h2 id="train-title">Training</h2>
      <div class="pair">
        <NumberField
          label="Steps"
          value={train.steps}
          min={1}
          onChange={(n) => change((s) => void (s.train.steps = n))}
        />
        <NumberField
          label="Batch size"
          value={train.batch_size}
          min={1}
          onChange={(n) => change((s) => void (s.train.batch_size = n))}
        />
        <NumberField
          label="Learning rate"
          value={optimizer.learning_rate}
          min={0}
          real
          onChange={(x) => change((s) => void (s.optimizer.learning_rate = x))}
        />
        <NumberField
          label="Seed"
          value={seeds.init}
          min={0}
          max={Number.MAX_SAFE_INTEGER}
          onChange={(n) => change((s) => void (s.seeds = { placement: s.start ? s.seeds.placement : n, batches: n, init: n }))}
        />
      </div>
      <details>
        <summary>More</summary>
        <div class="pair">
          <NumberField
            label="Evaluate every"
            value={train.eval_every}
            min={1}
            hint="steps"
            onChange={(n) => change((s) => void (s.train.eval_every = n))}
          />
          <NumberField
            label="Training rows"
            value={task.train_rows ?? 0}
            min={0}
            hint="0 uses all"
            onChange={(n) => change((s) => void (s.task.train_rows = n))}
          />
          <NumberField
            label="Tokens at most"
            value={task.max_length ?? 128}
            min={3}
            hint="of one text"
            onChange={(n) => change((s) => void (s.task.max_length = n))}
          />
          <NumberField
            label="Patience"
            value={train.patience ?? 0}
            min={0}
            hint="evaluations; 0 is endless"
            onChange={(n) => change((s) => void (s.train.patience = n))}
          />
          <SelectField
            label="Schedule"
            value={optimizer.schedule ?? "linear"}
            options={[
              { value: "linear", title: "falls to 0" },
              { value: "constant", title: "constant" },
            ]}
            onChange={(v) => change((s) => void (s.optimizer.schedule = v as "linear" | "constant"))}
          />
          <SelectField
            label="Learns"
            value={objective ?? "class_head"}
            options={[
              { value: "class_head", title: "class, by a head" },
              { value: "label_words", title: "label's word" },
            ]}
            onChange={(v) => change((s) => void (s.objective = v as Objective))}
          />
          <SelectField
            label="Head reads"
            value={head?.pooling ?? "mean"}
            options={[
              { value: "mean", title: "mean state" },
              { value: "first", title: "first token" },
              { value: "pooler", title: "pooler" },
            ]}
            onChange={(v) => change((s) => void (s.head = { pooling: v as "mean" | "first" | "pooler" }))}
          />
        </div>
      </details>
    </section>
  );
}

function DeviceField() {
  const none = webgpu.value !== undefined && !webgpu.value.available;
  return (
    <section class="group" aria-labelledby="device-title">
      <h2 id="device-title">Where</h2>
      <Choice
        label="Device"
        value={there.value ? undefined : device.value}
        options={[
          { value: "webgpu", title: "WebGPU", off: none },
          { value: "cpu", title: "Processor (cpu)" },
        ]}
        onChange={(d) => {
          device.value = d;
          there.value = "";
        }}
      />
      {devicesThere().length > 0 && (
        <Choice
          label="On the machine that serves this page"
          value={there.value || undefined}
          options={devicesThere().map((name) => ({ value: name, title: name }))}
          onChange={(name) => (there.value = name)}
        />
      )}
      <p class="hint adapter" data-testid="adapter">
        {there.value
          ? `The run is trained natively on ${there.value} of the machine that serves this page, and kept in its store.`
          : adapterLine()}
      </p>
      {webgpu.value?.keepsFiles === false && (
        <p class="hint">
          This browser gives the page no files of its own (OPFS): models, runs and what they tuned last as long as the page.
        </p>
      )}
    </section>
  );
}

/** What the page found, said as it is. */
function adapterLine(): string {
  const found = webgpu.value;
  if (!found) return unfit.value ? "Which adapters there are is not known." : "Looking for a WebGPU adapter…";
  if (!found.available)
    return `No WebGPU here${found.reason ? ` (${found.reason})` : ""}. Training runs on the processor, in WebAssembly.`;
  const name = found.adapter || "no name given";
  if (found.software)
    return `WebGPU is here, but its adapter is software (${name}): it computes on the processor, slower than cpu does. cpu is proposed.`;
  return `WebGPU adapter: ${name}.`;
}
