//! `gateway ports`: which serial ports there are, and under which stable name.

use super::Failure;
use crate::source::serial;

pub(super) fn ports() -> Result<(), Failure> {
    let ports = serial::ports();
    if ports.is_empty() {
        println!(
            "No serial ports found. Plug an adapter in and try again; `dmesg` shows whether the kernel saw it."
        );
    }
    for port in ports {
        println!("{}", port.device.display());
        if let Some(usb) = &port.usb {
            let words: Vec<&str> = [&usb.manufacturer, &usb.product, &usb.serial_number]
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect();
            println!(
                "    USB {:04x}:{:04x}  {}",
                usb.vendor_id,
                usb.product_id,
                words.join(", ")
            );
        }
        for link in &port.by_id {
            println!("    {}", link.display());
        }
    }
    Ok(())
}
