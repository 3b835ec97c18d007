-- As the first release wrote it: made by that code, then dumped.
PRAGMA journal_mode = WAL;
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE alerts (id TEXT PRIMARY KEY, state TEXT NOT NULL, changed INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX alerts_by_change ON alerts (changed);
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    webhook TEXT NOT NULL,
    status TEXT NOT NULL,
    body TEXT NOT NULL,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    error TEXT
);
CREATE INDEX deliveries_waiting ON deliveries (webhook, status, number);
CREATE TABLE delivered (webhook TEXT PRIMARY KEY, delivered INTEGER NOT NULL, given_up INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('evaluated', 42);
INSERT INTO alerts VALUES ('a', 'firing', 5000000, '{"id":"a","rule":"hot","series":"boiler/temperature","state":"firing","severity":"critical","summary":"boiler is hot","value":91.5,"unit":"Cel","labels":{"site":"cellar"},"began_ms":5,"fired_ms":5,"resolved_ms":null,"webhooks":[]}');
INSERT INTO deliveries VALUES (8, 'a.firing.ops', 'ops', 'waiting', '{"id":"a.firing.ops","event":"firing","time":"1970-01-01T00:00:00.005Z","device":"boiler","metric":"temperature","began":"1970-01-01T00:00:00.005Z","fired":"1970-01-01T00:00:00.005Z","resolved":null,"rule":"hot","series":"boiler/temperature","state":"firing","severity":"critical","summary":"boiler is hot","value":91.5,"unit":"Cel","labels":{"site":"cellar"},"began_ms":5,"fired_ms":5,"resolved_ms":null,"alert_id":"a"}', 1000000000, 1000000000, 0, NULL);
INSERT INTO delivered VALUES ('ops', 7, 0);
PRAGMA user_version = 1;
