// Initialises a run from saved weights: a theta file or a peft adapter, kept in this browser.

import { errorText } from "../../format";
import { useRef } from "preact/hooks";
import { go } from "../../route";
import { adopt, change, spec } from "../choices";
import { unpack } from "../../storage/unpack";
import { BUSY, busy, problem } from "../run/state";
import { startWith, startWithAdapter } from "../run/questions";

/** Whether a file is a theta file: a safetensors file with a mark in its header. */
async function isTheta(file: File): Promise<boolean> {
  return /\.safetensors$/i.test(file.name) && (await file.slice(0, 65_536).text()).includes('"apet_theta"');
}

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";

interface AdapterFiles {
  name: string;
  config: string;
  weights: Uint8Array;
}

/** A peft adapter: its two files, in a folder or not, or the zip archive from a run's page. */
async function adapterIn(files: File[], folder: string): Promise<AdapterFiles | undefined> {
  const [first] = files;
  if (first && files.length === 1 && /\.peft\.zip$/i.test(first.name)) {
    const found = await unpack(first, /(^|\/)adapter_(config\.json|model\.safetensors)$/);
    const of = (end: string) => Object.entries(found).find(([name]) => name.endsWith(end))?.[1];
    const [config, weights] = [of(CONFIG), of(WEIGHTS)];
    if (!config || !weights) throw new Error(`${first.name}: expected it to contain ${CONFIG} and ${WEIGHTS}.`);
    return { name: first.name.replace(/\.peft\.zip$/i, ""), config: new TextDecoder().decode(config), weights };
  }
  const named = (name: string) => files.find((f) => f.name === name);
  const [config, weights] = [named(CONFIG), named(WEIGHTS)];
  if (!config && !weights) return undefined;
  if (!config || !weights) throw new Error(`${folder || (config ?? weights)?.name}: a peft adapter needs both ${CONFIG} and ${WEIGHTS}.`);
  return { name: folder || "adapter", config: await config.text(), weights: new Uint8Array(await weights.arrayBuffer()) };
}

/** Keeps a theta file, and fills the form with its spec, to initialise a run from it. */
export async function initialiseFrom(name: string, theta: Uint8Array): Promise<void> {
  adopt(await startWith(name, theta));
  go("lab");
}

/** Handles files that a run can be initialised from; `false` if the files are something else. */
export async function takeInitFiles(files: File[], folder = ""): Promise<boolean> {
  try {
    const [file] = files;
    const theta = file && files.length === 1 && (await isTheta(file)) ? file : undefined;
    const adapter = theta ? undefined : await adapterIn(files, folder);
    if (!theta && !adapter) return false;
    if (busy.value) throw new Error(BUSY);
    problem.value = "";
    if (theta) await initialiseFrom(theta.name.replace(/(\.theta)?\.safetensors$/i, ""), new Uint8Array(await theta.arrayBuffer()));
    // An adapter names its model as on the hub; it is applied to the form's model.
    if (adapter) adopt(await startWithAdapter(JSON.stringify(spec.value), adapter.name, adapter.config, adapter.weights));
  } catch (error) {
    problem.value = errorText(error);
  }
  go("lab");
  return true;
}

/** Chooses the weights that a run is initialised from. */
export function InitialiseFrom() {
  const picker = useRef<HTMLInputElement>(null);
  const { start } = spec.value;
  return (
    <div class="drop">
      {start ? (
        <p class="hint">
          Initialised from <strong>{start.theta}</strong>, so method, positions and model are fixed.{" "}
          <button type="button" class="link" onClick={() => change((s) => void delete s.start)}>
            Remove saved weights
          </button>
        </p>
      ) : (
        <button type="button" class="quiet" onClick={() => picker.current?.click()}>
          Start from saved weights…
        </button>
      )}
      <input
        ref={picker}
        type="file"
        accept=".safetensors,.json,.zip"
        multiple
        hidden
        data-testid="theta"
        onChange={(e) => {
          const files = [...(e.currentTarget.files ?? [])];
          e.currentTarget.value = "";
          void takeInitFiles(files).then((is) => {
            if (!is) problem.value = `${files[0]?.name}: expected a theta file, or ${CONFIG} and ${WEIGHTS} of a peft adapter.`;
          });
        }}
      />
    </div>
  );
}
