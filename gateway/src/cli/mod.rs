//! The command line: `gateway run`, `demo`, `check`, `ports`, `webhook`, `user`, `token`. Exit codes: 0 done, 1 failed, 2 wrong use or wrong config.

mod check;
mod demo;
mod log;
mod people;
mod ports;
mod run;
mod watch;
mod webhook;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// What went wrong, for `main` to print: a wrong config and a failure have exit codes of their own.
#[derive(Debug)]
pub enum Failure {
    /// Exit 2.
    Config(String),
    /// Exit 1.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Takes sensor readings from serial ports, MQTT and HTTP; keeps them, shows them live, raises alerts, archives them.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway
    Run {
        /// The config file; config/start.toml is a start
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Shows everything with simulated devices: no config, no hardware, no other server
    Demo(DemoArguments),
    /// Checks a config and reports all its mistakes at once
    Check {
        /// The config file
        file: PathBuf,
    },
    /// Lists the serial ports of this machine
    Ports,
    /// Tries the webhooks of a config
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Says who may log in; also while the gateway runs
    #[command(subcommand)]
    User(people::UserCommand),
    /// Makes and revokes tokens for scripts; also while the gateway runs
    #[command(subcommand)]
    Token(people::TokenCommand),
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    /// Sends a message that says that it is a test, and shows the real answer
    Test {
        /// The webhook's name
        name: String,
        /// The config file that it is in
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// What `gateway demo` can be told.
#[derive(Debug, clap::Args)]
struct DemoArguments {
    /// Where the page is; without it 127.0.0.1:8080, or a free port if that is taken
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where MQTT devices connect; without it 127.0.0.1:1883, or a free port if that is taken
    #[arg(long, value_name = "ADDRESS")]
    mqtt: Option<SocketAddr>,
    /// Where the data is kept; without it in a temporary folder that is deleted at the end
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Reads the arguments, does what they say, and reports what went wrong on stderr.
#[must_use]
pub fn main() -> ExitCode {
    // clap answers --help and wrong use itself, the latter with exit code 2.
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run { config } => run::run(&config),
        Command::Demo(arguments) => demo::demo(arguments),
        Command::Check { file } => check::check(&file),
        Command::Ports => ports::ports(),
        Command::Webhook(WebhookCommand::Test { name, config }) => webhook::test(&name, &config),
        Command::User(command) => people::user(command),
        Command::Token(command) => people::token(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(text)) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            eprintln!("gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}
