// One run: where it came from, its curves, its notes, its exact spec, and what can be done with it.

import { strToU8, zipSync, type Zippable } from "fflate";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Adapter } from "../../wasm/protocol";
import { count, duration, loss, megabytes, METHODS, methodTitle, percent, score, when } from "../../format";
import { readLine } from "../../spec";
import { recordName } from "../../storage/runs";
import { thetaOf } from "../../records/archive";
import { save } from "../figures/export";
import { Copy } from "../copy";
import { longName, mark, marks } from "../table/found";
import { PlotFigure } from "../figures/plot";
import { lab } from "../../records/lab";
import { deleteRow, download, edition, opened, records, rows } from "../../records/records";
import type { Row } from "../../wasm/view";

export function RunDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const row = rows.value.find((r) => r.key === opened.value);
  useEffect(() => {
    if (row && !dialog.current?.open) dialog.current?.showModal();
    if (!row) dialog.current?.close();
  }, [row?.key]);
  return (
    <dialog
      ref={dialog}
      class="run-page"
      aria-labelledby="run-page-title"
      onClose={() => (opened.value = undefined)}
      onClick={(e) => e.target === dialog.current && dialog.current?.close()}
    >
      {row && <Page row={row} close={() => dialog.current?.close()} />}
    </dialog>
  );
}

function Page({ row, close }: { row: Row; close(): void }) {
  const facts: [string, string][] = [
    ["Run", row.run],
    ["Model", `${row.model}, ${count(row.parameters)} parameters`],
    ["Task", row.task],
    ["Tuned", `${methodTitle(row.method)}, ${count(row.count)} parameters`],
    ["Ended", `${row.status} after ${count(row.steps)} steps in ${duration(row.seconds)}. ${row.message}`],
    [
      "Score",
      `dev ${score(row.dev)}${row.best_step ? ` at step ${count(row.best_step)}` : ""}, test ${score(row.test)}`,
    ],
    [
      "Where",
      `${row.host} ${row.device}${row.adapter ? ` (${row.adapter})` : ""}, ${row.source === "tab" ? "this tab" : row.source}`,
    ],
    ["Cost", `${row.peak_bytes === null ? "" : `at most ${megabytes(row.peak_bytes)} MB, `}${count(row.steps)} steps, learning rate ${row.learning_rate}`],
    ["Started", when(row.started)],
  ];
  const text = records()?.record(row.key) ?? "";
  const software = environment(text.slice(0, text.indexOf("\n")));
  if (software) facts.push(["Software", software]);
  const notes = text.split("\n").flatMap((line) => {
    if (!line.includes('"note"')) return [];
    const read = readLine(line);
    return read?.kind === "note" ? [read.text] : [];
  });
  const spec = pretty(records()?.spec(row.key) ?? "{}");
  const ofAnotherProgram = (JSON.parse(spec) as { method?: { name?: string } }).method?.name === "foreign";
  return (
    <div class="page">
      <header>
        <h2 id="run-page-title">{longName(row)}</h2>
        <button type="button" class="quiet" onClick={close}>
          Close
        </button>
      </header>
      <dl>
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {row.edited && <p class="notice">This record's id is not the hash of its spec: it was edited after the run.</p>}
      {notes.length > 0 && (
        <ul class="notes">
          {notes.map((n, i) => (
            <li key={i}>{n}</li>
          ))}
        </ul>
      )}
      <div class="marks">
        <label class="inline">
          <span>Name</span>
          <input
            type="text"
            maxLength={60}
            placeholder={row.run.slice(0, 8)}
            value={marks.value[row.key]?.name ?? ""}
            onInput={(e) => mark(row.key, { name: e.currentTarget.value })}
          />
        </label>
        <label class="inline">
          <input
            type="checkbox"
            checked={marks.value[row.key]?.pinned ?? false}
            onChange={(e) => mark(row.key, { pinned: e.currentTarget.checked })}
          />
          <span>Keep at the top of the table</span>
        </label>
      </div>
      <Curves row={row} />
      {!ofAnotherProgram && <Repeat name={recordName(row)} />}
      <h3>Spec</h3>
      <pre tabIndex={0} aria-label="Spec of the run as JSON">
        {spec}
      </pre>
      <Theta row={row} close={close} />
      <div class="buttons">
        <button type="button" onClick={() => download(row)}>
          Download record
        </button>
        {lab.value?.canGoOn(row) && (
          <button
            type="button"
            disabled={lab.value.isBusy()}
            onClick={() => {
              close();
              lab.value?.goOn(row);
            }}
          >
            Resume
          </button>
        )}
        {/* The form has no place for several methods at once. */}
        {lab.value && !ofAnotherProgram && row.method in METHODS && (
          <button
            type="button"
            disabled={lab.value.isBusy()}
            onClick={() => {
              lab.value?.use(row, records()?.spec(row.key) ?? "{}");
              close();
            }}
          >
            Use in the Lab
          </button>
        )}
        <button
          type="button"
          class="danger"
          disabled={lab.value?.isBusy() && lab.value.isOnScreen(row)}
          onClick={() => {
            close();
            deleteRow(row);
          }}
        >
          {row.source === "tab" ? "Delete" : "Remove from view"}
        </button>
      </div>
    </div>
  );
}

/** Loss and dev score of a run over its steps. */
function Curves({ row }: { row: Row }) {
  const [curve] = records()?.curves([row.key], 0) ?? [];
  if (!curve || (curve.points.length === 0 && curve.dev.length === 0)) return null;
  const last = curve.points.at(-1);
  const best = Math.max(...curve.dev.map((p) => p.value));
  const panels = [
    { title: "Training loss, nats", points: curve.points, says: `falls to ${loss(last?.value)}`, format: "~g" },
    { title: "Score on dev", points: curve.dev, says: `at best ${percent(best)}`, format: "~%" },
  ].filter((panel) => panel.points.length > 0);
  return (
    <div class="curves">
      {panels.map(({ title, points, says, format }) => (
        <div key={title}>
          <h3>{title}</h3>
          <PlotFigure
            says={`${title} ${says}`}
            height={140}
            on={[row.key, points.length]}
            draw={(Plot, width) =>
              Plot.plot({
                width,
                height: 140,
                marginLeft: 44,
                x: { label: "step", ticks: 4, tickFormat: "~s" },
                y: { label: null, grid: true, nice: true, ticks: 4, tickFormat: format },
                marks: [
                  Plot.lineY(points, { x: "step", y: "value", stroke: "var(--series-1)", marker: points.length < 30 ? "dot" : "none" }),
                  Plot.tip(points, Plot.pointerX({ x: "step", y: "value" })),
                ],
              })
            }
          />
        </div>
      ))}
    </div>
  );
}

/** The line that makes the run again on a machine of one's own. */
function Repeat({ name }: { name: string }) {
  const line = `apet run --spec ${name}.jsonl`;
  return (
    <p class="repeat">
      <span>Again, natively, from its record:</span> <code>{line}</code> <Copy title="Copy" text={() => line} />
    </p>
  );
}

/** What a run tuned, of this tab or of an archive: it can be saved, and gone on from. */
function Theta({ row, close }: { row: Row; close(): void }) {
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

/** With what a run ran, from its header. */
function environment(header: string): string {
  try {
    const { software = {} } = JSON.parse(header) as { software?: Record<string, unknown> };
    const shown = Object.entries(software).filter(([, v]) => typeof v === "string" && v !== "");
    return shown.map(([name, version]) => `${name} ${version}`).join(", ");
  } catch {
    return "";
  }
}

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
