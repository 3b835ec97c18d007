/** What the page costs on the wire, all its parts together. */
import { gzipSync } from "node:zlib";
import { expect, it, vi } from "vitest";
import { build } from "vite";

const KIB = 1024;

it("all scripts and all styles are small", async () => {
  // As it is built for people: Vite builds more into it for tests.
  vi.stubEnv("NODE_ENV", "production");
  const built = await build({ logLevel: "error", build: { write: false } });
  vi.unstubAllEnvs();
  const outputs = (Array.isArray(built) ? built : [built]).flatMap((one) => ("output" in one ? one.output : []));
  const size = (end: string) =>
    outputs
      .filter(({ fileName }) => fileName.endsWith(end))
      .reduce((sum, file) => sum + gzipSync("code" in file ? file.code : file.source).length, 0);
  expect(size(".js")).toBeGreaterThan(20 * KIB);
  expect(size(".js")).toBeLessThanOrEqual(80 * KIB);
  expect(size(".css")).toBeGreaterThan(KIB);
  expect(size(".css")).toBeLessThanOrEqual(9 * KIB);
}, 60_000);
