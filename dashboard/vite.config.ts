import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

const gateway = process.env["GATEWAY_URL"] ?? "http://127.0.0.1:8080";

/** Puts out the service worker, with the files that it keeps and a name that changes with them. */
function serviceWorker(): Plugin {
  return {
    name: "service-worker",
    apply: "build",
    enforce: "post",
    generateBundle(_, bundle) {
      const made = Object.keys(bundle).filter((name) => name.startsWith("assets/"));
      const given = readdirSync(new URL("public", import.meta.url)).filter((name) => /\.(svg|png|webmanifest)$/.test(name));
      const files = [...made, ...given].sort();
      // Without its words to people: it is no module, which Vite would make small.
      const text = readFileSync(new URL("src/sw.js", import.meta.url), "utf8").replace(/\/\*\*[^]*?\*\/\n?|^\s*\/\/.*\n/gm, "");
      const hash = createHash("sha256").update(text).update(files.join("\n"));
      for (const name of given) hash.update(readFileSync(new URL(`public/${name}`, import.meta.url)));
      const build = JSON.stringify(hash.digest("hex").slice(0, 16));
      const source = text.replace("__FILES__", JSON.stringify(files)).replace("__BUILD__", build);
      this.emitFile({ type: "asset", fileName: "sw.js", source });
    },
  };
}

export default defineConfig({
  // Relative addresses: the page also works below a path of a reverse proxy.
  base: "./",
  plugins: [serviceWorker()],
  // Of the gateway that this page is built into; none when it is built by itself.
  define: { GATEWAY_VERSION: JSON.stringify(process.env["CARGO_PKG_VERSION"] ?? null) },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  // `npm run dev` shows the sources with the readings of a gateway that runs beside it.
  server: {
    proxy: Object.fromEntries(["/api", "/events"].map((path) => [path, { target: gateway, changeOrigin: true }])),
  },
  build: {
    target: "es2022",
    outDir: process.env["GATEWAY_DASHBOARD_OUT"] ?? "dist",
    emptyOutDir: true,
    // `default-src 'self'` allows neither data: addresses nor inline scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
