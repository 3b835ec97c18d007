//! Waiting for a state, never for a time to pass.

use std::{fmt::Debug, future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout};

/// How long anything may take before a test calls it lost. Generous: test machines are busy.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Asks `state` again and again until it gives something.
///
/// # Panics
///
/// After [`DEADLINE`], naming `what` was waited for.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut state: impl FnMut() -> F,
) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = state().await {
            return value;
        }
        assert!(
            Instant::now() < until,
            "waited {DEADLINE:?} in vain: {what}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for a future.
///
/// # Panics
///
/// After [`DEADLINE`], naming `what` was waited for.
pub async fn within<T: Debug>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {DEADLINE:?} in vain: {what}"),
    }
}
