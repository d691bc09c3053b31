// A Worker as the page sees it: its calls, its events and its end.

import type { CallName, Calls, Reply, Request, RunEvent } from "./protocol";
import type { Transfer } from "../storage/sources";

/** The Worker cannot continue: a trap, a lost device, or a crash without an event. */
export class Fault extends Error {}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export interface SessionEvents {
  event(event: RunEvent): void;
  download(line: string): void;
  transfer(transfer: Transfer): void;
  /** The Worker has ended, whatever the cause. */
  ended(reason: string): void;
}

export class Session {
  #worker: Worker;
  #waiting = new Map<number, Waiting>();
  #next = 1;
  #dead: Fault | undefined;
  #name = `apet-worker-${Date.now()}-${Math.random()}`;
  /** Settles once the browser has released everything that an ended Worker held. */
  gone: Promise<unknown> | undefined;

  #events: SessionEvents;

  constructor(events: SessionEvents) {
    this.#events = events;
    const name = this.#name;
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name });
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      if ("event" in data) events.event(data.event);
      else if ("download" in data) events.download(data.download);
      else if ("transfer" in data) events.transfer(data.transfer);
      else if ("ready" in data)
        void navigator.locks?.request(name, () => this.#die("The Worker crashed."));
      else if ("id" in data) this.#settle(data);
      else this.#die(data.fault);
    };
    this.#worker.onerror = (e) => {
      e.preventDefault();
      this.#die(e.message || "The Worker could not be loaded.");
    };
    this.#worker.onmessageerror = () => this.#die("The Worker sent a message that cannot be read.");
  }

  /** Calls the Worker. Rejects with a `Fault` if it is lost, otherwise with an error to show. */
  call<K extends CallName>(call: K, ...args: Calls[K]["args"]): Promise<Calls[K]["value"]> {
    if (this.#dead) return Promise.reject(this.#dead);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      const ports = args.flat().filter((arg) => arg instanceof MessagePort);
      this.#worker.postMessage({ id, call, args } satisfies Request, ports);
    });
  }

  get alive(): boolean {
    return !this.#dead;
  }

  /** Ends the Worker; pending calls are rejected with a `Fault`. */
  end(reason: string): void {
    this.#die(reason);
  }

  #settle(reply: { id: number; value: unknown } | { id: number; error: string; fault: boolean }) {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if ("value" in reply) waiting?.resolve(reply.value);
    else if (reply.fault) {
      this.#die(reply.error);
      waiting?.reject(new Fault(reply.error));
    } else waiting?.reject(new Error(reply.error));
  }

  #die(reason: string) {
    if (this.#dead) return;
    this.#dead = new Fault(reason);
    this.#worker.terminate();
    this.gone = navigator.locks?.request(this.#name, () => {});
    for (const waiting of this.#waiting.values()) waiting.reject(this.#dead);
    this.#waiting.clear();
    this.#events.ended(reason);
  }
}
