//! One router of fragments: REST, problem answers, health, metrics, the dashboard's files.
