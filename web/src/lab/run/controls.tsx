// The buttons of a run, with its estimated cost above and its status below.

import { useEffect, useRef } from "preact/hooks";
import { device, ready, spec } from "../choices";
import { getModel, usePlan, waits } from "./auto-load";
import { Counts } from "./counts";
import { cancelDownload } from "./main-worker";
import { busy, phase, queued, transfer } from "./state";
import { Status } from "./status";
import { job, stopOnServer, serverDevice, trainOnServer } from "./server-run";
import { pause, resume, stop, train } from "./trainer";

/** The controls of a run. */
export function Controls() {
  usePlan();
  const now = phase.value;
  const place = useRef<HTMLElement>(null);
  useEffect(() => {
    if (now === "running" && !queued.peek()) place.current?.scrollIntoView({ block: "nearest" });
  }, [now]);
  // A button that disappears passes the focus to its replacement.
  const pressed = useRef(false);
  useEffect(() => {
    const see = (e: Event) => {
      const buttons = place.current?.querySelector(".buttons");
      pressed.current = buttons?.contains(e.target as Node) ?? false;
    };
    const events = ["focusin", "pointerdown"];
    for (const event of events) addEventListener(event, see);
    return () => {
      for (const event of events) removeEventListener(event, see);
    };
  }, []);
  useEffect(() => {
    if (!pressed.current || document.activeElement !== document.body) return;
    place.current?.querySelector<HTMLElement>(".buttons button:not(:disabled)")?.focus();
  }, [now]);
  return (
    <section ref={place} class="controls" aria-labelledby="run-title">
      <h2 id="run-title" class="visually-hidden">
        Run
      </h2>
      <Counts />
      <div class="buttons">
        {!busy.value && (
          <button
            type="button"
            class="primary"
            disabled={!ready.value || now === "preparing"}
            onClick={() => {
              if (serverDevice.value) void trainOnServer(spec.value, serverDevice.value);
              else if (device.value) void train(spec.value, device.value);
            }}
          >
            Train
          </button>
        )}
        {!busy.value && now === "idle" && waits() && (
          <button type="button" onClick={() => getModel()}>
            Get the model
          </button>
        )}
        {transfer.value && (
          <button type="button" onClick={() => cancelDownload()}>
            Cancel download
          </button>
        )}
        {busy.value && !job.value && now !== "paused" && (
          <button type="button" disabled={now !== "running"} onClick={() => void pause()}>
            Pause
          </button>
        )}
        {now === "paused" && (
          <button type="button" class="primary" onClick={() => void resume()}>
            Resume
          </button>
        )}
        {busy.value && (
          <button type="button" disabled={now === "idle"} onClick={() => void (job.value ? stopOnServer() : stop())}>
            {now === "stopping" ? "End now" : "Stop"}
          </button>
        )}
      </div>
      <Status />
    </section>
  );
}
