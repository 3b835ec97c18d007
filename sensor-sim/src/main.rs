//! The binary `sensor-sim`: a thin shell around the library.

fn main() -> std::process::ExitCode {
    sensor_sim::cli::main()
}
