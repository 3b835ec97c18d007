/** Where the page lies: also below a path of a reverse proxy, and whichever of its places is open. Ends with a slash. */
export const ROOT = new URL(/* @vite-ignore */ "../", import.meta.url).href;
