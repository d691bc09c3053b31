// Where a model's files come from: a server or the user. Each file can be read from an offset.

import type { ModelSource, ModelUrls } from "./sources";

/** A range of a file's bytes. */
export interface ByteRange {
  from: number;
  /** The end, exclusive; the end of the file if absent. */
  to?: number;
  /** Identifies the version of the bytes before `from`. */
  tag?: string;
}

/** An opened part of a file. */
export interface FilePart {
  /** The size of the whole file in bytes; absent if the server does not report it. */
  size?: number;
  /** Identifies this version of the file; empty if nothing does. */
  tag: string;
  /** Where the body starts: not at the requested offset if the server does not support ranges. */
  from: number;
  body: ReadableStream<Uint8Array>;
}

/** A source of a model's files. */
export interface Origin {
  /** Opens a part of a file; `undefined` if the file does not exist. */
  open(file: string, part: ByteRange, signal: AbortSignal): Promise<FilePart | undefined>;
  /** The name of a file in error messages. */
  shown(file: string): string;
}

/** The source cannot be reached now; kept files may still be used. */
export class Unreachable extends Error {}

/** The origin of a model's files. */
export const origin = (model: string, source: ModelSource): Origin =>
  "files" in source ? ownFiles(model, source.files) : server(source);

function ownFiles(model: string, files: File[]): Origin {
  const shown = (file: string) => `${model}/${file}`;
  return {
    shown,
    open: async (name, { from, to }) => {
      if (files.length === 0)
        throw new Unreachable(`${shown(name)}: only a part of the file is kept; drop the folder again.`);
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
        // Content-Range of another origin is readable only if CORS allows it: otherwise, get the whole file.
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

async function ask(url: string, signal: AbortSignal, part?: ByteRange): Promise<Response> {
  const headers = new Headers();
  if (part) headers.set("Range", `bytes=${part.from}-${part.to === undefined ? "" : part.to - 1}`);
  // On other origins this header needs a permission that hubs do not grant; the tag of the response is checked anyway.
  if (part?.from && part.tag && !part.tag.startsWith("W/") && isOwn(url)) headers.set("If-Range", part.tag);
  try {
    return await fetch(url, { headers, signal, cache: "no-store" }); // kept in the store, not twice
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Unreachable(await whyNot(url));
  }
}

const isOwn = (url: string) => new URL(url).origin === self.location.origin;

/** An address for people to read: without the page's own origin. */
export function shown(url: string): string {
  const { host, pathname } = new URL(url, self.location.href);
  const path = decodeURI(pathname);
  return isOwn(url) ? path.slice(1) : host + path;
}

/** The range of a 206 response; a 416 response has only the size. */
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
    return `${shown(url)}: the server answered ${status}: the repository is gated or private, or its name is wrong. This page sends no token: download the files with your account and drop them here.`;
  return `${shown(url)}: the server answered ${status}${statusText ? ` ${statusText}` : ""}; try again later.`;
}

/** Origins that the page's Content-Security-Policy blocked. */
const forbidden = new Set<string>();
self.addEventListener?.("securitypolicyviolation", (e) => {
  if (URL.canParse(e.blockedURI)) forbidden.add(new URL(e.blockedURI).origin);
});

/** Why a fetch failed: only the page's policy reports that it was the cause. */
async function whyNot(url: string): Promise<string> {
  if (isOwn(url)) return `${shown(url)}: the server cannot be reached.`;
  await new Promise((later) => setTimeout(later, 50)); // the event follows the error
  const { host, origin } = new URL(url);
  const instead = "download the files another way and drop them here";
  if (forbidden.has(origin))
    return `${host}: this page's Content-Security-Policy allows models from huggingface.co and this page's own server only; ${instead}.`;
  return `${host} cannot be reached: the network is down, the server does not exist, or it does not let other pages read its files (CORS); try again, or ${instead}.`;
}
