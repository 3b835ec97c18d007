import { describe, expect, it } from "vitest";
import { differences } from "../src/components/LossAccount";
import type { Account } from "../src/wire";

const row: Account = {
  source: "push",
  received: 5,
  accepted: 4,
  duplicates: 0,
  rejected: { malformed: 1 },
  dropped: {},
  waiting: 0,
  difference: 0,
  removed: false,
  archives: [
    { archive: "history", carried_over: 0, archived: 4, waiting: 0, refused: 0, dropped: 0, difference: 0 },
    { archive: "influxdb", carried_over: 0, archived: 0, waiting: 0, refused: 0, dropped: 0, difference: null },
  ],
};

describe("an account", () => {
  it("that balances has no differences, nor has one that is not known", () => expect(differences(row)).toEqual([]));
  it("says where readings are missing or too many", () => {
    const archives = row.archives.map((archive) => ({ ...archive, difference: -2 }));
    expect(differences({ ...row, difference: 3, archives })).toEqual([
      "3 missing before the disk: lost without being counted",
      "2 too many in History on disk: counted twice",
      "2 too many in InfluxDB: counted twice",
    ]);
  });
});
