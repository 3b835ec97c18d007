/** The name that a person gave last, remembered in this browser. For where nobody has to log in: it is what they say. */

const KEY = "name";

export function rememberedName(): string {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    // A browser may forbid it.
    return "";
  }
}

export function rememberName(name: string): void {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // Then it is asked for each time.
  }
}
