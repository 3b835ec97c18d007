//! Who makes the request under way, for handlers: the one place where a name that somebody says becomes the name that is written down.

use crate::{
    alert::silence::{DraftError, person},
    auth::Caller,
};

tokio::task_local! {
    static CALLER: Caller;
}

/// Runs a request as this caller's.
pub(super) async fn scope<F: Future>(caller: Caller, request: F) -> F::Output {
    CALLER.scope(caller, request).await
}

/// Who makes this request; `None` where nobody has to log in.
pub(in super::super) fn caller() -> Option<Caller> {
    CALLER.try_with(Clone::clone).ok()
}

/// The name under which this request is written down: of who logged in, whatever they say; else what they say in `field`.
///
/// # Errors
///
/// When nobody logged in, and what they say is no name.
pub(in super::super) fn who(field: &'static str, said: &str) -> Result<String, DraftError> {
    caller().map_or_else(|| person(field, said), |caller| Ok(caller.name))
}
