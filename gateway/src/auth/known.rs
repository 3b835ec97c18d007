//! The table of those who are known, in memory: every request looks here, and none waits for a disk. What is in it is what the state file
//! says ([`Known::replace`]); only when a session was last used is newer here.
//!
//! Bounded: [`MAX_SESSIONS`] and [`MAX_SESSIONS_OF_ONE`], of which the one that was not used for the longest ends, [`super::MAX_USERS`], [`super::MAX_TOKENS`].

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Need, Role, Scope, secret::Print};
use crate::model::Timestamp;

/// Sessions at most; one more ends the one that was not used for the longest.
pub const MAX_SESSIONS: usize = 1_000;
/// Sessions of one user at most, so that nobody ends those of others.
pub const MAX_SESSIONS_OF_ONE: usize = 50;
/// That a session is used is written down no more often.
const NOTE_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Unique.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The Argon2id hash of the password, as a PHC string.
    pub password: String,
    /// When it was made.
    pub created: Timestamp,
    /// When role or password were changed last.
    pub changed: Option<Timestamp>,
}

/// Somebody who logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Of the secret in the cookie.
    pub print: Print,
    /// Whose it is.
    pub user: String,
    /// When they logged in.
    pub created: Timestamp,
    /// When it was used last, to a day.
    pub used: Timestamp,
}

/// What a script has instead of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id, never used again.
    pub number: i64,
    /// Of the secret.
    pub print: Print,
    /// Whose it is: it does no more than they may.
    pub user: String,
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself; `None`: never.
    pub expires: Option<Timestamp>,
}

/// Everybody, as they are written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    /// The users.
    pub accounts: Vec<Account>,
    /// Who is logged in.
    pub sessions: Vec<Session>,
    /// The tokens.
    pub tokens: Vec<Token>,
}

/// Who makes a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user's name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Of a token: what it is for; `None` for a session.
    pub scopes: Option<Vec<Scope>>,
    /// Of a session: its secret's print.
    pub session: Option<Print>,
    /// Cancelled when the session or the token ends, or the user's role changes: what goes on for long listens to it.
    pub ended: CancellationToken,
}

impl Caller {
    /// Whether they may.
    #[must_use]
    pub fn may(&self, need: Need) -> bool {
        let in_scope = |scopes: &Vec<Scope>| scopes.iter().any(|scope| scope.may(need));
        self.role.may(need) && self.scopes.as_ref().is_none_or(in_scope)
    }
}

#[derive(Debug)]
struct Held<T> {
    thing: T,
    ended: CancellationToken,
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// The table.
#[derive(Debug)]
pub struct Known {
    session_lasts: Duration,
    accounts: BTreeMap<String, Account>,
    sessions: HashMap<Print, Held<Session>>,
    tokens: HashMap<Print, Held<Token>>,
}

impl Known {
    /// Nobody. A session that was not used for `session_lasts` is over.
    #[must_use]
    pub fn new(session_lasts: Duration) -> Self {
        Self {
            session_lasts,
            accounts: BTreeMap::new(),
            sessions: HashMap::new(),
            tokens: HashMap::new(),
        }
    }

    /// Everybody, as they are written down now. Who is not among them any more, or has another role, hears so by
    /// [`Caller::ended`].
    pub fn replace(&mut self, people: People) {
        let before = std::mem::take(&mut self.accounts);
        for account in people.accounts {
            self.accounts.insert(account.name.clone(), account);
        }
        let role = |accounts: &BTreeMap<String, Account>, user: &str| {
            accounts.get(user).map(|account| account.role)
        };
        let accounts = &self.accounts;
        let goes_on = |user: &str| role(&before, user) == role(accounts, user);
        let (mut sessions, mut tokens) = (HashMap::new(), HashMap::new());
        for mut session in people.sessions {
            let mut ended = CancellationToken::new();
            if let Some(held) = self.sessions.get_mut(&session.print) {
                session.used = session.used.max(held.thing.used);
                if goes_on(&session.user) {
                    ended = std::mem::take(&mut held.ended);
                }
            }
            let held = Held {
                thing: session,
                ended,
            };
            sessions.insert(held.thing.print, held);
        }
        for token in people.tokens {
            let mut ended = CancellationToken::new();
            if let Some(held) = self.tokens.get_mut(&token.print)
                && goes_on(&token.user)
            {
                ended = std::mem::take(&mut held.ended);
            }
            let held = Held {
                thing: token,
                ended,
            };
            tokens.insert(held.thing.print, held);
        }
        // What is left of the old ones ends here.
        self.sessions = sessions;
        self.tokens = tokens;
    }

    /// A session that begins. If all places were taken, or all of this user, the one that was not used for the longest ends.
    pub fn begin(&mut self, session: Session) {
        if self.sessions_of(&session.user) >= MAX_SESSIONS_OF_ONE {
            self.end_oldest(|held| held.thing.user == session.user);
        } else if self.sessions.len() >= MAX_SESSIONS {
            self.end_oldest(|_| true);
        }
        let held = Held {
            thing: session,
            ended: CancellationToken::new(),
        };
        self.sessions.insert(held.thing.print, held);
    }

    fn end_oldest(&mut self, among: impl Fn(&Held<Session>) -> bool) {
        let oldest = self
            .sessions
            .iter()
            .filter(|(_, held)| among(held))
            .min_by_key(|(_, held)| held.thing.used)
            .map(|(print, _)| *print);
        if let Some(print) = oldest {
            self.sessions.remove(&print);
        }
    }

    /// A session that ends. Whether there was one.
    pub fn end(&mut self, print: &Print) -> bool {
        self.sessions.remove(print).is_some()
    }

    /// Whose session this is. `true` with it: that it is used should be written down.
    pub fn by_session(&mut self, print: &Print, now: Timestamp) -> Option<(Caller, bool)> {
        let lasts = self.session_lasts;
        let held = self.sessions.get_mut(print)?;
        let unused = since(held.thing.used, now);
        if unused > lasts {
            return None;
        }
        let account = self.accounts.get(&held.thing.user)?;
        let note = unused > NOTE_EVERY.min(lasts / 2);
        if note {
            held.thing.used = now;
        }
        let caller = Caller {
            name: account.name.clone(),
            role: account.role,
            scopes: None,
            session: Some(*print),
            ended: held.ended.clone(),
        };
        Some((caller, note))
    }

    /// Whose token this is.
    #[must_use]
    pub fn by_token(&self, print: &Print, now: Timestamp) -> Option<Caller> {
        let held = self.tokens.get(print)?;
        if is_over(&held.thing, now) {
            return None;
        }
        let account = self.accounts.get(&held.thing.user)?;
        Some(Caller {
            name: account.name.clone(),
            role: account.role,
            scopes: Some(held.thing.scopes.clone()),
            session: None,
            ended: held.ended.clone(),
        })
    }

    /// Ends what is over by now; gives the sessions and tokens that are, to be forgotten on disk too.
    pub fn expire(&mut self, now: Timestamp) -> (Vec<Print>, Vec<Print>) {
        let lasts = self.session_lasts;
        let sessions: Vec<Print> = self
            .sessions
            .extract_if(|_, held| since(held.thing.used, now) > lasts)
            .map(|(print, _)| print)
            .collect();
        let tokens: Vec<Print> = self
            .tokens
            .extract_if(|_, held| is_over(&held.thing, now))
            .map(|(print, _)| print)
            .collect();
        (sessions, tokens)
    }

    /// A user.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.get(name)
    }

    /// All users, by name.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// All tokens, the oldest first.
    #[must_use]
    pub fn tokens(&self) -> Vec<Token> {
        let mut tokens: Vec<Token> = self
            .tokens
            .values()
            .map(|held| held.thing.clone())
            .collect();
        tokens.sort_by_key(|token| token.number);
        tokens
    }

    /// How many sessions a user has.
    #[must_use]
    pub fn sessions_of(&self, user: &str) -> usize {
        let theirs = |held: &&Held<Session>| held.thing.user == user;
        self.sessions.values().filter(theirs).count()
    }

    /// Whether anybody can say who may what.
    #[must_use]
    pub fn has_admin(&self) -> bool {
        self.accounts().any(|account| account.role == Role::Admin)
    }
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    let nanos = now.0.saturating_sub(then.0);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

fn is_over(token: &Token, now: Timestamp) -> bool {
    token.expires.is_some_and(|end| end <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600 * 1_000;

    fn account(name: &str, role: Role) -> Account {
        Account {
            name: name.to_owned(),
            role,
            password: String::new(),
            created: Timestamp(0),
            changed: None,
        }
    }

    fn session(n: u16, user: &str, used_ms: i64) -> Session {
        let mut print = [0; 32];
        print[..2].copy_from_slice(&n.to_be_bytes());
        Session {
            print,
            user: user.to_owned(),
            created: Timestamp(0),
            used: Timestamp::from_millis(used_ms),
        }
    }

    fn token(scopes: &[Scope], expires: Option<Timestamp>) -> Token {
        Token {
            number: 1,
            print: [9; 32],
            user: String::from("anna"),
            name: String::from("script"),
            scopes: scopes.to_vec(),
            created: Timestamp(0),
            expires,
        }
    }

    fn known(people: People) -> Known {
        let mut known = Known::new(Duration::from_secs(30 * 24 * 3_600));
        known.replace(people);
        known
    }

    #[test]
    fn a_session_is_over_when_it_was_not_used_for_long_and_lasts_while_it_is() {
        let people = People {
            accounts: vec![account("anna", Role::Viewer)],
            sessions: vec![session(1, "anna", 0), session(2, "anna", 0)],
            tokens: Vec::new(),
        };
        let mut known = known(people);
        let (one, two) = (session(1, "", 0).print, session(2, "", 0).print);
        let mut noted = 0;
        for day in 0..60 {
            let found = known.by_session(&one, Timestamp::from_millis(day * DAY));
            noted += usize::from(found.unwrap().1);
        }
        assert!((25..35).contains(&noted), "written down {noted} times");
        let now = Timestamp::from_millis(59 * DAY);
        assert!(known.by_session(&two, now).is_none());
        assert_eq!(known.expire(now), (vec![two], vec![]));
        assert!(known.by_session(&one, now).is_some());
    }

    #[test]
    fn one_session_too_many_ends_the_one_that_was_not_used_for_the_longest() {
        let users: Vec<String> = (0..30).map(|n| format!("u{n:02}")).collect();
        let mut known = known(People {
            accounts: users
                .iter()
                .map(|name| account(name, Role::Viewer))
                .collect(),
            ..People::default()
        });
        known.begin(session(0, "u00", 5));
        let print = session(0, "", 0).print;
        let oldest = known.by_session(&print, Timestamp(0)).unwrap().0;
        for n in 1..1_000_u16 {
            known.begin(session(n, &users[usize::from(n) % 25], 10));
        }
        assert!(!oldest.ended.is_cancelled());
        known.begin(session(1_000, "u29", 11));
        assert!(oldest.ended.is_cancelled());
        assert_eq!(known.sessions.len(), MAX_SESSIONS);
        // Who logs in again and again ends their own.
        for n in 2_000..2_200_u16 {
            known.begin(session(n, "u29", 20));
        }
        assert_eq!(known.sessions_of("u29"), MAX_SESSIONS_OF_ONE);
        let others: usize = users[..29].iter().map(|name| known.sessions_of(name)).sum();
        assert_eq!(others, MAX_SESSIONS - MAX_SESSIONS_OF_ONE);
    }

    #[test]
    fn a_token_does_no_more_than_its_owner_may_now_and_ends_on_time() {
        let people = |role| People {
            accounts: vec![account("anna", role)],
            sessions: Vec::new(),
            tokens: vec![token(&[Scope::Read, Scope::Operate], Some(Timestamp(100)))],
        };
        let mut known = known(people(Role::Operator));
        let caller = known.by_token(&[9; 32], Timestamp(0)).unwrap();
        assert!(caller.may(Need::Operate) && !caller.may(Need::Admin) && !caller.may(Need::Person));
        assert!(!caller.may(Need::Push));
        known.replace(people(Role::Operator));
        assert!(!caller.ended.is_cancelled(), "nothing changed");
        known.replace(people(Role::Viewer));
        assert!(caller.ended.is_cancelled(), "the role did");
        let caller = known.by_token(&[9; 32], Timestamp(0)).unwrap();
        assert!(caller.may(Need::Read) && !caller.may(Need::Operate));
        assert!(known.by_token(&[9; 32], Timestamp(100)).is_none());
        assert_eq!(known.expire(Timestamp(100)).1, vec![[9; 32]]);
        assert!(caller.ended.is_cancelled());
    }

    #[test]
    fn who_is_deleted_is_known_no_more() {
        let everybody = People {
            accounts: vec![account("anna", Role::Admin)],
            sessions: vec![session(1, "anna", 0)],
            tokens: vec![token(&[Scope::Admin], None)],
        };
        let mut known = known(everybody);
        let print = session(1, "", 0).print;
        let (by_session, _) = known.by_session(&print, Timestamp(0)).unwrap();
        let by_token = known.by_token(&[9; 32], Timestamp(0)).unwrap();
        known.replace(People::default());
        assert!(by_session.ended.is_cancelled() && by_token.ended.is_cancelled());
        assert!(known.by_session(&print, Timestamp(0)).is_none() && !known.has_admin());
    }
}
