// The npm package `@microsoft/fetch-event-source`, which expects a browser's window: one line of JSON for each event at the
// address given.
globalThis.window = globalThis;
globalThis.document = { addEventListener() {}, removeEventListener() {}, hidden: false };
const { fetchEventSource } = await import("@microsoft/fetch-event-source");

await fetchEventSource(process.argv[2], {
  openWhenHidden: true,
  onmessage({ event, id, data }) {
    // It reports what is only a wait, too.
    if (data !== "") console.log(JSON.stringify({ event, id, data: JSON.parse(data) }));
  },
  onclose() {
    throw new Error("it ended: come back");
  },
});
