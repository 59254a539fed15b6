//! The shell around every role's process: settings, logs, metrics, traces, health endpoints and shutdown.
//!
//! It knows nothing of clips, queues or Google.

mod bounds;
mod cloud_log;
mod otlp;

pub mod clock;
pub mod health;
pub mod role;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod trace;
