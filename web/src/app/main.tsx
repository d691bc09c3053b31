// Starts the page: Results at once, the Lab as soon as this tab owns the store.

import { effect } from "@preact/signals";
import { render } from "preact";
import { App, isAlone } from "./app";
import { readCatalogue } from "../storage/catalogue";
import { actions } from "../lab/actions";
import { findServerRun } from "../lab/run/server-run";
import { findWebgpu } from "../lab/run/main-worker";
import { lab } from "../records/lab-actions";
import { readTabRecords } from "../records/open";
import { startRecords } from "../records/records";
import { followServer } from "../records/server";
import { takeStore } from "../storage/lock";
import { findKeptModels } from "../storage/own-models";
import { findOwnTasks } from "../storage/own-tasks";

lab.value = actions;
const place = document.getElementById("page");
if (place) render(<App />, place);

void readCatalogue();
void startRecords().then(readTabRecords).then(followServer);

// A single figure needs no Lab, until the address changes.
let started = false;
effect(() => {
  if (started || isAlone.value) return;
  started = true;
  void takeStore().then(findKeptModels).then(findOwnTasks).then(findWebgpu).then(findServerRun);
});
