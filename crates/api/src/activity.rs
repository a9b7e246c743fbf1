//! What came in lately, on the wire.

use serde::{Deserialize, Serialize};

/// `GET /v1/admin/activity`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct ActivityAnswer {
    /// Every two seconds of the last ten minutes, oldest first; fewer after a start.
    pub samples: Vec<ActivitySample>,
}

/// How it stood at a time.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ActivitySample {
    /// When.
    pub time: String,
    /// Events accepted since the server's start.
    pub accepted: u64,
    /// Durable events that were not counted yet.
    pub lag_events: u64,
}
