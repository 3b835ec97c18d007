//! `gateway user` and `gateway token`: who may do what, from the command line. They write to the state file of the config's `data_dir`, each
//! change in one transaction. A gateway that runs meanwhile takes it within two seconds; one that does not finds it at its start.
//!
//! For whoever may write that file: no password is asked for. What another version of the gateway wrote is left alone.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::{Failure, check};
use crate::{
    auth::{NAME_RULE, Role, Scope, is_name, password, secret},
    clock::Clock,
    model::Timestamp,
    state::{PeopleChange, PeopleFile},
};

/// Who does it, in the audit trail.
const BY: &str = "command line";

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Adds a user; asks for the password, or reads it from standard input
    Add {
        /// Their name
        name: String,
        /// viewer, operator or admin
        #[arg(long, value_parser = role)]
        role: Role,
        /// The config of the gateway
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Gives a user another password; their sessions end
    Passwd {
        /// Their name
        name: String,
        /// The config of the gateway
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Shows the users
    List {
        /// The config of the gateway
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Removes a user with their sessions and tokens
    Remove {
        /// Their name
        name: String,
        /// The config of the gateway
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Makes a token and prints it, this once
    Create {
        /// What it is called
        name: String,
        /// Whose it is: it never does more than they may
        #[arg(long)]
        user: String,
        /// What it is for: metrics, read, push, operate or admin; may be said more than once
        #[arg(long, required = true, value_parser = scope)]
        scope: Vec<Scope>,
        /// After how many days it ends; without it never
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        days: Option<u16>,
        /// The config of the gateway
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Shows the tokens, without their secrets
    List {
        /// The config of the gateway
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Revokes a token
    Revoke {
        /// Its id, as `list` shows it
        id: i64,
        /// The config of the gateway
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| String::from("it is viewer, operator or admin"))
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| String::from("it is metrics, read, push, operate or admin"))
}

pub(super) fn user(command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add { name, role, config } => {
            let mut file = open(&config)?;
            let password = new_password(&name)?;
            let new = PeopleChange::CreateUser {
                name: name.clone(),
                role,
                password,
            };
            change(&mut file, new)?;
            println!("{name} is {role}");
        }
        UserCommand::Passwd { name, config } => {
            let mut file = open(&config)?;
            let password = new_password(&name)?;
            let changed = PeopleChange::ChangeUser {
                name: name.clone(),
                role: None,
                password: Some(password),
                keep: None,
            };
            change(&mut file, changed)?;
            println!("{name} has another password");
        }
        UserCommand::List { config } => {
            let people = open(&config)?
                .people()
                .context("the users cannot be read")?;
            for account in people.accounts {
                let sessions = people.sessions.iter().filter(|s| s.user == account.name);
                println!(
                    "{}\t{}\t{} sessions",
                    account.name,
                    account.role,
                    sessions.count()
                );
            }
        }
        UserCommand::Remove { name, config } => {
            let mut file = open(&config)?;
            change(&mut file, PeopleChange::DeleteUser { name: name.clone() })?;
            println!("{name} is gone");
        }
    }
    Ok(())
}

pub(super) fn token(command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create {
            name,
            user,
            mut scope,
            days,
            config,
        } => {
            let mut file = open(&config)?;
            if !is_name(&name) {
                return Err(anyhow!(NAME_RULE).into());
            }
            scope.sort();
            scope.dedup();
            let people = file.people().context("the users cannot be read")?;
            let owner = people.accounts.iter().find(|account| account.name == user);
            if let Some(owner) = owner
                && let Some(scope) = scope.iter().find(|scope| scope.role() > owner.role)
            {
                let (needed, role) = (scope.role(), owner.role);
                return Err(anyhow!(
                    "the scope {scope} needs the role {needed}, and {user} is {role}"
                )
                .into());
            }
            let fresh = secret::fresh().map_err(|_| anyhow!("the system has no random numbers"))?;
            let secret = format!("{}{fresh}", secret::TOKEN_PREFIX);
            let day_ms = 24 * 3_600 * 1_000;
            let expires = days
                .map(|days| Timestamp::from_millis(now().as_millis() + i64::from(days) * day_ms));
            let new = PeopleChange::CreateToken {
                print: secret::print(&secret),
                user,
                name,
                scopes: scope,
                expires,
            };
            let number = change(&mut file, new)?;
            eprintln!("token {number}; it is shown this once:");
            println!("{secret}");
        }
        TokenCommand::List { config } => {
            let people = open(&config)?
                .people()
                .context("the tokens cannot be read")?;
            for token in people.tokens {
                let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.name()).collect();
                let end = token.expires.map_or_else(
                    || String::from("never ends"),
                    |end| format!("ends {}", end.to_rfc3339()),
                );
                println!(
                    "{}\t{}\t{}\t{}\t{end}",
                    token.number,
                    token.user,
                    token.name,
                    scopes.join(",")
                );
            }
        }
        TokenCommand::Revoke { id, config } => {
            let mut file = open(&config)?;
            change(&mut file, PeopleChange::RevokeToken { number: id })?;
            println!("token {id} is revoked");
        }
    }
    Ok(())
}

fn now() -> Timestamp {
    Clock::system().now()
}

fn open(config: &Path) -> Result<PeopleFile, Failure> {
    let config = check::load(config)?;
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make the folder {}", config.data_dir.display()))?;
    Ok(PeopleFile::open(&config.data_dir).context("nothing was changed")?)
}

fn change(file: &mut PeopleFile, change: PeopleChange) -> Result<i64, Failure> {
    Ok(file
        .change(change, BY, now())
        .context("nothing was changed")?)
}

/// The hash of what is typed, or comes on standard input.
fn new_password(name: &str) -> Result<String, Failure> {
    if !is_name(name) {
        return Err(anyhow!(NAME_RULE).into());
    }
    let typed = if io::stdin().is_terminal() {
        let typed = unseen(&format!("A password for {name}: "))?;
        if unseen("The same again: ")? != typed {
            return Err(anyhow!("the two are not the same: nothing was changed").into());
        }
        typed
    } else {
        line()?
    };
    password::check(name, &typed).context("nothing was changed")?;
    Ok(password::hash(&typed).context("nothing was changed")?)
}

fn line() -> Result<String, Failure> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.context("standard input cannot be read")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A line that does not show while it is typed.
fn unseen(question: &str) -> Result<String, Failure> {
    let mut error = io::stderr();
    let asked = write!(error, "{question}").and_then(|()| error.flush());
    asked.context("the terminal cannot be written")?;
    let shown = tcgetattr(io::stdin()).context("the terminal cannot be asked")?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)
        .context("the terminal cannot be set")?;
    let typed = line();
    let restored = tcsetattr(io::stdin(), OptionalActions::Flush, &shown);
    eprintln!();
    restored.context("the terminal cannot be set back")?;
    typed
}
