//! What a server logs, on the wire.

use serde::{Deserialize, Serialize};

/// `GET` and `PUT /v1/admin/log-level`, request and answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`, `off`), and modules with levels of their own, with
    /// commas: `info,tally_engine=debug`. It holds until the server ends.
    pub filter: String,
}
