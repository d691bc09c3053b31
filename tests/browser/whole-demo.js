// @ts-check
// Measures the time of the whole scaling experiment in a tab, on the processor. Run by hand: it takes a quarter of an hour.
//
//   APET_BIN=target/release/apet node tests/browser/whole-demo.js

import { writeFile } from "node:fs/promises";
import path from "node:path";
import { newUser, open, shot, storedRecords } from "./harness.js";

const place = await open();
const { page, wrong } = await newUser(place);
await page.getByLabel("Processor (cpu)").check({ force: true });
const section = page.getByRole("region", { name: "Scaling experiment" });
const begun = Date.now();
await section.getByRole("button", { name: "Run the experiment", exact: true }).click();
const minutes = () => ((Date.now() - begun) / 60_000).toFixed(1);
const end = section.getByRole("heading", { name: /^Results so far: (\d+) of \1 runs done$/ });
let told = "";
while ((await end.count()) === 0) {
  const texts = await page.getByTestId("experiment").allTextContents();
  if (texts[0] && texts[0] !== told) console.log(`${minutes()} min: ${texts[0]}`);
  told = texts[0] ?? told;
  await page.waitForTimeout(1000);
}
console.log(`${minutes()} minutes in total`);
await shot(page, "whole-demo");
const records = await storedRecords(page);
if (process.env.SHOTS)
  await writeFile(
    path.join(process.env.SHOTS, "whole-demo.jsonl"),
    records.map((record) => record.map((line) => `${JSON.stringify(line)}\n`).join("")).join(""),
  );
console.log(`${records.length} records; errors: ${JSON.stringify(wrong)}`);
await place.close();
