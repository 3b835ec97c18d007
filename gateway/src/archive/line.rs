//! Readings as InfluxDB line protocol.
