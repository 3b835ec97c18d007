//! The MQTT connection of one device: its own TCP connection, with the id of the device as client id.
//!
//! At quality 1 and 2 a message counts as acknowledged only when its PUBACK or PUBCOMP came; all others are published
//! anew after a reconnect. The session is clean, so a message of quality 2 whose PUBCOMP was lost is stored twice by
//! a broker; the ledger knows that it was sent again. At quality 0 what is sent while the broker is away is gone.
//!
//! The queue to the connection holds 256 commands; when it is full, sending waits, and so the device falls
//! behind its plan and catches up later, as one with a memory of its own does. What is unacknowledged is bounded by
//! the window of 100 in flight and a queue of 16.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Account, Parcel, TransportError,
    session::{self, Events, Heard, Peer, Publisher, SessionError},
};
use crate::{
    backoff::Backoff,
    ledger::LedgerError,
    plan::Message,
    scenario::{Mqtt, Qos},
};

const COMMANDS: usize = 256;
const IN_FLIGHT: u16 = 100;
/// For the broker to close after our DISCONNECT.
const GOODBYE: Duration = Duration::from_secs(1);

/// The handle to the task of the connection.
#[derive(Debug)]
pub struct MqttLink {
    commands: mpsc::Sender<Command>,
    connected: Arc<AtomicBool>,
    account: Account,
    qos: Qos,
    task: AbortOnDropHandle<Result<(), LedgerError>>,
}

#[derive(Debug)]
enum Command {
    Publish(Parcel),
    Disconnect(Duration),
    Finish,
}

struct Connection {
    peer: Peer,
    mqtt: Mqtt,
    device: String,
    account: Account,
    connected: Arc<AtomicBool>,
    state: Mutex<State>,
    /// Something was acknowledged or went out.
    progress: Notify,
}

#[derive(Default)]
struct State {
    /// At quality 1 and 2, in the order of sending.
    unacknowledged: BTreeMap<u64, Parcel>,
    /// Published on this connection, but not yet gone out.
    queued: VecDeque<u64>,
    /// Which message has which packet id on this connection.
    in_flight: HashMap<u16, u64>,
    finishing: bool,
}

/// Why the feeding of a connection ended.
enum Fed {
    Disconnect(Duration),
    Finished,
    Lost,
}

/// Why the listening to a connection ended.
enum Deaf {
    Session(SessionError),
    Ledger(LedgerError),
}

impl MqttLink {
    pub(super) fn open(device: &str, mqtt: Mqtt, account: Account) -> Self {
        let (commands, queue) = mpsc::channel(COMMANDS);
        let connected = Arc::new(AtomicBool::new(false));
        let qos = mqtt.qos;
        let connection = Connection {
            peer: Peer {
                host: mqtt.host.clone(),
                port: mqtt.port,
                client_id: device.to_owned(),
                login: mqtt
                    .username
                    .clone()
                    .map(|user| (user, mqtt.password.clone().unwrap_or_default())),
                version: mqtt.version,
                in_flight: session::window(mqtt.qos, IN_FLIGHT),
            },
            mqtt,
            device: device.to_owned(),
            account: account.clone(),
            connected: Arc::clone(&connected),
            state: Mutex::default(),
            progress: Notify::new(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(connection.run(queue)));
        Self {
            commands,
            connected,
            account,
            qos,
            task,
        }
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), TransportError> {
        if self.qos == Qos::AtMostOnce && !self.connected.load(Ordering::Acquire) {
            self.account.unsent();
            return Ok(());
        }
        let parcel = self.account.parcel(message);
        self.command(Command::Publish(parcel)).await
    }

    pub(super) async fn disconnect(&mut self, lasts: Duration) -> Result<(), TransportError> {
        self.command(Command::Disconnect(lasts)).await
    }

    pub(super) async fn finish(mut self, patience: Duration) -> Result<(), TransportError> {
        let done = async {
            self.command(Command::Finish).await?;
            (&mut self.task)
                .await
                .map_err(|error| TransportError::Died(Some(error)))?
                .map_err(TransportError::from)
        };
        match timeout(patience, done).await {
            Ok(done) => done,
            Err(_) => {
                tracing::debug!(device = %self.account.device, "unacknowledged messages are left behind");
                Ok(())
            }
        }
    }

    async fn command(&mut self, command: Command) -> Result<(), TransportError> {
        if self.commands.send(command).await.is_ok() {
            return Ok(());
        }
        match (&mut self.task).await {
            Ok(Ok(())) => Err(TransportError::Died(None)),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(TransportError::Died(Some(error))),
        }
    }
}

impl Connection {
    async fn run(self, mut commands: mpsc::Receiver<Command>) -> Result<(), LedgerError> {
        let mut backoff = Backoff::default();
        let mut reported = false;
        loop {
            let (publisher, mut events) = session::open(&self.peer);
            let failure = match events.next().await {
                Ok(Heard::Connected) => None,
                Ok(heard) => Some(format!("unexpected first answer {heard:?}")),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = failure {
                if !std::mem::replace(&mut reported, true) {
                    tracing::warn!(
                        device = %self.device, host = %self.mqtt.host, port = self.mqtt.port, error,
                        "can't reach the broker, trying again"
                    );
                }
                sleep(backoff.next_wait()).await;
                continue;
            }
            backoff.reset();
            if std::mem::take(&mut reported) {
                tracing::info!(device = %self.device, "reached the broker");
            }
            let fed = Box::pin(self.serve(&publisher, &mut events, &mut commands)).await?;
            if matches!(fed, Fed::Finished) {
                return Ok(());
            }
            // Without a DISCONNECT: to the broker this is a device that vanished.
            drop(events);
            match fed {
                Fed::Disconnect(lasts) => sleep(lasts).await,
                _ => sleep(backoff.next_wait()).await,
            }
        }
    }

    /// One connection, from its beginning to its end.
    async fn serve(
        &self,
        publisher: &Publisher,
        events: &mut Events,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Result<Fed, LedgerError> {
        {
            let mut state = self.state();
            state.queued.clear();
            state.in_flight.clear();
        }
        self.connected.store(true, Ordering::Release);
        let mut listen = Box::pin(self.listen(events));
        let ended = tokio::select! {
            deaf = &mut listen => Err(deaf),
            fed = self.feed(publisher, commands) => Ok(fed?),
        };
        self.connected.store(false, Ordering::Release);
        match ended {
            Ok(Fed::Finished) => {
                // Whether the broker closes in time or not, everything is acknowledged.
                let _ = timeout(GOODBYE, listen).await;
                Ok(Fed::Finished)
            }
            Ok(fed) => Ok(fed),
            Err(Deaf::Session(error)) => {
                tracing::warn!(device = %self.device, %error, "lost the broker");
                Ok(Fed::Lost)
            }
            Err(Deaf::Ledger(error)) => Err(error),
        }
    }

    async fn feed(
        &self,
        publisher: &Publisher,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Result<Fed, LedgerError> {
        let left: Vec<Parcel> = self.state().unacknowledged.values().cloned().collect();
        for parcel in left {
            self.account.again(parcel.id)?;
            if self.publish(publisher, &parcel).await.is_err() {
                return Ok(Fed::Lost);
            }
        }
        while !self.state().finishing {
            match commands.recv().await {
                Some(Command::Publish(parcel)) => {
                    self.account.sent(&parcel)?;
                    if self.mqtt.qos != Qos::AtMostOnce {
                        self.state()
                            .unacknowledged
                            .insert(parcel.id, parcel.clone());
                    }
                    if self.publish(publisher, &parcel).await.is_err() {
                        return Ok(Fed::Lost);
                    }
                }
                Some(Command::Disconnect(lasts)) => return Ok(Fed::Disconnect(lasts)),
                Some(Command::Finish) | None => self.state().finishing = true,
            }
        }
        loop {
            let progress = self.progress.notified();
            if self.is_idle() {
                break;
            }
            progress.await;
        }
        Ok(match publisher.goodbye().await {
            Ok(()) => Fed::Finished,
            Err(_) => Fed::Lost,
        })
    }

    async fn publish(&self, publisher: &Publisher, parcel: &Parcel) -> Result<(), SessionError> {
        self.state().queued.push_back(parcel.id);
        let topic = topic(
            &self.mqtt.topic,
            &self.device,
            parcel.message.metric.as_deref(),
        );
        publisher
            .publish(
                &topic,
                self.mqtt.qos,
                self.mqtt.retain,
                parcel.message.payload.clone(),
            )
            .await
    }

    async fn listen(&self, events: &mut Events) -> Deaf {
        loop {
            let heard = match events.next().await {
                Ok(heard) => heard,
                Err(error) => return Deaf::Session(error),
            };
            if let Err(error) = self.hear(heard) {
                return Deaf::Ledger(error);
            }
        }
    }

    fn hear(&self, heard: Heard) -> Result<(), LedgerError> {
        match heard {
            Heard::WentOut(pkid) => {
                let mut state = self.state();
                if let Some(id) = state.queued.pop_front()
                    && pkid != 0
                {
                    state.in_flight.insert(pkid, id);
                }
            }
            Heard::Acknowledged(pkid) => {
                if let Some(id) = self.settled(pkid) {
                    self.account.acknowledged(id)?;
                }
            }
            Heard::Refused(pkid, answer) => {
                if let Some(id) = self.settled(pkid) {
                    self.account.refused(id, &answer)?;
                }
            }
            Heard::Connected | Heard::SaidGoodbye | Heard::Other => return Ok(()),
        }
        self.progress.notify_one();
        Ok(())
    }

    fn settled(&self, pkid: u16) -> Option<u64> {
        let mut state = self.state();
        let id = state.in_flight.remove(&pkid)?;
        state.unacknowledged.remove(&id).map(|parcel| parcel.id)
    }

    fn is_idle(&self) -> bool {
        let state = self.state();
        state.unacknowledged.is_empty() && state.queued.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills `{device}` and `{metric}` in.
fn topic(template: &str, device: &str, metric: Option<&str>) -> String {
    template
        .replace("{metric}", metric.unwrap_or_default())
        .replace("{device}", device)
}
