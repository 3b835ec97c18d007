//! Which client ids are connected. A client id has one connection: a new one ends the old one, and waits for its end,
//! so that the old one's will comes before the new one's first word.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use smol_str::SmolStr;
use tokio_util::sync::CancellationToken;

use super::router::ConnectionKey;

/// Bounded by the limit on connections.
#[derive(Debug, Default)]
pub(super) struct Registry {
    next: AtomicU64,
    seats: Mutex<HashMap<SmolStr, Seat>>,
}

#[derive(Clone, Debug)]
struct Seat {
    key: ConnectionKey,
    taken_over: CancellationToken,
    gone: CancellationToken,
}

/// A connection's place; dropping it says that the connection has ended.
#[derive(Debug)]
pub(super) struct Membership {
    registry: Arc<Registry>,
    client_id: SmolStr,
    seat: Seat,
}

impl Registry {
    /// Takes the client id. What comes with it resolves when the former holder, who is told to go, has gone.
    pub(super) fn enter(
        self: &Arc<Self>,
        client_id: SmolStr,
    ) -> (Membership, Option<CancellationToken>) {
        let seat = Seat {
            key: self.next.fetch_add(1, Ordering::Relaxed),
            taken_over: CancellationToken::new(),
            gone: CancellationToken::new(),
        };
        let former = self.seats().insert(client_id.clone(), seat.clone());
        if let Some(former) = &former {
            former.taken_over.cancel();
        }
        let membership = Membership {
            registry: Arc::clone(self),
            client_id,
            seat,
        };
        (membership, former.map(|seat| seat.gone))
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<SmolStr, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Membership {
    pub(super) const fn key(&self) -> ConnectionKey {
        self.seat.key
    }

    pub(super) const fn client_id(&self) -> &SmolStr {
        &self.client_id
    }

    /// Cancelled when another connection takes the client id.
    pub(super) const fn taken_over(&self) -> &CancellationToken {
        &self.seat.taken_over
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut seats = self.registry.seats();
        if seats
            .get(&self.client_id)
            .is_some_and(|seat| seat.key == self.seat.key)
        {
            seats.remove(&self.client_id);
        }
        drop(seats);
        self.seat.gone.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_connection_takes_the_id_and_the_first_leaves_it_alone() {
        let registry = Arc::new(Registry::default());
        let (first, none) = registry.enter("a".into());
        assert!(none.is_none());
        let (second, former) = registry.enter("a".into());
        let former = former.unwrap();
        assert!(first.taken_over().is_cancelled() && !former.is_cancelled());
        drop(first);
        assert!(former.is_cancelled());
        assert_eq!(registry.seats().len(), 1);
        drop(second);
        assert!(registry.seats().is_empty());
    }
}
