// Builds the report's page as a single file, into which `apet report` writes a study.

import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Inlines scripts and styles into the page. */
const inOneFile: Plugin = {
  name: "in-one-file",
  enforce: "post",
  generateBundle(_, bundle) {
    const page = Object.values(bundle).find((file) => file.fileName.endsWith(".html"));
    if (page?.type !== "asset") throw new Error("no page in the bundle");
    let text = String(page.source);
    for (const [name, file] of Object.entries(bundle)) {
      if (file === page) continue;
      const own = name.replaceAll(".", "\\.");
      if (file.type === "chunk") {
        // A single file has nothing to preload, and Vite's placeholder would be undefined in it.
        const whole = file.code.replaceAll("__VITE_PRELOAD__", "void 0");
        const code = whole.replaceAll("</script", "<\\/script");
        text = text.replace(new RegExp(`<script[^>]*${own}"></script>`), "");
        text = text.replace("</body>", () => `<script type="module">${code}</script>\n  </body>`);
      } else {
        text = text.replace(new RegExp(`<link[^>]*${own}">`), () => `<style>${String(file.source)}</style>`);
      }
      delete bundle[name];
    }
    page.source = text;
    page.fileName = "report.html";
  },
};

export default defineConfig({
  root: here("."),
  base: "./",
  publicDir: false,
  plugins: [inOneFile],
  build: {
    outDir: here("dist"),
    emptyOutDir: false,
    target: "es2022",
    assetsInlineLimit: Number.MAX_SAFE_INTEGER,
    cssCodeSplit: false,
    modulePreload: false,
    chunkSizeWarningLimit: 4000,
    rollupOptions: { input: here("report.html"), output: { codeSplitting: false } },
  },
});
