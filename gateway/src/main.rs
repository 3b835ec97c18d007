//! The gateway: a thin shell around the library.

fn main() {}
