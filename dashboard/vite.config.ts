import { defineConfig } from "vite";

const gateway = process.env["GATEWAY_URL"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  // Relative addresses: the page also works below a path of a reverse proxy.
  base: "./",
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
