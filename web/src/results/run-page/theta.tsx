// A run's theta: saves it, also as a peft adapter, and initialises another run from it.

import { errorText } from "../../format";
import { strToU8, zipSync, type Zippable } from "fflate";
import { useEffect, useState } from "preact/hooks";
import { thetaOf } from "../../records/archive";
import { lab } from "../../records/lab-actions";
import { edition, records } from "../../records/records";
import { recordName } from "../../storage/runs";
import { save } from "../../storage/save";
import type { PeftAdapter } from "../../wasm/protocol";
import type { Row } from "../../wasm/view";
import { longName } from "../table/found";

/** The actions on the theta of a run of this tab or of an archive. */
export function Theta({ row, close }: { row: Row; close(): void }) {
  const name = recordName(row);
  const [theta, setTheta] = useState<Blob | undefined>(undefined);
  const [word, setWord] = useState("");
  useEffect(() => {
    setTheta(undefined);
    setWord("");
  }, [row.key]);
  // An archive that is opened later may contain it.
  useEffect(() => void thetaOf(row).then(setTheta), [row.key, row.source, edition.value]);
  if (!theta) return null;
  const showError = (error: unknown) => setWord(errorText(error));
  const bytes = async () => new Uint8Array(await theta.arrayBuffer());
  const adapter = async () => {
    setWord(`Loading ${row.model}…`);
    try {
      const of = records()?.spec(row.key) ?? "{}";
      const found = await lab.value?.adapter(of, await bytes());
      if (found) save(`${name}.peft.zip`, "application/zip", packed(row, found));
      setWord(found?.note ?? "");
    } catch (error) {
      showError(error);
    }
  };
  const initialise = async () => {
    try {
      await lab.value?.initialiseFrom(name, await bytes());
      close();
    } catch (error) {
      showError(error);
    }
  };
  return (
    <section class="theta" aria-labelledby="theta-title">
      <h3 id="theta-title">Trained parameters (theta)</h3>
      <div class="buttons">
        <button type="button" onClick={() => save(`${name}.theta.safetensors`, "application/octet-stream", theta)}>
          Download theta
        </button>
        {lab.value && (
          <>
            <button type="button" disabled={lab.value.isBusy()} onClick={() => void adapter()}>
              Download as peft adapter
            </button>
            <button type="button" disabled={lab.value.isBusy()} onClick={() => void initialise()}>
              Initialise from this run
            </button>
          </>
        )}
      </div>
      <p class="hint one" role="status">
        {word}
      </p>
    </section>
  );
}

/** A zip archive of an adapter as peft saves it. */
function packed(row: Row, { config, weights, head, note }: PeftAdapter): Uint8Array<ArrayBuffer> {
  const lines = [
    `# ${longName(row)}`,
    `An adapter of Hugging Face peft for ${row.model}, trained by APET Lab in run ${row.run}: unpack it and pass the folder to \`PeftModel.from_pretrained\`.`,
    note,
    head && "No class of transformers has this classification head, so it is in `head.safetensors`: `scores = pooled @ weight.T + bias`.",
  ];
  const files: Zippable = {
    "README.md": strToU8(`${lines.filter(Boolean).join("\n\n")}\n`),
    "adapter_config.json": strToU8(config),
    "adapter_model.safetensors": [weights, { level: 0 }],
  };
  if (head) files["head.safetensors"] = [head, { level: 0 }];
  return zipSync(files) as Uint8Array<ArrayBuffer>;
}
