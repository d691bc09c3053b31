import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here(".."),
  // Relative, so that the built page works under any sub-path of any host.
  base: "./",
  // Models, tasks and their index, as they are: the page needs no other host for its first run.
  publicDir: here("public"),
  build: {
    outDir: here("dist"),
    emptyOutDir: true,
    target: "es2022",
    // Everything is a file of its own: the page's policy allows no data: scripts or wasm.
    assetsInlineLimit: 0,
    // wasm is served as it is; its size is checked by `cargo xtask`.
    reportCompressedSize: true,
    chunkSizeWarningLimit: 400,
  },
  worker: { format: "es" },
  server: { host: "127.0.0.1" },
});
