//! Who is known, and whether a password is theirs. [`Desk::refresh`] is the only way by which what is written down gets into memory, but for a
//! session that begins.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::{HeaderValue, StatusCode, header};
use subtle::ConstantTimeEq as _;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{LoginConfig, Metrics};
use crate::{
    auth::{
        Caller, Known, Session, is_name,
        limit::Tries,
        password::{self, PasswordError},
        secret::{self, Print},
    },
    cause,
    clock::Clock,
    http::problem::Problem,
    state::{PeopleChange, State, StateError},
};

/// Passwords that are hashed at once: 19 MiB each.
const MAX_HASHING: usize = 2;
/// Logins that wait for that; further ones are answered 429.
const MAX_WAITING: usize = 16;
/// How often it is looked whether something ended, or another process changed something.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A failed login is a line in the audit trail, but no more often than this after the first few: guessing must not push out
/// what others did.
const TELL_EVERY: Duration = Duration::from_secs(600);
const TOLD_AT_ONCE: u32 = 10;

#[derive(Debug)]
pub(super) struct Desk {
    config: LoginConfig,
    cookie: String,
    state: State,
    clock: Clock,
    // std: held for a look only.
    known: Mutex<Known>,
    /// What was read later must not be replaced by what was read before.
    refreshing: tokio::sync::Mutex<()>,
    tries: Mutex<Tries>,
    hashing: Arc<Semaphore>,
    waiting: Semaphore,
    /// The hash of no password.
    nobody: Mutex<Option<String>>,
    /// Of the link for the first admin, while there is none.
    setup: Mutex<Option<String>>,
    failures: Mutex<Failures>,
    metrics: Metrics,
}

/// Failed logins as they are told.
#[derive(Debug, Default)]
struct Failures {
    told: u32,
    last: Option<Instant>,
    untold: u64,
}

impl Desk {
    pub(super) fn new(config: LoginConfig, state: State, clock: Clock, metrics: Metrics) -> Self {
        Self {
            cookie: format!("gateway_{}", config.port),
            known: Mutex::new(Known::new(config.session_lasts)),
            config,
            state,
            clock,
            refreshing: tokio::sync::Mutex::default(),
            tries: Mutex::default(),
            hashing: Arc::new(Semaphore::new(MAX_HASHING)),
            waiting: Semaphore::new(MAX_WAITING),
            nobody: Mutex::default(),
            setup: Mutex::default(),
            failures: Mutex::default(),
            metrics,
        }
    }

    /// The name of the session's cookie.
    pub(super) fn cookie(&self) -> &str {
        &self.cookie
    }

    pub(super) const fn is_tls(&self) -> bool {
        self.config.is_tls
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn version(&self) -> Result<i64, StateError> {
        self.state.changed_by_others().await
    }

    /// Takes what is written down now.
    pub(super) async fn refresh(&self) -> Result<(), StateError> {
        let turn = self.refreshing.lock().await;
        let people = self.state.people().await?;
        self.known().replace(people);
        drop(turn);
        self.offer_setup();
        Ok(())
    }

    /// While there is no admin: the link with which one is made, once for each secret.
    fn offer_setup(&self) {
        let has_admin = self.known().has_admin();
        let mut setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        if has_admin {
            *setup = None;
        } else if setup.is_none() {
            match secret::fresh() {
                Ok(secret) => {
                    let link = format!("{}/#setup={secret}", self.config.page);
                    tracing::warn!(%link, "nobody can log in yet: open this link to make the first admin; it is good for one use");
                    *setup = Some(secret);
                }
                Err(_) => tracing::error!("the system has no random numbers: no admin can be made"),
            }
        }
    }

    /// Ends what is over and takes what other processes changed, until `stop`.
    pub(super) async fn follow(self: Arc<Self>, mut version: i64, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let (sessions, tokens) = self.known().expire(self.clock.now());
            let over = !sessions.is_empty() || !tokens.is_empty();
            // What can't be deleted now is over all the same, and is deleted after the next start.
            if over && let Err(error) = self.state.forget(sessions, tokens).await {
                tracing::debug!(error = %cause::chain(&error), "sessions that are over stay in the state file");
            }
            let Ok(now) = self.version().await else {
                continue;
            };
            if now != version {
                match self.refresh().await {
                    Ok(()) => version = now,
                    Err(error) => {
                        tracing::debug!(error = %cause::chain(&error), "who is known cannot be read");
                    }
                }
            }
        }
    }

    /// Changes who is known; it holds when this returns.
    pub(super) async fn change(&self, change: PeopleChange, by: String) -> Result<i64, Problem> {
        let done = self.state.change_people(change, by).await?;
        let refreshed = self.refresh().await;
        refreshed.map_err(|error| Problem::internal("who is known cannot be read", &error))?;
        Ok(done)
    }

    pub(super) fn by_token(&self, token: &str) -> Option<Caller> {
        self.known()
            .by_token(&secret::print(token), self.clock.now())
    }

    pub(super) fn by_session(&self, print: &Print) -> Option<Caller> {
        let now = self.clock.now();
        let (caller, note) = self.known().by_session(print, now)?;
        if note {
            let (state, print) = (self.state.clone(), *print);
            tokio::spawn(async move {
                if let Err(error) = state.session_used(print, now).await {
                    tracing::debug!(error = %cause::chain(&error), "that a session is used cannot be written down");
                }
            });
        }
        Some(caller)
    }

    /// Nobody who is known.
    pub(super) fn unauthorized(&self, with_token: bool) -> Problem {
        self.metrics.unauthorized.inc();
        let (detail, challenge) = if with_token {
            (
                "this token is not known: it may have been revoked, or be over",
                r#"Bearer realm="gateway", error="invalid_token""#,
            )
        } else {
            (
                "log in first; scripts send a token: Authorization: Bearer TOKEN",
                r#"Bearer realm="gateway""#,
            )
        };
        Problem::new(StatusCode::UNAUTHORIZED, detail).with(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        )
    }

    /// Looks at name and password, and begins a session: gives its secret.
    pub(super) async fn log_in(
        &self,
        name: &str,
        password: String,
        from: Option<IpAddr>,
    ) -> Result<String, Problem> {
        // What can't be a name is nobody's; and the table of tries keeps no long texts.
        let name = if is_name(name) { name } else { "" };
        let hash = self.check(name, password, from).await?;
        let secret = secret::fresh().map_err(|_| no_random())?;
        let now = self.clock.now();
        let session = Session {
            print: secret::print(&secret),
            user: name.to_owned(),
            created: now,
            used: now,
        };
        let from = shown(from);
        match self.state.begin_session(session.clone(), hash, from).await {
            Ok(true) => {}
            // It was changed while it was looked at.
            Ok(false) => return Err(wrong()),
            // A disk that refuses is when people must see the page.
            Err(error) => tracing::warn!(
                error = %cause::chain(&error), user = name,
                "a login cannot be written down: it ends with this run"
            ),
        }
        self.known().begin(session);
        Ok(secret)
    }

    /// Whether this is the password of this user; gives its hash. Guessing is slowed here, whoever asks.
    pub(super) async fn check(
        &self,
        name: &str,
        password: String,
        from: Option<IpAddr>,
    ) -> Result<String, Problem> {
        let tried = self.tries().take(from, name, Instant::now());
        if let Err(wait) = tried {
            self.metrics.limited.inc();
            return Err(too_many(
                wait,
                "too many failed logins: wait before the next try",
            ));
        }
        let account = self.known().account(name).cloned();
        let hash = match &account {
            Some(account) => account.password.clone(),
            None => self.nobody().await?,
        };
        let against = hash.clone();
        let looked = self
            .hash(move || password::is_right(&password, &against))
            .await;
        let right = match looked {
            Ok(right) => right,
            Err(problem) => {
                self.tries().give_back(from, name, Instant::now());
                return Err(problem);
            }
        };
        if right && account.is_some() {
            self.tries().give_back(from, name, Instant::now());
            return Ok(hash);
        }
        self.metrics.failed.inc();
        self.tell_failure(name, from).await;
        Err(wrong())
    }

    /// The hash of a new password, if it is good enough.
    pub(super) async fn new_password(&self, name: &str, new: String) -> Result<String, Problem> {
        let unusable = |error: PasswordError| Problem::bad_request(error.to_string());
        password::check(name, &new).map_err(unusable)?;
        let hashed = self.hash(move || password::hash(&new)).await?;
        hashed.map_err(|error| Problem::unavailable(error.to_string()))
    }

    /// Whether this is the secret of the link for the first admin. It stays good until an admin is there.
    pub(super) fn may_set_up(&self, secret: &str, from: Option<IpAddr>) -> Result<(), Problem> {
        let tried = self.tries().take(from, "", Instant::now());
        tried.map_err(|wait| too_many(wait, "too many tries: wait before the next one"))?;
        let setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        let good = setup
            .as_ref()
            .is_some_and(|kept| bool::from(kept.as_bytes().ct_eq(secret.as_bytes())));
        drop(setup);
        if good {
            self.tries().give_back(from, "", Instant::now());
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "this link is not good any more: the log of the gateway has the newest one, while there is no admin",
        ))
    }

    pub(super) async fn log_out(&self, caller: &Caller) {
        let Some(print) = caller.session else { return };
        self.known().end(&print);
        let ended = self.state.end_session(print, caller.name.clone()).await;
        if let Err(error) = ended {
            tracing::warn!(
                error = %cause::chain(&error), user = caller.name,
                "a logout cannot be written down: the session is known again after a restart"
            );
        }
    }

    fn tries(&self) -> MutexGuard<'_, Tries> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A hash that takes as long to look at as that of a user.
    async fn nobody(&self) -> Result<String, Problem> {
        let kept = self
            .nobody
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(hash) = kept {
            return Ok(hash);
        }
        let secret = secret::fresh().map_err(|_| no_random())?;
        let hashed = self.hash(move || password::hash(&secret)).await?;
        let hash = hashed.map_err(|error| Problem::unavailable(error.to_string()))?;
        *self.nobody.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash.clone());
        Ok(hash)
    }

    /// Off the network's threads, a few at once.
    async fn hash<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let Ok(_place) = self.waiting.try_acquire() else {
            self.metrics.limited.inc();
            return Err(too_many(
                Duration::from_secs(5),
                "too many logins are under way: try again",
            ));
        };
        let stopping = || Problem::unavailable("the gateway is stopping");
        let turn = Arc::clone(&self.hashing).acquire_owned().await;
        let turn = turn.map_err(|_| stopping())?;
        // The turn goes along: who gives up meanwhile must not let one more in.
        let worked = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        worked.await.map_err(|_| stopping())
    }

    async fn tell_failure(&self, name: &str, from: Option<IpAddr>) {
        let (more, log) = {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let rested = failures
                .last
                .is_none_or(|last| now.duration_since(last) >= TELL_EVERY);
            if rested {
                failures.told = 0;
            }
            if failures.told >= TOLD_AT_ONCE {
                failures.untold += 1;
                return;
            }
            failures.told += 1;
            failures.last = Some(now);
            (std::mem::take(&mut failures.untold), failures.told == 1)
        };
        if log {
            tracing::warn!(
                user = name,
                from = shown(from),
                "a login failed; further ones are in the audit trail and counted in gateway_logins_failed_total"
            );
        }
        let told = self.state.login_failed(name.to_owned(), shown(from), more);
        if let Err(error) = told.await {
            tracing::debug!(error = %cause::chain(&error), "a failed login cannot be written down");
        }
    }
}

pub(super) fn shown(from: Option<IpAddr>) -> String {
    from.map_or_else(|| String::from("unknown"), |from| from.to_string())
}

/// One sentence for all: it must not tell which names there are.
fn wrong() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "name or password is wrong").with(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(r#"Bearer realm="gateway""#),
    )
}

fn no_random() -> Problem {
    Problem::unavailable("the system has no random numbers: try again")
}

fn too_many(wait: Duration, detail: &str) -> Problem {
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
    match HeaderValue::try_from(format!("{seconds:.0}")) {
        Ok(wait) => problem.with(header::RETRY_AFTER, wait),
        Err(_) => problem,
    }
}
