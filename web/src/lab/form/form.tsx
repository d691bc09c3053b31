// The form of the Lab: model and task, method, training, device.

import { useState } from "preact/hooks";
import type { Objective, Pooling, Schedule } from "../../spec";
import { megabytes } from "../../format";
import { offered } from "../../storage/own-models";
import { serverDevices } from "../../storage/catalogue";
import { change, device, spec } from "../choices";
import { Choice, NumberField, SelectField } from "./fields";
import { MethodFields } from "./method-fields";
import { ModelsDialog, chooseModel } from "./models-dialog";
import { TaskFields } from "./task-fields";
import { serverDevice } from "../run/server-run";
import { busy, unfit, webgpu } from "../run/state";

/** The form. */
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
  if (model && !options.some((o) => o.value === model)) options.unshift({ value: model, title: `${model} (not available)` });
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
            label="Training sentences"
            value={task.train_rows ?? 0}
            min={0}
            hint="0 uses all"
            onChange={(n) => change((s) => void (s.task.train_rows = n))}
          />
          <NumberField
            label="Maximum length"
            value={task.max_length ?? 128}
            min={3}
            hint="tokens of a text"
            onChange={(n) => change((s) => void (s.task.max_length = n))}
          />
          <NumberField
            label="Stop early after"
            value={train.patience ?? 0}
            min={0}
            hint="evaluations without gain; 0 = never"
            onChange={(n) => change((s) => void (s.train.patience = n))}
          />
          <SelectField
            label="Schedule"
            value={optimizer.schedule ?? "linear"}
            options={[
              { value: "linear", title: "linear decay" },
              { value: "constant", title: "constant" },
            ]}
            onChange={(v) => change((s) => void (s.optimizer.schedule = v as Schedule))}
          />
          <SelectField
            label="Objective"
            value={objective ?? "class_head"}
            options={[
              { value: "class_head", title: "classifier on top" },
              { value: "label_words", title: "label word" },
            ]}
            onChange={(v) => change((s) => void (s.objective = v as Objective))}
          />
          <SelectField
            label="Pooling"
            value={head?.pooling ?? "mean"}
            options={[
              { value: "mean", title: "mean of tokens" },
              { value: "first", title: "first token" },
              { value: "pooler", title: "pooler" },
            ]}
            onChange={(v) => change((s) => void (s.head = { pooling: v as Pooling }))}
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
      <h2 id="device-title">Runs on</h2>
      <Choice
        label="Device"
        value={serverDevice.value ? undefined : device.value}
        options={[
          { value: "webgpu", title: "WebGPU", off: none },
          { value: "cpu", title: "Processor (cpu)" },
        ]}
        onChange={(d) => {
          device.value = d;
          serverDevice.value = "";
        }}
      />
      {serverDevices().length > 0 && (
        <Choice
          label="On the machine that serves this page"
          value={serverDevice.value || undefined}
          options={serverDevices().map((name) => ({ value: name, title: name }))}
          onChange={(name) => (serverDevice.value = name)}
        />
      )}
      <p class="hint adapter" data-testid="adapter">
        {serverDevice.value
          ? `The run trains natively on ${serverDevice.value} of the machine that serves this page, and is kept in its store.`
          : adapterLine()}
      </p>
      {webgpu.value?.keepsFiles === false && (
        <p class="hint">
          This browser has no private files (OPFS) for the page: models, runs and thetas are lost when the page is closed.
        </p>
      )}
    </section>
  );
}

/** Describes the WebGPU adapter. */
function adapterLine(): string {
  const found = webgpu.value;
  if (!found) return unfit.value ? "The adapters are unknown." : "Looking for a WebGPU adapter…";
  if (!found.available)
    return `No WebGPU${found.reason ? ` (${found.reason})` : ""}. Training runs on the processor, in WebAssembly.`;
  const name = found.adapter || "unnamed";
  if (found.software)
    return `WebGPU is available, but its adapter is software (${name}): it runs on the processor, slower than cpu. Recommended: cpu.`;
  return `WebGPU adapter: ${name}.`;
}
