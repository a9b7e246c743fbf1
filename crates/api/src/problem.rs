//! Problem documents (RFC 9457) and their stable codes. A retired code is not used again.

use serde::{Deserialize, Serialize};

/// An error body, `application/problem+json`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A URI reference for the kind of problem: `/problems/<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short text that does not change between occurrences.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code, `snake_case`.
    pub code: String,
    /// What happened this time, and what to do next.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The verdicts of the events, where the body was a batch that was refused whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<crate::RejectedEvent>,
}

impl Problem {
    /// A problem of this code with what happened.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{}", code.as_str()),
            title: code.title().into(),
            status: code.status(),
            code: code.as_str().into(),
            detail: detail.into(),
            rejected: Vec::new(),
        }
    }
}

macro_rules! problem_codes {
    ($($(#[$doc:meta])* $variant:ident => $code:literal, $status:literal, $title:literal;)*) => {
        /// Every code that an error body or a per-event verdict can carry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemCode { $($(#[$doc])* $variant),* }

        impl ProblemCode {
            /// All codes, in the order of their definition.
            pub const ALL: &[ProblemCode] = &[$(ProblemCode::$variant),*];

            /// The stable text of the code.
            pub fn as_str(self) -> &'static str {
                match self { $(ProblemCode::$variant => $code),* }
            }

            /// The HTTP status when a whole request ends so.
            pub fn status(self) -> u16 {
                match self { $(ProblemCode::$variant => $status),* }
            }

            /// The title of the problem.
            pub fn title(self) -> &'static str {
                match self { $(ProblemCode::$variant => $title),* }
            }
        }
    };
}

problem_codes! {
    /// The body, or one event of it, is not JSON or not an event object.
    InvalidJson => "invalid_json", 400, "The body is not valid JSON";
    /// The body is not a readable Avro object container file.
    InvalidAvro => "invalid_avro", 400, "The body is not a readable Avro container file";
    /// The body does not decompress, ends early or is not UTF-8.
    UnreadableBody => "unreadable_body", 400, "The body cannot be read";
    /// A query parameter or header is missing or malformed.
    InvalidParameter => "invalid_parameter", 400, "A parameter is not valid";
    /// The item is missing, empty, over 256 bytes or has control characters.
    InvalidItem => "invalid_item", 422, "The item is not valid";
    /// The event type is empty, over 64 bytes or has other than `a-z 0-9 _ . -`.
    InvalidType => "invalid_type", 422, "The event type is not valid";
    /// The id is empty, over 64 bytes or not printable ASCII.
    InvalidId => "invalid_id", 422, "The event id is not valid";
    /// The time is not RFC 3339 or integer epoch milliseconds.
    InvalidTime => "invalid_time", 422, "The event time is not valid";
    /// The value is not a decimal number or its magnitude is 9.2e12 or more.
    InvalidValue => "invalid_value", 422, "The value is not valid";
    /// More than 16 attributes, or one whose key or value is too long or not a string.
    InvalidAttributes => "invalid_attributes", 422, "The attributes are not valid";
    /// A field of item details is too long, empty or of the wrong kind.
    InvalidDetails => "invalid_details", 422, "The item details are not valid";
    /// The event is older than `max_event_age`.
    EventTooOld => "event_too_old", 422, "The event is too old";
    /// The event is more than 60 s in the future.
    EventInFuture => "event_in_future", 422, "The event lies in the future";
    /// Every event of the batch was refused; `rejected` says why.
    AllRejected => "all_rejected", 422, "Every event of the batch was refused";
    /// The body has no event at all.
    EmptyBatch => "empty_batch", 422, "The batch has no event";
    /// The range is empty, ends before it starts or is out of bounds.
    InvalidRange => "invalid_range", 422, "The range is not valid";
    /// The answer would have too many points or rows.
    TooManyPoints => "too_many_points", 422, "The answer would be too long";
    /// The body is over 16 MiB, compressed or not.
    BodyTooLarge => "body_too_large", 413, "The body is too large";
    /// The batch has over 100,000 events.
    TooManyEvents => "too_many_events", 413, "The batch has too many events";
    /// The content type is not one that is understood.
    UnsupportedMediaType => "unsupported_media_type", 415, "The content type is not understood";
    /// The content encoding is not identity, gzip or zstd.
    UnsupportedEncoding => "unsupported_encoding", 415, "The content encoding is not understood";
    /// The client was too slow to send its body.
    RequestTimeout => "request_timeout", 408, "The request took too long to arrive";
    /// No such path.
    NotFound => "not_found", 404, "There is nothing at this path";
    /// Nothing is known of the item; it may have counts all the same.
    UnknownItem => "unknown_item", 404, "Nothing is known of the item";
    /// The path does not take this method.
    MethodNotAllowed => "method_not_allowed", 405, "The path does not take this method";
    /// The dead letter was replayed already, and is not counted again.
    AlreadyReplayed => "already_replayed", 409, "The dead letter was replayed already";
    /// The dead letter was dropped, and is never counted.
    AlreadyDropped => "already_dropped", 409, "The dead letter was dropped";
    /// An earlier replay broke off, and the log no longer tells whether it was written.
    ReplayUnprovable => "replay_unprovable", 409, "Whether it was replayed can no longer be told";
    /// What was asked for does not fit what is there; the detail says what does.
    Conflict => "conflict", 409, "The request does not fit the state of things";
    /// The record cannot be read as it is; a replay needs a corrected event.
    UnreadableRecord => "unreadable_record", 422, "The record cannot be read";
    /// The server wants a key, and there was none, or one that is wrong, revoked or expired.
    Unauthorized => "unauthorized", 401, "The request needs a valid key";
    /// The key is good, but not for this.
    Forbidden => "forbidden", 403, "The key does not allow this";
    /// More than the rate of the key or of the address; nothing was written.
    RateLimited => "rate_limited", 429, "Too many events or requests";
    /// Another request of the same source is under way; nothing of this one was written.
    SourceBusy => "source_busy", 429, "Another request of this source is under way";
    /// A partition knows as many sources as it can; nothing was written.
    TooManySources => "too_many_sources", 429, "There is no room for another source";
    /// Another backup is being written.
    BackupUnderWay => "backup_under_way", 409, "A backup is under way";
    /// The folder is not absolute, not empty, within the data folder, or cannot be written.
    InvalidFolder => "invalid_folder", 422, "The folder is not valid";
    /// The key that is wanted cannot be; the detail says why.
    InvalidKey => "invalid_key", 422, "The key is not valid";
    /// The change of the routing table breaks a rule; the detail says which.
    InvalidRouting => "invalid_routing", 422, "The routing is not valid";
    /// What is to be logged is no filter.
    InvalidFilter => "invalid_filter", 422, "The filter is not valid";
    /// Nothing was written; send it all again.
    Unavailable => "unavailable", 503, "The events cannot be made durable now";
    /// A queue is full and nothing was written; send it all again.
    Overloaded => "overloaded", 503, "The server is busy";
    /// The server has not caught up since its start, or is stopping.
    NotReady => "not_ready", 503, "The server is not ready";
    /// A write may or may not have happened; with the same ids a retry never counts twice.
    OutcomeUnknown => "outcome_unknown", 503, "It is not known whether the write happened";
    /// A bug or a broken disk; the log of the server says more.
    Internal => "internal", 500, "The server failed";
}

impl ProblemCode {
    /// Whether the same request can succeed later without a change.
    pub fn is_retryable(self) -> bool {
        matches!(self.status(), 503 | 408 | 429)
    }
}
