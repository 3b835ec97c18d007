/**
 * The service worker: lets the page be opened while the gateway is away. Built into `sw.js` with the list of the page's files.
 *
 * It never shows an old page while the gateway answers: a place is always asked of the gateway first, and only the files whose
 * names hold a hash of their content, or that came with this build, are taken from the cache. Readings and the REST interface it
 * leaves alone.
 */
const FILES = __FILES__;
const ROOT = new URL("./", self.location.href).href;
const OWN = `page ${new URL(ROOT).pathname} `;
const CACHE = OWN + __BUILD__;
/** A gateway that hangs is away, in milliseconds. */
const PATIENCE_MS = 10_000;

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      await cache.addAll(["", ...FILES].map((path) => new Request(new URL(path, ROOT), { cache: "no-cache" })));
      await self.skipWaiting();
    })(),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) {
        if (name.startsWith(OWN) && name !== CACHE) await caches.delete(name);
      }
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || !request.url.startsWith(ROOT)) return;
  const path = url.pathname.slice(new URL(ROOT).pathname.length);
  if (request.mode === "navigate") {
    if (!path.startsWith("api/")) event.respondWith(place(request));
  } else if (FILES.includes(path)) {
    event.respondWith(file(request));
  }
});

async function file(request) {
  const cache = await caches.open(CACHE);
  return (await cache.match(request, { ignoreSearch: true })) ?? fetch(request);
}

async function place(request) {
  try {
    const answer = await fetch(request, { signal: AbortSignal.timeout(PATIENCE_MS) });
    // What a proxy says when the gateway is away.
    if (![502, 503, 504].includes(answer.status)) return answer;
    return (await shell()) ?? answer;
  } catch (error) {
    const kept = await shell();
    if (kept === null) throw error;
    return kept;
  }
}

/** The page of this build. Its files are named relative to the root, and the place may be deeper. */
async function shell() {
  const kept = await (await caches.open(CACHE)).match(ROOT);
  if (kept === undefined) return null;
  const html = (await kept.text()).replaceAll('="./', `="${ROOT}`);
  return new Response(html, { headers: kept.headers });
}
