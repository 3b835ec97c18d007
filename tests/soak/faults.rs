//! What goes wrong, one thing after another, in an order that the seed gives.

use std::{collections::BTreeMap, fmt};

use tests::{Events, sinks::Refusal};

use crate::plant::Plant;

/// Bad messages of one burst.
const GARBAGE: usize = 200;
/// Browsers of one crowd.
const CROWD: usize = 20;
/// Steps that a neighbour stays away at most.
const LONGEST: u32 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    BrokerAway,
    ArchiveAway,
    WebhookRefuses,
    BrowsersComeAndGo,
    BrowsersStall,
    GarbagePushed,
    GatewayHeld,
    Reload,
}

const ALL: [Fault; 8] = [
    Fault::BrokerAway,
    Fault::ArchiveAway,
    Fault::WebhookRefuses,
    Fault::BrowsersComeAndGo,
    Fault::BrowsersStall,
    Fault::GarbagePushed,
    Fault::GatewayHeld,
    Fault::Reload,
];

/// The faults of one run.
pub(crate) struct Faults {
    random: fastrand::Rng,
    /// What lasts, and for how many steps more.
    lasting: Option<(Fault, u32)>,
    /// Connected, and not reading.
    stalled: Vec<Events>,
    happened: BTreeMap<Fault, u32>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            lasting: None,
            stalled: Vec::new(),
            happened: BTreeMap::new(),
        }
    }

    /// Goes on with what lasts, or begins something in one step of two.
    pub(crate) async fn step(&mut self, plant: &mut Plant) {
        match self.lasting.take() {
            Some((fault, 0)) => self.end(fault, plant).await,
            Some((fault, left)) => self.lasting = Some((fault, left - 1)),
            None if self.random.bool() => {
                let fault = ALL[self.random.usize(..ALL.len())];
                *self.happened.entry(fault).or_default() += 1;
                if self.begin(fault, plant).await {
                    self.lasting = Some((fault, self.random.u32(..LONGEST)));
                }
            }
            None => {}
        }
    }

    /// Ends what lasts.
    pub(crate) async fn cease(&mut self, plant: &mut Plant) {
        if let Some((fault, _)) = self.lasting.take() {
            self.end(fault, plant).await;
        }
    }

    /// True if it lasts.
    async fn begin(&mut self, fault: Fault, plant: &mut Plant) -> bool {
        match fault {
            Fault::BrokerAway => plant.broker.stop().await,
            Fault::ArchiveAway => plant.archive.stop().await,
            Fault::BrowsersStall => {
                for _ in 0..CROWD {
                    self.stalled.push(Events::open(&plant.gateway, "").await);
                }
            }
            Fault::GatewayHeld => plant.gateway.signal(rustix::process::Signal::STOP),
            Fault::WebhookRefuses => {
                let answer = Refusal::status(503);
                plant.webhook.refuse(std::iter::repeat_n(answer, 20));
                return false;
            }
            Fault::BrowsersComeAndGo => {
                for _ in 0..CROWD {
                    Events::open(&plant.gateway, "").await.next().await;
                }
                return false;
            }
            Fault::GarbagePushed => {
                for _ in 0..GARBAGE {
                    let bytes: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..))
                        .take(100)
                        .collect();
                    let (status, _) = plant
                        .gateway
                        .post("/api/v1/readings", "application/json", bytes)
                        .await;
                    assert!((400..500).contains(&status), "garbage is refused: {status}");
                }
                return false;
            }
            Fault::Reload => {
                plant.reload().await;
                return false;
            }
        }
        true
    }

    async fn end(&mut self, fault: Fault, plant: &mut Plant) {
        match fault {
            Fault::BrokerAway => plant.broker.start_again().await,
            Fault::ArchiveAway => plant.archive.start_again().await,
            Fault::BrowsersStall => self.stalled.clear(),
            Fault::GatewayHeld => plant.gateway.signal(rustix::process::Signal::CONT),
            Fault::WebhookRefuses
            | Fault::BrowsersComeAndGo
            | Fault::GarbagePushed
            | Fault::Reload => {}
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self
            .happened
            .iter()
            .map(|(fault, times)| format!("{fault:?} {times}"))
            .collect();
        f.write_str(&all.join(", "))
    }
}
