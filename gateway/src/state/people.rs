//! Users, sessions and tokens. Each change is durable, with its line in the audit trail, when the call returns. Of secrets only hashes come
//! here.
//!
//! Another process may change the same tables while the gateway runs (`gateway user`, `gateway token`: [`PeopleFile`]); each
//! change is one transaction, and [`State::changed_by_others`] tells that there was one.
//!
//! Bounded: [`MAX_USERS`] and [`MAX_TOKENS`] (one more is refused), [`MAX_SESSIONS`] and of one user
//! [`MAX_SESSIONS_OF_ONE`] (the one that was not used for the longest ends).

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::{Value as JsonValue, json};
use thiserror::Error;

use super::{
    State, StateError,
    audit::{self, Action},
    schema,
};
use crate::{
    auth::{
        Account, MAX_SESSIONS, MAX_SESSIONS_OF_ONE, MAX_TOKENS, MAX_USERS, People, Role, Scope,
        Session, Token, secret::Print,
    },
    model::Timestamp,
};

/// A change of who is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeopleChange {
    /// A new user.
    CreateUser {
        /// Unique.
        name: String,
        /// What they may do.
        role: Role,
        /// The hash of the password.
        password: String,
    },
    /// The first admin; refused once there is one.
    FirstAdmin {
        /// Unique; a user of this name becomes the admin.
        name: String,
        /// The hash of the password.
        password: String,
    },
    /// Another role, another password, or both. A new password ends their other sessions.
    ChangeUser {
        /// Whose.
        name: String,
        /// The role; `None`: as it is.
        role: Option<Role>,
        /// The hash of the password; `None`: as it is.
        password: Option<String>,
        /// A session that goes on: of who changes their own password.
        keep: Option<Print>,
    },
    /// A user goes, with sessions and tokens.
    DeleteUser {
        /// Who.
        name: String,
    },
    /// A new token.
    CreateToken {
        /// Of its secret.
        print: Print,
        /// Whose.
        user: String,
        /// What it is called; unique among those of its user.
        name: String,
        /// What it is for.
        scopes: Vec<Scope>,
        /// When it ends; `None`: never.
        expires: Option<Timestamp>,
    },
    /// A token goes.
    RevokeToken {
        /// Which.
        number: i64,
    },
}

/// Why a change was not made. Nothing was changed then.
#[derive(Debug, Error)]
pub enum PeopleError {
    /// The file can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// No such user.
    #[error("there is no user of this name")]
    UnknownUser,
    /// No such token.
    #[error("there is no token with this id: it may have been revoked")]
    UnknownToken,
    /// Two would have one name.
    #[error("there is a user of this name already")]
    UserTaken,
    /// Two would have one name.
    #[error("this user has a token of this name already: revoke it first, or choose another name")]
    TokenTaken,
    /// Nobody could say who may what any more.
    #[error("this is the last admin: make another one first")]
    LastAdmin,
    /// The link was used before.
    #[error("there is an admin already: ask them for a user")]
    SetUp,
    /// The bound.
    #[error("there are {MAX_USERS} users, and no more are taken: delete one first")]
    TooManyUsers,
    /// The bound.
    #[error("there are {MAX_TOKENS} tokens, and no more are taken: revoke one first")]
    TooManyTokens,
}

impl State {
    /// Everybody.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn people(&self) -> Result<People, StateError> {
        self.with(|connection| read(connection)).await
    }

    /// Changes who is known; `by`: who says so. Gives the number of a new token, else 0.
    ///
    /// # Errors
    ///
    /// [`PeopleError`]
    pub async fn change_people(
        &self,
        change: PeopleChange,
        by: String,
    ) -> Result<i64, PeopleError> {
        let now = self.moment().time;
        self.write(move |connection| in_transaction(connection, now, &by, change))
            .await?
    }

    /// Somebody logged in with the password of this hash. `from`: where they are, for the trail. Whether it is still theirs: only then there
    /// is a session.
    ///
    /// # Errors
    ///
    /// [`StateError`]; the session is not written down then.
    pub async fn begin_session(
        &self,
        session: Session,
        hash: String,
        from: String,
    ) -> Result<bool, StateError> {
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            let (now, user) = (session.created, &session.user);
            let begun = transaction
                .prepare_cached(
                    "INSERT INTO sessions (print, user, created, used)
                     SELECT ?1, name, ?3, ?4 FROM users WHERE name = ?2 AND password = ?5",
                )?
                .execute(params![session.print, user, now.0, session.used.0, hash])?;
            if begun == 0 {
                return Ok(false);
            }
            transaction
                .prepare_cached(
                    "DELETE FROM sessions WHERE print IN
                     (SELECT print FROM sessions WHERE user = ?1 ORDER BY used DESC, print LIMIT -1 OFFSET ?2)",
                )?
                .execute(params![user, of(MAX_SESSIONS_OF_ONE)])?;
            transaction
                .prepare_cached(
                    "DELETE FROM sessions WHERE print IN
                     (SELECT print FROM sessions ORDER BY used DESC, print LIMIT -1 OFFSET ?1)",
                )?
                .execute(params![of(MAX_SESSIONS)])?;
            audit::add(&transaction, now, user, Action::LoggedIn, user, &json!({"from": from}))?;
            transaction.commit()?;
            Ok(true)
        })
        .await
    }

    /// Somebody logged out.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn end_session(&self, print: Print, user: String) -> Result<(), StateError> {
        let now = self.moment().time;
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            transaction
                .prepare_cached("DELETE FROM sessions WHERE print = ?1")?
                .execute(params![print])?;
            audit::add(
                &transaction,
                now,
                &user,
                Action::LoggedOut,
                &user,
                &JsonValue::Null,
            )?;
            transaction.commit()
        })
        .await
    }

    /// A session is in use.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn session_used(&self, print: Print, at: Timestamp) -> Result<(), StateError> {
        self.write(move |connection| {
            connection
                .prepare_cached("UPDATE sessions SET used = ?2 WHERE print = ?1")?
                .execute(params![print, at.0])
                .map(drop)
        })
        .await
    }

    /// Sessions and tokens that are over.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn forget(&self, sessions: Vec<Print>, tokens: Vec<Print>) -> Result<(), StateError> {
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            for print in sessions {
                transaction.execute("DELETE FROM sessions WHERE print = ?1", params![print])?;
            }
            for print in tokens {
                transaction.execute("DELETE FROM tokens WHERE print = ?1", params![print])?;
            }
            transaction.commit()
        })
        .await
    }

    /// A line in the trail about tries that failed: the newest, and how many more since the line before.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn login_failed(
        &self,
        name: String,
        from: String,
        more: u64,
    ) -> Result<(), StateError> {
        let now = self.moment().time;
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            let detail = json!({"from": from, "more": more});
            audit::add(
                &transaction,
                now,
                &name,
                Action::LoginFailed,
                &name,
                &detail,
            )?;
            transaction.commit()
        })
        .await
    }

    /// A number that is another one whenever another process has written to the file.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn changed_by_others(&self) -> Result<i64, StateError> {
        self.with(|connection| {
            connection.pragma_query_value(None, "data_version", |row| row.get(0))
        })
        .await
    }
}

/// The same tables, for a process beside the gateway, which may run meanwhile.
#[derive(Debug)]
pub struct PeopleFile {
    connection: Connection,
    path: String,
}

impl PeopleFile {
    /// Opens `state.sqlite` in `dir`, or makes it. A file of another version is left alone: only the gateway itself brings it up to date.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join("state.sqlite");
        Ok(Self {
            connection: schema::open_beside(&path)?,
            path: path.display().to_string(),
        })
    }

    /// Everybody.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub fn people(&self) -> Result<People, StateError> {
        read(&self.connection).map_err(|source| self.failed(source))
    }

    /// As [`State::change_people`].
    ///
    /// # Errors
    ///
    /// [`PeopleError`]
    pub fn change(
        &mut self,
        change: PeopleChange,
        by: &str,
        now: Timestamp,
    ) -> Result<i64, PeopleError> {
        let changed = in_transaction(&mut self.connection, now, by, change);
        changed.map_err(|source| self.failed(source))?
    }

    fn failed(&self, source: rusqlite::Error) -> StateError {
        StateError::Database {
            path: self.path.clone(),
            source,
        }
    }
}

fn in_transaction(
    connection: &mut Connection,
    now: Timestamp,
    by: &str,
    change: PeopleChange,
) -> rusqlite::Result<Result<i64, PeopleError>> {
    // Immediate: what is looked at first must still be so when it is written, whoever else writes.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = apply(&transaction, now, by, change)?;
    if done.is_ok() {
        transaction.commit()?;
    }
    Ok(done)
}

fn apply(
    transaction: &Transaction<'_>,
    now: Timestamp,
    by: &str,
    change: PeopleChange,
) -> rusqlite::Result<Result<i64, PeopleError>> {
    match change {
        PeopleChange::CreateUser {
            name,
            role,
            password,
        } => create_user(transaction, now, by, &name, role, &password),
        PeopleChange::FirstAdmin { name, password } => {
            if admins_beside(transaction, "")? > 0 {
                return Ok(Err(PeopleError::SetUp));
            }
            if role_of(transaction, &name)?.is_some() {
                let (role, password) = (Some(Role::Admin), Some(password));
                return change_user(transaction, now, by, &name, role, password, None);
            }
            create_user(transaction, now, by, &name, Role::Admin, &password)
        }
        PeopleChange::ChangeUser {
            name,
            role,
            password,
            keep,
        } => change_user(transaction, now, by, &name, role, password, keep),
        PeopleChange::DeleteUser { name } => {
            let Some(role) = role_of(transaction, &name)? else {
                return Ok(Err(PeopleError::UnknownUser));
            };
            if role == Role::Admin && admins_beside(transaction, &name)? == 0 {
                return Ok(Err(PeopleError::LastAdmin));
            }
            for sql in [
                "DELETE FROM users WHERE name = ?1",
                "DELETE FROM sessions WHERE user = ?1",
                "DELETE FROM tokens WHERE user = ?1",
            ] {
                transaction.execute(sql, params![name])?;
            }
            let detail = json!({"role": role});
            audit::add(transaction, now, by, Action::UserDeleted, &name, &detail)?;
            Ok(Ok(0))
        }
        PeopleChange::CreateToken {
            print,
            user,
            name,
            scopes,
            expires,
        } => create_token(transaction, now, by, (print, user, name, scopes, expires)),
        PeopleChange::RevokeToken { number } => {
            let found: Option<(String, String)> = transaction
                .query_row(
                    "DELETE FROM tokens WHERE number = ?1 RETURNING user, name",
                    params![number],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let Some((user, name)) = found else {
                return Ok(Err(PeopleError::UnknownToken));
            };
            let detail = json!({"user": user, "name": name});
            let target = number.to_string();
            audit::add(transaction, now, by, Action::TokenRevoked, &target, &detail)?;
            Ok(Ok(0))
        }
    }
}

fn create_user(
    transaction: &Transaction<'_>,
    now: Timestamp,
    by: &str,
    name: &str,
    role: Role,
    password: &str,
) -> rusqlite::Result<Result<i64, PeopleError>> {
    if role_of(transaction, name)?.is_some() {
        return Ok(Err(PeopleError::UserTaken));
    }
    if count(transaction, "users")? >= MAX_USERS {
        return Ok(Err(PeopleError::TooManyUsers));
    }
    transaction.execute(
        "INSERT INTO users (name, role, password, created) VALUES (?1, ?2, ?3, ?4)",
        params![name, role.name(), password, now.0],
    )?;
    let detail = json!({"role": role});
    audit::add(transaction, now, by, Action::UserCreated, name, &detail)?;
    Ok(Ok(0))
}

fn change_user(
    transaction: &Transaction<'_>,
    now: Timestamp,
    by: &str,
    name: &str,
    role: Option<Role>,
    password: Option<String>,
    keep: Option<Print>,
) -> rusqlite::Result<Result<i64, PeopleError>> {
    let Some(before) = role_of(transaction, name)? else {
        return Ok(Err(PeopleError::UnknownUser));
    };
    let after = role.unwrap_or(before);
    let was_admin = before == Role::Admin && after != Role::Admin;
    if was_admin && admins_beside(transaction, name)? == 0 {
        return Ok(Err(PeopleError::LastAdmin));
    }
    transaction.execute(
        "UPDATE users SET role = ?2, changed = ?3 WHERE name = ?1",
        params![name, after.name(), now.0],
    )?;
    let detail = json!({"before": {"role": before}, "after": {"role": after}, "password": password.is_some()});
    if let Some(password) = password {
        transaction.execute(
            "UPDATE users SET password = ?2 WHERE name = ?1",
            params![name, password],
        )?;
        transaction.execute(
            "DELETE FROM sessions WHERE user = ?1 AND print IS NOT ?2",
            params![name, keep],
        )?;
    }
    audit::add(transaction, now, by, Action::UserChanged, name, &detail)?;
    Ok(Ok(0))
}

fn create_token(
    transaction: &Transaction<'_>,
    now: Timestamp,
    by: &str,
    (print, user, name, scopes, expires): (Print, String, String, Vec<Scope>, Option<Timestamp>),
) -> rusqlite::Result<Result<i64, PeopleError>> {
    if role_of(transaction, &user)?.is_none() {
        return Ok(Err(PeopleError::UnknownUser));
    }
    if count(transaction, "tokens")? >= MAX_TOKENS {
        return Ok(Err(PeopleError::TooManyTokens));
    }
    let taken: bool = transaction.query_row(
        "SELECT EXISTS (SELECT 1 FROM tokens WHERE user = ?1 AND name = ?2)",
        params![user, name],
        |row| row.get(0),
    )?;
    if taken {
        return Ok(Err(PeopleError::TokenTaken));
    }
    let words: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
    transaction.execute(
        "INSERT INTO tokens (print, user, name, scopes, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![print, user, name, words.join(" "), now.0, expires.map(|end| end.0)],
    )?;
    let number = transaction.last_insert_rowid();
    let expires = expires.map(Timestamp::to_rfc3339);
    let detail = json!({"user": user, "name": name, "scopes": scopes, "expires": expires});
    let target = number.to_string();
    audit::add(transaction, now, by, Action::TokenCreated, &target, &detail)?;
    Ok(Ok(number))
}

fn role_of(connection: &Connection, name: &str) -> rusqlite::Result<Option<Role>> {
    let found: Option<String> = connection
        .prepare_cached("SELECT role FROM users WHERE name = ?1")?
        .query_row(params![name], |row| row.get(0))
        .optional()?;
    Ok(found.map(|role| as_role(&role)))
}

/// What no version wrote may do least.
fn as_role(name: &str) -> Role {
    Role::parse(name).unwrap_or(Role::Viewer)
}

fn admins_beside(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.query_row(
        "SELECT count(*) FROM users WHERE role = 'admin' AND name <> ?1",
        params![name],
        |row| row.get(0),
    )
}

fn of(bound: usize) -> i64 {
    i64::try_from(bound).unwrap_or(i64::MAX)
}

fn count(connection: &Connection, table: &str) -> rusqlite::Result<usize> {
    let count: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
        row.get(0)
    })?;
    Ok(usize::try_from(count).unwrap_or_default())
}

fn read(connection: &Connection) -> rusqlite::Result<People> {
    let accounts = connection
        .prepare_cached("SELECT name, role, password, created, changed FROM users ORDER BY name")?
        .query_map([], |row| {
            Ok(Account {
                name: row.get(0)?,
                role: as_role(&row.get::<_, String>(1)?),
                password: row.get(2)?,
                created: Timestamp(row.get(3)?),
                changed: row.get::<_, Option<i64>>(4)?.map(Timestamp),
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let sessions = connection
        .prepare_cached("SELECT print, user, created, used FROM sessions")?
        .query_map([], |row| {
            Ok(Session {
                print: row.get(0)?,
                user: row.get(1)?,
                created: Timestamp(row.get(2)?),
                used: Timestamp(row.get(3)?),
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let tokens = connection
        .prepare_cached("SELECT number, print, user, name, scopes, created, expires FROM tokens ORDER BY number")?
        .query_map([], |row| {
            Ok(Token {
                number: row.get(0)?,
                print: row.get(1)?,
                user: row.get(2)?,
                name: row.get(3)?,
                scopes: row.get::<_, String>(4)?.split(' ').filter_map(Scope::parse).collect(),
                created: Timestamp(row.get(5)?),
                expires: row.get::<_, Option<i64>>(6)?.map(Timestamp),
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(People {
        accounts,
        sessions,
        tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PeopleFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = PeopleFile::open(dir.path()).unwrap();
        (dir, file)
    }

    fn user(name: &str, role: Role) -> PeopleChange {
        PeopleChange::CreateUser {
            name: name.to_owned(),
            role,
            password: String::from("$argon2id$"),
        }
    }

    fn token(name: &str, print: u8) -> PeopleChange {
        PeopleChange::CreateToken {
            print: [print; 32],
            user: String::from("anna"),
            name: name.to_owned(),
            scopes: vec![Scope::Read, Scope::Push],
            expires: Some(Timestamp(5)),
        }
    }

    fn change(file: &mut PeopleFile, change: PeopleChange) -> Result<i64, PeopleError> {
        file.change(change, "root", Timestamp(1))
    }

    #[test]
    fn the_last_admin_stays_whatever_is_asked() {
        let (_dir, mut file) = file();
        change(&mut file, user("anna", Role::Admin)).unwrap();
        let delete = PeopleChange::DeleteUser {
            name: String::from("anna"),
        };
        let lower = PeopleChange::ChangeUser {
            name: String::from("anna"),
            role: Some(Role::Viewer),
            password: None,
            keep: None,
        };
        for refused in [delete.clone(), lower] {
            let answer = change(&mut file, refused);
            assert!(matches!(answer, Err(PeopleError::LastAdmin)), "{answer:?}");
        }
        change(&mut file, user("berta", Role::Admin)).unwrap();
        change(&mut file, delete).unwrap();
        assert_eq!(file.people().unwrap().accounts.len(), 1);
    }

    #[test]
    fn the_first_admin_is_made_once() {
        let (_dir, mut file) = file();
        let first = PeopleChange::FirstAdmin {
            name: String::from("anna"),
            password: String::from("$argon2id$"),
        };
        change(&mut file, user("anna", Role::Viewer)).unwrap();
        change(&mut file, first.clone()).unwrap();
        assert_eq!(file.people().unwrap().accounts[0].role, Role::Admin);
        assert!(matches!(change(&mut file, first), Err(PeopleError::SetUp)));
    }

    #[test]
    fn tokens_go_with_their_user_and_have_one_name_each() {
        let (_dir, mut file) = file();
        assert!(matches!(
            change(&mut file, token("t", 1)),
            Err(PeopleError::UnknownUser)
        ));
        change(&mut file, user("berta", Role::Admin)).unwrap();
        change(&mut file, user("anna", Role::Operator)).unwrap();
        let first = change(&mut file, token("t", 1)).unwrap();
        assert!(matches!(
            change(&mut file, token("t", 2)),
            Err(PeopleError::TokenTaken)
        ));
        change(&mut file, PeopleChange::RevokeToken { number: first }).unwrap();
        let second = change(&mut file, token("t", 2)).unwrap();
        assert!(second > first, "numbers are never used again");
        let kept = file.people().unwrap().tokens;
        assert_eq!(kept[0].scopes, [Scope::Read, Scope::Push]);
        let gone = PeopleChange::DeleteUser {
            name: String::from("anna"),
        };
        change(&mut file, gone).unwrap();
        assert_eq!(file.people().unwrap().tokens, []);
    }

    #[test]
    fn one_user_too_many_is_refused_and_so_is_one_token_too_many() {
        let (_dir, mut file) = file();
        change(&mut file, user("anna", Role::Admin)).unwrap();
        for n in 1..MAX_USERS {
            change(&mut file, user(&format!("u{n}"), Role::Viewer)).unwrap();
        }
        assert!(matches!(
            change(&mut file, user("more", Role::Viewer)),
            Err(PeopleError::TooManyUsers)
        ));
        file.connection
            .execute_batch(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                 INSERT INTO tokens (print, user, name, scopes, created) SELECT randomblob(32), 'anna', 't' || i, 'read', 1 FROM n",
            )
            .unwrap();
        assert!(matches!(
            change(&mut file, token("more", 1)),
            Err(PeopleError::TooManyTokens)
        ));
    }

    #[tokio::test]
    async fn sessions_end_with_a_new_password_but_for_the_one_that_changes_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut registry = prometheus_client::registry::Registry::default();
        let clock = crate::clock::Clock::system();
        let state = State::open(dir.path(), &[], clock, &mut registry).unwrap();
        state
            .change_people(user("anna", Role::Admin), String::from("root"))
            .await
            .unwrap();
        for n in 1..=3 {
            let session = Session {
                print: [n; 32],
                user: String::from("anna"),
                created: Timestamp(1),
                used: Timestamp(1),
            };
            let hash = String::from("$argon2id$");
            let begun = state.begin_session(session, hash, String::from("192.0.2.1"));
            assert!(begun.await.unwrap());
        }
        let seen = state.changed_by_others().await.unwrap();
        // Another process, while this one runs.
        let mut beside = PeopleFile::open(dir.path()).unwrap();
        let password = PeopleChange::ChangeUser {
            name: String::from("anna"),
            role: None,
            password: Some(String::from("new")),
            keep: Some([2; 32]),
        };
        change(&mut beside, password).unwrap();
        assert_ne!(state.changed_by_others().await.unwrap(), seen);
        let people = state.people().await.unwrap();
        assert_eq!(people.accounts[0].password, "new");
        assert_eq!(people.sessions.len(), 1);
        assert_eq!(people.sessions[0].print, [2; 32]);
        // Who was asked for the old password, and gave it, while it was changed.
        let late = Session {
            print: [4; 32],
            ..people.sessions[0].clone()
        };
        let begun = state.begin_session(late, String::from("$argon2id$"), String::new());
        assert!(!begun.await.unwrap());
        let trail = state.audit(10).await.unwrap();
        let actions: Vec<&str> = trail.iter().map(|entry| entry.action.as_str()).collect();
        let logins = ["logged_in"; 3];
        assert_eq!(actions[0], "user_changed");
        assert_eq!(actions[1..4], logins);
        assert_eq!(actions[4], "user_created");
        assert!(state.public_audit(10).await.unwrap().is_empty());
        assert!(
            !format!("{trail:?}").contains("argon2"),
            "no hash stands in the trail"
        );
    }

    #[tokio::test]
    async fn a_file_of_another_version_is_left_to_the_gateway() {
        let dir = tempfile::tempdir().unwrap();
        drop(schema::of_format(&dir.path().join("state.sqlite"), 3));
        assert!(matches!(
            PeopleFile::open(dir.path()),
            Err(StateError::Older { .. })
        ));
    }
}
