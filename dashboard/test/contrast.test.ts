/** WCAG 2.2 contrast of the style sheet's colours, in both schemes: 4.5 for text, 3 for signs and lines. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const css = readFileSync(new URL("../src/style.css", import.meta.url), "utf8");

function variables(block: string): Map<string, string> {
  return new Map([...block.matchAll(/--([a-z-]+):\s*(#[0-9a-f]{6})/g)].map((match) => [match[1] ?? "", match[2] ?? ""]));
}
const blocks = [...css.matchAll(/:root \{([^}]*)\}/g)].map((match) => variables(match[1] ?? ""));
const schemes = { light: blocks[0] ?? new Map(), dark: blocks[1] ?? new Map() };

function luminance(hex: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const part = parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(a: string, b: string): number {
  const [light = 0, dark = 0] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (light + 0.05) / (dark + 0.05);
}

const TEXT: [string, string][] = [
  ...["surface", "ground", "raised"].flatMap((ground): [string, string][] => [
    ["ink", ground],
    ["ink-quiet", ground],
  ]),
  ...["accent", "good", "warning", "critical", "info", "chart-text"].map((ink): [string, string] => [ink, "surface"]),
  ["accent", "ground"],
  ["surface", "accent"],
  ...["warning", "critical", "info"].flatMap((tone): [string, string][] => [
    [tone, `${tone}-ground`],
    ["ink", `${tone}-ground`],
    ["ink-quiet", `${tone}-ground`],
    ["accent", `${tone}-ground`],
  ]),
];

describe.each(Object.entries(schemes))("in %s", (_, colours) => {
  it.each(TEXT)("%s on %s can be read", (ink, ground) => {
    expect(contrast(colours.get(ink) ?? "", colours.get(ground) ?? "")).toBeGreaterThanOrEqual(4.5);
  });
  it("the chart's line stands out", () => {
    expect(contrast(colours.get("chart-line") ?? "", colours.get("surface") ?? "")).toBeGreaterThanOrEqual(3);
  });
});
