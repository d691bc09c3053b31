// Where a model's files come from: a server, or the user. Each is read from an offset on.

import type { ModelSource, ModelUrls } from "./sources";

/** A part of a file. */
export interface Part {
  from: number;
  /** Before which to end; the file's end where absent. */
  to?: number;
  /** Of the version that the bytes before `from` are of. */
  tag?: string;
}

export interface Answer {
  /** Bytes of the whole file; absent where the server does not say. */
  size?: number;
  /** What tells this version of the file from any other; empty where nothing does. */
  tag: string;
  /** Where the body begins: not where it was asked for, if the server answers no ranges. */
  from: number;
  body: ReadableStream<Uint8Array>;
}

export interface Origin {
  /** Opens a part of a file; nothing where there is no such file. */
  open(file: string, part: Part, signal: AbortSignal): Promise<Answer | undefined>;
  /** A file as errors name it. */
  shown(file: string): string;
}

/** Nobody can be asked now; what is kept may still be used. */
export class Unreachable extends Error {}

export const origin = (model: string, source: ModelSource): Origin =>
  "files" in source ? ownFiles(model, source.files) : server(source);

function ownFiles(model: string, files: File[]): Origin {
  const shown = (file: string) => `${model}/${file}`;
  return {
    shown,
    open: async (name, { from, to }) => {
      if (files.length === 0)
        throw new Unreachable(`${shown(name)}: only a part of it is kept; drop the folder again.`);
      const file = files.find((f) => f.name === name);
      if (!file) return undefined;
      return { size: file.size, tag: `${file.lastModified}`, from, body: file.slice(from, to).stream() };
    },
  };
}

function server(urls: ModelUrls): Origin {
  const known: Record<string, string> = { "config.json": urls.config, "tokenizer.json": urls.tokenizer };
  const url = (file: string) => known[file] ?? new URL(file, urls.weights).href;
  return {
    shown: (file) => shown(url(file)),
    open: async (file, part, signal) => {
      let response = await ask(url(file), signal, part);
      let range = contentRange(response);
      if (response.status === 206 && !range) {
        // Another origin's Content-Range can only be read where it says so: the whole file, then.
        await response.body?.cancel();
        response = await ask(url(file), signal);
        range = undefined;
      }
      if (response.status === 404) return undefined;
      if (!response.ok && response.status !== 416) throw new Unreachable(refusal(url(file), response));
      const length = response.headers.get("content-encoding") ? null : response.headers.get("content-length");
      const size = range ? range.size : length === null ? undefined : Number(length);
      return {
        tag: tag(response.headers),
        from: response.status === 416 ? part.from : (range?.from ?? 0),
        body: (response.status === 416 ? null : response.body) ?? new Blob().stream(),
        ...(size !== undefined && { size }),
      };
    },
  };
}

async function ask(url: string, signal: AbortSignal, part?: Part): Promise<Response> {
  const headers = new Headers();
  if (part) headers.set("Range", `bytes=${part.from}-${part.to === undefined ? "" : part.to - 1}`);
  // Elsewhere this header needs a permission that hubs do not give; the answer's tag is looked at anyway.
  if (part?.from && part.tag && !part.tag.startsWith("W/") && isOwn(url)) headers.set("If-Range", part.tag);
  try {
    return await fetch(url, { headers, signal, cache: "no-store" }); // kept in the store, not twice
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Unreachable(await whyNot(url));
  }
}

const isOwn = (url: string) => new URL(url).origin === self.location.origin;

/** An address as it is read: without the page's own origin. */
export function shown(url: string): string {
  const { host, pathname } = new URL(url, self.location.href);
  const path = decodeURI(pathname);
  return isOwn(url) ? path.slice(1) : host + path;
}

/** Of a 206; a 416 has the size alone. */
function contentRange({ headers }: Response): { from: number; size: number } | undefined {
  const found = /^bytes (?:(\d+)-\d+|\*)\/(\d+)$/.exec(headers.get("content-range") ?? "");
  return found ? { from: Number(found[1] ?? 0), size: Number(found[2]) } : undefined;
}

function tag(headers: Headers): string {
  const etag = headers.get("etag") ?? "";
  const time = headers.get("last-modified") ?? "";
  return etag.startsWith("W/") ? time || etag : etag || time;
}

function refusal(url: string, { status, statusText }: Response): string {
  if ((status === 401 || status === 403) && !isOwn(url))
    return `${shown(url)}: the server answered ${status}: the repository is gated or private, or its name is wrong, and this page sends no token; get the files with your account and drop them here.`;
  return `${shown(url)}: the server answered ${status}${statusText ? ` ${statusText}` : ""}; try again later.`;
}

/** Origins that the page's policy kept out. */
const forbidden = new Set<string>();
self.addEventListener?.("securitypolicyviolation", (e) => {
  if (URL.canParse(e.blockedURI)) forbidden.add(new URL(e.blockedURI).origin);
});

/** Why a fetch got no answer: only the page's policy says that it was the reason. */
async function whyNot(url: string): Promise<string> {
  if (isOwn(url)) return `${shown(url)}: the server can not be reached.`;
  await new Promise((later) => setTimeout(later, 50)); // the event comes after the error
  const { host, origin } = new URL(url);
  const instead = "get the files some other way and drop them here";
  if (forbidden.has(origin))
    return `${host}: this page's Content-Security-Policy lets models come from huggingface.co and this page's own server only; ${instead}.`;
  return `${host} can not be reached: there is no network, no such server, or it forbids other pages to read its files (CORS); try again, or ${instead}.`;
}
