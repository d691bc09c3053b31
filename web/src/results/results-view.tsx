// Results: the runs of this tab, of the server and of files, in one table with figures.

import { useEffect, useRef } from "preact/hooks";
import { inAddress } from "../route";
import { saveArchive } from "./save-all";
import { addAddress, addFiles } from "../records/open";
import { deleted, rows } from "../records/records";
import { undoDelete } from "../records/deletion";
import { lab } from "../records/lab-actions";
import { Copy } from "./copy";
import { alone } from "./figures/choice";
import { FigureAlone, Figures } from "./figures/figures";
import { Menu } from "./menu";
import { RunDialog } from "./run-page/run-dialog";
import { server } from "../records/server";
import { RunsTable } from "./table/table";

const SERVER = {
  none: "",
  live: " Runs of this server appear while they train.",
  lost: " The server is not responding; its runs stay as they were.",
};

/** The view of results. */
export function ResultsView() {
  useEffect(() => {
    for (const address of addresses()) void addAddress(address);
  }, []);
  if (alone.value) return <FigureAlone />;
  return (
    <div class="results">
      <Sources />
      {rows.value.length > 0 && <RunsTable />}
      <Figures />
      <Undo />
      <RunDialog />
    </div>
  );
}

/** Addresses of records in the link, separated by spaces. */
const linked = inAddress("results", "open", "");
const addresses = () => linked.value.split(" ").filter(Boolean);

function Sources() {
  const picker = useRef<HTMLInputElement>(null);
  return (
    <div class="sources">
      <p>
        {rows.value.length === 0
          ? lab.value
            ? "No runs yet: train one in the Lab, or open saved runs."
            : "No runs: open saved runs."
          : lab.value
            ? "Runs of this tab, of files and of the server."
            : "The study's runs, and any runs that you open."}
        {SERVER[server.value]}
      </p>
      <button type="button" onClick={() => picker.current?.click()}>
        Open saved runs…
      </button>
      <Menu title="From an address">
        {(close) => (
          <form
            onSubmit={(e) => {
              e.preventDefault();
              const address = String(new FormData(e.currentTarget).get("address")).trim();
              void addAddress(address).then((there) => {
                if (!there) return;
                linked.value = [...new Set([...addresses(), address])].join(" ");
                close();
              });
            }}
          >
            <label>
              Address of a .jsonl file
              <input name="address" type="text" required defaultValue={addresses().at(-1)} />
            </label>
            <button type="submit">Open</button>
          </form>
        )}
      </Menu>
      {/* The address has the filter, the columns and the figure. */}
      <Copy title="Copy link" text={() => location.href} />
      {rows.value.length > 0 && (
        <button type="button" class="quiet" onClick={() => void saveArchive()}>
          Save all
        </button>
      )}
      <input
        ref={picker}
        type="file"
        multiple
        accept=".jsonl,.json,.zip,.parquet"
        hidden
        data-testid="open-records"
        onChange={(e) => {
          const files = [...(e.currentTarget.files ?? [])];
          e.currentTarget.value = "";
          void addFiles(files);
        }}
      />
    </div>
  );
}

function Undo() {
  const row = deleted.value;
  return (
    <div class="toast-place" role="status">
      {row && (
        <div class="toast">
          <span>
            {row.source === "tab" ? "Deleted" : "Removed"} {row.name}.
          </span>
          <button type="button" onClick={undoDelete}>
            Undo
          </button>
        </div>
      )}
    </div>
  );
}
