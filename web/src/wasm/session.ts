// One Worker's life, seen from the page.

import type { CallName, Calls, Reply, Request, RunEvent } from "./protocol";
import type { Transfer } from "../storage/sources";

/** The Worker can not go on: a trap, a lost device, or its end without a word. */
export class Fault extends Error {}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export interface SessionEvents {
  event(event: RunEvent): void;
  download(line: string): void;
  transfer(transfer: Transfer): void;
  /** The Worker is no more, whoever ended it. */
  ended(reason: string): void;
}

export class Session {
  #worker: Worker;
  #waiting = new Map<number, Waiting>();
  #next = 1;
  #dead: Fault | undefined;
  #name = `apet-worker-${Date.now()}-${Math.random()}`;
  /** Of an ended Worker: when the browser has taken back all it held. */
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
        void navigator.locks?.request(name, () => this.#die("The Worker ended without a word."));
      else if ("id" in data) this.#settle(data);
      else this.#die(data.fault);
    };
    this.#worker.onerror = (e) => {
      e.preventDefault();
      this.#die(e.message || "The Worker could not be loaded.");
    };
    this.#worker.onmessageerror = () => this.#die("The Worker sent something that can not be read.");
  }

  /** Calls the Worker. Rejects with a `Fault` when it is lost, else with a sentence to show. */
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

  /** Ends the Worker; whatever was asked of it is rejected with a `Fault`. */
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
