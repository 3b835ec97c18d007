// The npm package `eventsource`: one line of JSON for each event at the address given.
import { EventSource } from "eventsource";

const names = ["snapshot", "resume", "readings", "gap", "bye"];
const source = new EventSource(process.argv[2]);
for (const name of names) {
  source.addEventListener(name, ({ type, lastEventId, data }) => {
    console.log(JSON.stringify({ event: type, id: lastEventId, data: JSON.parse(data) }));
  });
}
