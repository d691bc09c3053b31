// A run that goes on from what another one tuned: a theta file or an adapter of peft, kept in this browser.

import { useRef } from "preact/hooks";
import { go } from "../../route";
import { adopt, change, spec } from "../choices";
import { unpack } from "../../storage/unpack";
import { BUSY, busy, problem } from "../run/state";
import { startWith, startWithAdapter } from "../run/questions";

/** A theta file is a safetensors file whose header says so; nothing else of APET Lab is. */
async function isTheta(file: File): Promise<boolean> {
  return /\.safetensors$/i.test(file.name) && (await file.slice(0, 65_536).text()).includes('"apet_theta"');
}

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";

interface Adapter {
  name: string;
  config: string;
  weights: Uint8Array;
}

/** An adapter of peft: its two files, in a folder or alone, or the zip that a run's page gives. */
async function adapterIn(files: File[], folder: string): Promise<Adapter | undefined> {
  const [first] = files;
  if (first && files.length === 1 && /\.peft\.zip$/i.test(first.name)) {
    const found = await unpack(first, /(^|\/)adapter_(config\.json|model\.safetensors)$/);
    const of = (end: string) => Object.entries(found).find(([name]) => name.endsWith(end))?.[1];
    const [config, weights] = [of(CONFIG), of(WEIGHTS)];
    if (!config || !weights) throw new Error(`${first.name}: expected ${CONFIG} and ${WEIGHTS} in it.`);
    return { name: first.name.replace(/\.peft\.zip$/i, ""), config: new TextDecoder().decode(config), weights };
  }
  const named = (name: string) => files.find((f) => f.name === name);
  const [config, weights] = [named(CONFIG), named(WEIGHTS)];
  if (!config && !weights) return undefined;
  if (!config || !weights) throw new Error(`${folder || (config ?? weights)?.name}: an adapter of peft needs both ${CONFIG} and ${WEIGHTS}.`);
  return { name: folder || "adapter", config: await config.text(), weights: new Uint8Array(await weights.arrayBuffer()) };
}

/** Keeps a theta file, and puts the spec it was made with into the form, to begin with it. */
export async function beginWith(name: string, theta: Uint8Array): Promise<void> {
  adopt(await startWith(name, theta));
  go("lab");
}

/** Takes files that a run can begin with; false where they are something else. */
export async function takeStart(files: File[], folder = ""): Promise<boolean> {
  try {
    const [file] = files;
    const theta = file && files.length === 1 && (await isTheta(file)) ? file : undefined;
    const adapter = theta ? undefined : await adapterIn(files, folder);
    if (!theta && !adapter) return false;
    if (busy.value) throw new Error(BUSY);
    problem.value = "";
    if (theta) await beginWith(theta.name.replace(/(\.theta)?\.safetensors$/i, ""), new Uint8Array(await theta.arrayBuffer()));
    // It names its model as the hub does; the form's is the one it is read onto.
    if (adapter) adopt(await startWithAdapter(JSON.stringify(spec.value), adapter.name, adapter.config, adapter.weights));
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  }
  go("lab");
  return true;
}

export function BeginWith() {
  const picker = useRef<HTMLInputElement>(null);
  const { start } = spec.value;
  return (
    <div class="drop">
      {start ? (
        <p class="hint">
          Begins with the theta <strong>{start.theta}</strong>, so method, positions and model have to stay.{" "}
          <button type="button" class="link" onClick={() => change((s) => void delete s.start)}>
            Begin anew
          </button>
        </p>
      ) : (
        <button type="button" class="quiet" onClick={() => picker.current?.click()}>
          Begin with a theta or an adapter…
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
          void takeStart(files).then((is) => {
            if (!is) problem.value = `${files[0]?.name}: expected a theta file, or ${CONFIG} and ${WEIGHTS} of peft.`;
          });
        }}
      />
    </div>
  );
}
