//! HTTP push: `POST /api/v1/readings` and InfluxDB writes; 2xx only when durable.
