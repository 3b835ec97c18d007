import { defineConfig } from "vite";

export default defineConfig({
  // Relative addresses: the page also works below a path of a reverse proxy.
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    outDir: process.env["GATEWAY_DASHBOARD_OUT"] ?? "dist",
    emptyOutDir: true,
    // `default-src 'self'` allows neither data: addresses nor inline scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
