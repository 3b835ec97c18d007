//! Limits on guessing: who tries too often waits. A bucket of tries for each address and each name; a try that was right is given back.
//!
//! Bounded: [`MAX_BUCKETS`]; when full, the one that is nearest to being full again is forgotten: those under attack stay. Pure: time is
//! handed in.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use tokio::time::Instant;

/// Addresses and names that are remembered.
pub const MAX_BUCKETS: usize = 4_096;
/// Tries of one address in a row, and then one in so long.
const OF_ADDRESS: Pace = Pace {
    burst: 10.0,
    every: Duration::from_secs(10),
};
/// Tries for one name, from wherever. More than of one address: else one guesser locks a person out.
const OF_NAME: Pace = Pace {
    burst: 20.0,
    every: Duration::from_secs(5),
};

#[derive(Clone, Copy, Debug)]
struct Pace {
    burst: f64,
    every: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Name(String),
}

impl Key {
    const fn pace(&self) -> Pace {
        match self {
            Self::Address(_) => OF_ADDRESS,
            Self::Name(_) => OF_NAME,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn left_at(&self, pace: Pace, now: Instant) -> f64 {
        let gained = now.duration_since(self.at).as_secs_f64() / pace.every.as_secs_f64();
        (self.left + gained).min(pace.burst)
    }
}

/// The tries of all.
#[derive(Debug, Default)]
pub struct Tries {
    buckets: HashMap<Key, Bucket>,
}

impl Tries {
    /// Takes one try of this address for this name.
    ///
    /// # Errors
    ///
    /// How long to wait; nothing was taken then.
    pub fn take(
        &mut self,
        address: Option<IpAddr>,
        name: &str,
        now: Instant,
    ) -> Result<(), Duration> {
        let keys = keys(address, name);
        for key in &keys {
            let pace = key.pace();
            let left = self
                .buckets
                .get(key)
                .map_or(pace.burst, |bucket| bucket.left_at(pace, now));
            if left < 1.0 {
                return Err(pace.every.mul_f64(1.0 - left).max(Duration::from_secs(1)));
            }
        }
        for key in keys {
            self.change(key, -1.0, now);
        }
        Ok(())
    }

    /// The try was right, or was none: it is given back.
    pub fn give_back(&mut self, address: Option<IpAddr>, name: &str, now: Instant) {
        for key in keys(address, name) {
            self.change(key, 1.0, now);
        }
    }

    fn change(&mut self, key: Key, by: f64, now: Instant) {
        let pace = key.pace();
        if self.buckets.len() >= MAX_BUCKETS && !self.buckets.contains_key(&key) {
            self.make_room(now);
        }
        let bucket = self.buckets.entry(key).or_insert(Bucket {
            left: pace.burst,
            at: now,
        });
        bucket.left = (bucket.left_at(pace, now) + by).min(pace.burst);
        bucket.at = now;
    }

    fn make_room(&mut self, now: Instant) {
        self.buckets
            .retain(|key, bucket| bucket.left_at(key.pace(), now) < key.pace().burst);
        if self.buckets.len() < MAX_BUCKETS {
            return;
        }
        let missing =
            |key: &Key, bucket: &Bucket| key.pace().burst - bucket.left_at(key.pace(), now);
        let nearest = self
            .buckets
            .iter()
            .min_by(|a, b| missing(a.0, a.1).total_cmp(&missing(b.0, b.1)))
            .map(|(key, _)| key.clone());
        if let Some(key) = nearest {
            self.buckets.remove(&key);
        }
    }
}

fn keys(address: Option<IpAddr>, name: &str) -> Vec<Key> {
    let address = address.map(|address| Key::Address(network(address)));
    address
        .into_iter()
        .chain([Key::Name(name.to_lowercase())])
        .collect()
}

/// Of IPv6 the first 64 bits: who has one address there has all of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_guesses_waits_and_others_do_not() {
        let mut tries = Tries::default();
        let start = Instant::now();
        for n in 0..10 {
            assert_eq!(tries.take(address(1), &format!("name{n}"), start), Ok(()));
        }
        let wait = tries.take(address(1), "another", start).unwrap_err();
        assert_eq!(wait, Duration::from_secs(10));
        assert_eq!(tries.take(address(2), "another", start), Ok(()));
        assert_eq!(tries.take(address(1), "another", start + wait), Ok(()));
        assert!(tries.take(address(1), "another", start + wait).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_guessed_from_everywhere_waits_and_a_right_try_costs_nothing() {
        let mut tries = Tries::default();
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(tries.take(address(1), "anna", now), Ok(()));
            tries.give_back(address(1), "anna", now);
        }
        for n in 0..20 {
            assert_eq!(tries.take(address(n), "anna", now), Ok(()));
        }
        assert!(tries.take(address(99), "Anna", now).is_err());
        assert_eq!(tries.take(address(99), "berta", now), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_who_waits_is_not_forgotten_for_it() {
        let mut tries = Tries::default();
        let now = Instant::now();
        for _ in 0..10 {
            tries.take(address(1), "anna", now).unwrap();
        }
        for n in 0..20_000_u32 {
            let [_, _, high, low] = n.to_be_bytes();
            let net = u16::from_be_bytes([high, low]);
            let spread = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, 1));
            assert_eq!(tries.take(Some(spread), &format!("name{n}"), now), Ok(()));
        }
        assert!(
            tries.buckets.len() <= MAX_BUCKETS,
            "{}",
            tries.buckets.len()
        );
        assert!(tries.take(address(1), "berta", now).is_err());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_guesser() {
        let network_of = |text: &str| network(text.parse().unwrap());
        assert_eq!(network_of("2001:db8::1"), network_of("2001:db8::ffff:1"));
        assert_ne!(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"));
        assert_eq!(network_of("::ffff:192.0.2.1"), network_of("192.0.2.1"));
    }
}
