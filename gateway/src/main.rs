//! The gateway: a thin shell around the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway::cli::main()
}
