//! The `POST /api/v2/write` client, and the only file that names `influxdb2`.
