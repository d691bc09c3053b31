// @ts-check
// WebKitGTK over WebDriver, on a virtual screen: Playwright drives only its own WebKit.
// On Debian: webkit2gtk-driver and xvfb.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";

const ELEMENT = "element-6066-11e4-a52e-4f735466cecf"; // W3C WebDriver, 12.1

const browser = (existsSync("/usr/lib") ? readdirSync("/usr/lib") : [])
  .map((folder) => `/usr/lib/${folder}/webkit2gtk-4.1/MiniBrowser`)
  .find((file) => existsSync(file));

/** Whether WebKitGTK is installed. */
export const hasWebkit = browser !== undefined && existsSync("/usr/bin/WebKitWebDriver") && existsSync("/usr/bin/Xvfb");

/** A browser with an empty profile; `close` ends it. */
export async function webkit() {
  const screen = spawn("Xvfb", ["-displayfd", "1", "-screen", "0", "1400x1100x24"], { stdio: ["ignore", "pipe", "ignore"] });
  const display = `:${String((await once(screen.stdout, "data"))[0]).trim()}`;
  const port = await freePort();
  // WebKit's Intl does not know the locale C.
  const env = { ...process.env, DISPLAY: display, LANG: "en_US.UTF-8", LC_ALL: "" };
  const driver = spawn("WebKitWebDriver", [`--port=${port}`], { stdio: "ignore", env });

  const ask = async (/** @type {string} */ method, /** @type {string} */ at, /** @type {unknown} */ body = undefined) => {
    const answer = await fetch(`http://127.0.0.1:${port}${at}`, { method, ...(body !== undefined && { body: JSON.stringify(body) }) });
    const { value } = /** @type {{ value: any }} */ (await answer.json());
    if (!answer.ok) throw new Error(`${at}: ${value?.error}: ${value?.message}`);
    return value;
  };
  const until = async (/** @type {string} */ what, /** @type {() => Promise<any>} */ found, timeout = 30_000) => {
    for (const begun = Date.now(); ; await new Promise((next) => setTimeout(next, 100))) {
      const value = await found().catch(() => undefined);
      if (value) return value;
      if (Date.now() - begun > timeout) throw new Error(`not within ${timeout / 1000} s: ${what}`);
    }
  };

  await until("WebKitWebDriver answers", () => ask("GET", "/status"));
  const options = { binary: browser, args: ["--automation"] };
  const { sessionId } = await ask("POST", "/session", { capabilities: { alwaysMatch: { "webkitgtk:browserOptions": options } } });
  const of = (/** @type {string} */ at) => `/session/${sessionId}${at}`;
  const evaluate = (/** @type {string} */ script, /** @type {unknown[]} */ ...args) => ask("POST", of("/execute/sync"), { script, args });
  const element = (/** @type {string} */ css) =>
    until(css, async () => of(`/element/${(await ask("POST", of("/element"), { using: "css selector", value: css }))[ELEMENT]}`));

  return {
    goto: (/** @type {string} */ url) => ask("POST", of("/url"), { url }),
    evaluate,
    /** Waits until a script returns a truthy value, and returns it. */
    wait: (/** @type {string} */ script, timeout = 30_000) => until(script, () => evaluate(script), timeout),
    click: async (/** @type {string} */ css) => ask("POST", `${await element(css)}/click`, {}),
    /** Types into a field; for a file field, the text is a path. */
    type: async (/** @type {string} */ css, /** @type {string} */ text) => ask("POST", `${await element(css)}/value`, { text }),
    shot: async (/** @type {string} */ name) => {
      if (!process.env.SHOTS) return;
      await mkdir(process.env.SHOTS, { recursive: true });
      await writeFile(path.join(process.env.SHOTS, `${name}.png`), Buffer.from(await ask("GET", of("/screenshot")), "base64"));
    },
    close: async () => {
      await ask("DELETE", of("")).catch(() => {});
      driver.kill();
      screen.kill();
    },
  };
}

/** @returns {Promise<number>} */
const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = /** @type {net.AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });
