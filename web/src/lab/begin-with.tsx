// A run that goes on from what another one tuned: a theta file, kept in this browser.

import { useRef } from "preact/hooks";
import { go } from "../route";
import { adopt, change, spec } from "./choices";
import { busy, problem, startWith } from "./trainer";

/** A theta file is a safetensors file whose header says so; nothing else of APET Lab is. */
export async function isTheta(file: File): Promise<boolean> {
  return /\.safetensors$/i.test(file.name) && (await file.slice(0, 65_536).text()).includes('"apet_theta"');
}

/** Keeps the file, and puts the spec it was made with into the form, to begin with it. */
export async function beginWith(name: string, theta: Uint8Array): Promise<void> {
  adopt(await startWith(name, theta));
  go("lab");
}

export async function takeTheta(file: File): Promise<void> {
  if (busy.value) return;
  try {
    const name = file.name.replace(/(\.theta)?\.safetensors$/i, "");
    await beginWith(name, new Uint8Array(await file.arrayBuffer()));
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  }
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
          Begin with a theta…
        </button>
      )}
      <input
        ref={picker}
        type="file"
        accept=".safetensors"
        hidden
        data-testid="theta"
        onChange={(e) => {
          const file = e.currentTarget.files?.[0];
          e.currentTarget.value = "";
          if (file) void takeTheta(file);
        }}
      />
    </div>
  );
}
