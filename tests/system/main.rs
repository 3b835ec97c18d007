//! System tests: real gateways, real peers, one binary. Each module is a promise to the user.
#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain has failed")]

/// What was accepted reaches the archive, through outages and refusals.
mod account;
/// Alerts live as their rules say, over kills and reloads.
mod alert_life;
/// What is unlike the usual is noticed without a limit.
mod anomaly;
mod archive;
/// The archive is away in every way there is, and what is fresh goes first afterwards.
mod archive_away;
/// Brokers that go away, forget, limit, refuse and repeat.
mod brokers;
/// The command line: exit codes and what a typing mistake gives.
mod cli;
/// Clocks that are not set, that jump, or that are off.
mod clock;
/// What people do about one alert: the link in its message, closing it, putting it aside.
mod closing;
/// What every source must do.
mod compliance;
/// What a rule can ask, through a broker and over a kill.
mod conditions;
/// The configs that people start from are right.
mod configs;
/// What the archive refuses for good costs only itself, and can be sent again.
mod dead_letters;
/// Silence is told, whatever falls silent.
mod dead_man;
/// What receivers do to their deliveries.
mod deliveries;
/// The demo needs nothing and leaves nothing.
mod demo;
/// What is broken on purpose costs only itself.
mod disk;
mod faults;
/// What a rule makes an alert of does not wait for the card's sake.
mod hastened;
/// Nothing is written while nothing happens.
mod idle;
/// What comes too late, and is told.
mod late;
/// The live stream keeps its word to clients.
mod live;
/// Who may do what, where people log in.
mod login;
/// Devices, webhooks and saved views that people make.
mod made;
/// The whole way, end to end, on real input.
mod main_job;
/// Whatever comes, memory is bounded.
mod memory;
/// Slow and dead neighbours harm nobody else.
mod neighbours;
/// The document about the interface is true.
mod openapi;
/// A restart is invisible.
mod power;
/// A start with a long journal is quick, and forgets nothing.
mod ready;
/// Each kind of webhook is told in its own words; real servers take them.
mod receivers;
/// A changed config touches only what changed.
mod reload;
/// What conditions remember outlives a start that reads little.
mod remembered;
mod restart;
/// A browser goes on with its last event id over restarts and kills.
mod resume;
/// Alerts come in groups, over kills, other routes and storms.
mod routes;
/// Rules that people make are in force, and tried before.
mod rules;
/// Serial ports that are pulled, renamed, flooded, silent, noisy or broken.
mod serial;
/// Acknowledgements and silences hold over kills and at their edges.
mod silences;
/// Simulated sensors through the real gateway, and the reconciliation after.
mod simulated;
/// The live events over WebSocket, and commands.
mod socket;
/// What clients of server-sent events need, on the wire.
mod sse;
/// The clients that people use, cut off in the middle.
mod sse_clients;
/// The code is as docs/ARCHITECTURE.md says.
mod tidy;
/// The page over TLS.
mod tls;
/// Windows over real captures.
mod windows;
