//! `gateway ports`: which serial ports there are, and under which stable name.

use super::Failure;
use crate::source::serial;

pub(super) fn ports() -> Result<(), Failure> {
    let ports = serial::ports();
    if ports.is_empty() {
        println!("No serial ports found. Plug an adapter in and try again; `dmesg` shows whether the kernel saw it.");
    }
    for port in ports {
        println!("{port}");
    }
    Ok(())
}
