//! Logging in: users with roles, sessions in a cookie, tokens for scripts. Switched off, everybody may everything.
//!
//! - What a request needs stands in one table ([`super::NEEDS`]); the [`gate`] holds every request to it before anything else
//!   looks at it.
//! - Who is known lies in memory and is written through to the state file; what another process changes there
//!   (`gateway user`, `gateway token`) holds within two seconds.
//! - A session or token that ends, for whatever reason, ends the live streams that were opened with it.
//! - While no admin exists, one can be made with a link that is logged: whoever reads the log of the gateway is trusted. Its
//!   secret is another one after each start, and is good for one use.
//! - Passwords are looked at here only, two at once; guessing is slowed by address and by name, and unknown names take as long as
//!   known ones.
//!
//! Not here: TLS, and the names and origins that are answered at all ([`super::guard`]).

mod caller;
mod desk;
mod gate;
mod sessions;
mod tokens;
mod users;

use std::{sync::Arc, time::Duration};

use axum::{Router, http::StatusCode};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio_util::sync::CancellationToken;

use self::desk::Desk;
pub(super) use self::{
    caller::{caller, who},
    gate::gate,
};
use super::{Api, problem::Problem};
use crate::{
    clock::Clock,
    state::{PeopleError, State, StateError},
};

/// How people log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginConfig {
    /// A session that was not used for this long is over. Default 30 d.
    pub session_lasts: Duration,
    /// Whether the gateway itself speaks TLS: then browsers send the cookie only so.
    pub is_tls: bool,
    /// In the cookie's name, as browsers don't tell ports of one host apart.
    pub port: u16,
    /// Where people reach the page, for the link of the first admin; without a slash at the end.
    pub page: String,
}

/// The handle; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Login(Option<Arc<Desk>>);

#[derive(Clone, Debug, Default)]
struct Metrics {
    failed: Counter,
    limited: Counter,
    unauthorized: Counter,
}

impl Metrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for (name, help, counter) in [
            (
                "gateway_logins_failed",
                "Logins with a wrong name or password",
                &metrics.failed,
            ),
            (
                "gateway_logins_limited",
                "Logins that were not looked at: too many failed before them, or too many were under way",
                &metrics.limited,
            ),
            (
                "gateway_http_unauthorized",
                "HTTP requests of nobody who is known",
                &metrics.unauthorized,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        metrics
    }
}

impl Login {
    /// Nobody has to log in.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Reads who is known and follows changes until `stop`. Says in the log how the first admin is made, if there is none.
    ///
    /// # Errors
    ///
    /// When the state file can't be read.
    pub async fn start(
        config: LoginConfig,
        state: State,
        clock: Clock,
        registry: &mut Registry,
        stop: CancellationToken,
    ) -> Result<Self, StateError> {
        let desk = Arc::new(Desk::new(config, state, clock, Metrics::new(registry)));
        let version = desk.version().await?;
        desk.refresh().await?;
        tokio::spawn(Arc::clone(&desk).follow(version, stop));
        Ok(Self(Some(desk)))
    }

    /// Who looks at logins, for what makes no sense without one.
    fn desk(&self) -> Result<&Arc<Desk>, Problem> {
        self.0.as_ref().ok_or_else(|| {
            Problem::new(
                StatusCode::CONFLICT,
                "nobody has to log in here: it is switched off in [http] of the config",
            )
        })
    }
}

pub(super) fn router() -> Router<Api> {
    sessions::router()
        .merge(users::router())
        .merge(tokens::router())
}

impl From<PeopleError> for Problem {
    fn from(error: PeopleError) -> Self {
        let status = match &error {
            PeopleError::State(error) => {
                return Self::not_durable("who is known cannot be written down", error);
            }
            PeopleError::UnknownUser | PeopleError::UnknownToken => StatusCode::NOT_FOUND,
            PeopleError::UserTaken
            | PeopleError::TokenTaken
            | PeopleError::LastAdmin
            | PeopleError::SetUp
            | PeopleError::TooManyUsers
            | PeopleError::TooManyTokens => StatusCode::CONFLICT,
        };
        Self::new(status, error.to_string())
    }
}
