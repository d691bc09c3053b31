// What a run tuned: to be saved, also as an adapter of peft, and to be gone on from.

import { strToU8, zipSync, type Zippable } from "fflate";
import { useEffect, useState } from "preact/hooks";
import { thetaOf } from "../../records/archive";
import { lab } from "../../records/lab";
import { edition, records } from "../../records/records";
import { recordName } from "../../storage/runs";
import { save } from "../../storage/save";
import type { Adapter } from "../../wasm/protocol";
import type { Row } from "../../wasm/view";
import { longName } from "../table/found";

/** What a run tuned, of this tab or of an archive: it can be saved, and gone on from. */
export function Theta({ row, close }: { row: Row; close(): void }) {
  const name = recordName(row);
  const [theta, setTheta] = useState<Blob | undefined>(undefined);
  const [word, setWord] = useState("");
  useEffect(() => {
    setTheta(undefined);
    setWord("");
  }, [row.key]);
  // An archive that is opened meanwhile may bring it.
  useEffect(() => void thetaOf(row).then(setTheta), [row.key, row.source, edition.value]);
  if (!theta) return null;
  const said = (error: unknown) => setWord(error instanceof Error ? error.message : String(error));
  const bytes = async () => new Uint8Array(await theta.arrayBuffer());
  const adapter = async () => {
    setWord(`Getting ${row.model} for it…`);
    try {
      const of = records()?.spec(row.key) ?? "{}";
      const found = await lab.value?.adapter(of, await bytes());
      if (found) save(`${name}.peft.zip`, "application/zip", packed(row, found));
      setWord(found?.note ?? "");
    } catch (error) {
      said(error);
    }
  };
  const begin = async () => {
    try {
      await lab.value?.startFrom(name, await bytes());
      close();
    } catch (error) {
      said(error);
    }
  };
  return (
    <section class="theta" aria-labelledby="theta-title">
      <h3 id="theta-title">Theta, what it tuned</h3>
      <div class="buttons">
        <button type="button" onClick={() => save(`${name}.theta.safetensors`, "application/octet-stream", theta)}>
          Download theta
        </button>
        {lab.value && (
          <>
            <button type="button" disabled={lab.value.isBusy()} onClick={() => void adapter()}>
              Download as peft adapter
            </button>
            <button type="button" disabled={lab.value.isBusy()} onClick={() => void begin()}>
              Go on from it
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

/** An adapter as peft saves it, in one file. */
function packed(row: Row, { config, weights, head, note }: Adapter): Uint8Array<ArrayBuffer> {
  const lines = [
    `# ${longName(row)}`,
    `An adapter of Hugging Face peft for ${row.model}, tuned by APET Lab in run ${row.run}: unpack it and give the folder to \`PeftModel.from_pretrained\`.`,
    note,
    head && "No class of transformers has the classification head, so it stands in `head.safetensors`: `scores = pooled @ weight.T + bias`.",
  ];
  const files: Zippable = {
    "README.md": strToU8(`${lines.filter(Boolean).join("\n\n")}\n`),
    "adapter_config.json": strToU8(config),
    "adapter_model.safetensors": [weights, { level: 0 }],
  };
  if (head) files["head.safetensors"] = [head, { level: 0 }];
  return zipSync(files) as Uint8Array<ArrayBuffer>;
}
