// The build of the page.

import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here(".."),
  // Relative, so that the built page works under any sub-path of any host.
  base: "./",
  // Models, tasks and their index are copied: the page needs no other host for its first run.
  publicDir: here("public"),
  build: {
    outDir: here("dist"),
    emptyOutDir: true,
    target: "es2022",
    // Nothing is inlined: the page's policy forbids data: scripts and wasm.
    assetsInlineLimit: 0,
    // wasm is copied unchanged; `cargo xtask` checks its size.
    reportCompressedSize: true,
    chunkSizeWarningLimit: 400,
  },
  worker: { format: "es" },
  server: { host: "127.0.0.1" },
});
