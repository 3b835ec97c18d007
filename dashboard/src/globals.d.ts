/** The version of the gateway that the page is built into; `null` when it was built by itself. Put in by Vite. */
declare const GATEWAY_VERSION: string | null;
