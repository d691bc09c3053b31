// A report: a study's runs in a single file, with the page's table, figures and claims.

import { errorText } from "../format";
import { render } from "preact";
import { Claims } from "../results/figures/claims";
import { Messages } from "./messages";
import { addRecord, edition, records, startRecords } from "../records/records";
import { tell } from "../records/messages";
import { ResultsView } from "../results/results-view";

/** A study, as `apet report` writes it into the file. */
interface Study {
  name: string;
  about: string;
  /** Which runs have no record; empty if all have one. */
  missing: string;
  /** The records as JSONL, gzip, base64. */
  records: string;
}

function Report({ study }: { study: Study }) {
  void edition.value;
  const answers = records()?.answers();
  return (
    <>
      <header class="top">
        <h1>{study.name}</h1>
        <p class="motto">{study.about}</p>
      </header>
      <main>
        <Messages />
        {study.missing && <p class="notice">{study.missing}</p>}
        {answers && answers.runs > 0 && (
          <section class="report-answers" aria-labelledby="claims">
            <h2 id="claims">The paper's claims, tested on these runs</h2>
            <Claims claims={answers.claims} heading="h3" />
          </section>
        )}
        <ResultsView />
      </main>
    </>
  );
}

async function unpacked(base64: string): Promise<string> {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function start(): Promise<void> {
  const study = JSON.parse(document.getElementById("study")?.textContent ?? "") as Study;
  document.title = `${study.name} – APET Lab`;
  const place = document.getElementById("page");
  if (place) render(<Report study={study} />, place);
  await startRecords();
  try {
    addRecord("the study", await unpacked(study.records));
  } catch (error) {
    tell(`The report's records cannot be read: ${errorText(error)}`);
  }
}

void start();
