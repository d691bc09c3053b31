// Starts the page: Results at once, the Lab when this tab owns the store.

import { effect } from "@preact/signals";
import { render } from "preact";
import { App, isAlone } from "./app";
import { readCatalogue } from "./catalogue";
import { actions } from "./lab/actions";
import { findThere } from "./lab/there";
import { findWebgpu } from "./lab/trainer";
import { lab } from "./results/lab";
import { readTabRecords, startRecords } from "./results/records";
import { followServer } from "./results/server";
import { takeStore } from "./store/lock";
import { findKeptModels } from "./store/own-models";
import { findOwnTasks } from "./store/own-tasks";

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
