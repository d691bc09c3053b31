// Starts the page: Results at once, the Lab when this tab owns the store.

import { effect } from "@preact/signals";
import { render } from "preact";
import { App, isAlone } from "./app";
import { readCatalogue } from "../storage/catalogue";
import { actions } from "../lab/actions";
import { findThere } from "../lab/run/there";
import { findWebgpu } from "../lab/run/main-worker";
import { lab } from "../records/lab";
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

// A figure alone does without the Lab, until its address becomes another.
let begun = false;
effect(() => {
  if (begun || isAlone.value) return;
  begun = true;
  void takeStore().then(findKeptModels).then(findOwnTasks).then(findWebgpu).then(findThere);
});
