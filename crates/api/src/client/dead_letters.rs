//! The client's calls about dead letters. A place is `PARTITION/OFFSET`.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::path::encode_segment;
use super::{Client, ClientError};
use crate::{DeadLetterAnswer, DeadLettersAnswer};

const PATH: &str = "/v1/admin/dead-letters";

impl Client {
    /// `GET /v1/admin/dead-letters`: a page that begins at a place, or at the first letter.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn dead_letters(
        &self,
        partition: Option<u16>,
        from: Option<&str>,
        limit: u32,
    ) -> Result<DeadLettersAnswer, ClientError> {
        let mut path = format!("{PATH}?limit={limit}");
        if let Some(partition) = partition {
            path.push_str(&format!("&partition={partition}"));
        }
        if let Some(from) = from {
            path.push_str(&format!("&from={}", encode_segment(from)));
        }
        self.parse(&self.get(&path).await?)
    }

    /// `GET /v1/admin/dead-letters/{partition}/{offset}`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn dead_letter(
        &self,
        partition: u16,
        offset: u64,
    ) -> Result<DeadLetterAnswer, ClientError> {
        self.parse(&self.get(&format!("{PATH}/{partition}/{offset}")).await?)
    }

    /// `POST …/replay`: with a corrected event as JSON, or the record as it is. After any error the
    /// same call can be repeated: a letter is counted at most once.
    ///
    /// # Errors
    /// Any [`ClientError`]; the problem `already_replayed` says that it was done before.
    pub async fn replay_dead_letter(
        &self,
        partition: u16,
        offset: u64,
        event: Option<Bytes>,
    ) -> Result<DeadLetterAnswer, ClientError> {
        let path = format!("{PATH}/{partition}/{offset}/replay");
        let has_event = event.is_some();
        let mut request = self.request(Method::POST, &path, event.unwrap_or_default())?;
        if has_event {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
        }
        self.parse(&self.answer(request).await?)
    }

    /// `DELETE /v1/admin/dead-letters/{partition}/{offset}`: it is never counted. A repeat changes
    /// nothing.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn drop_dead_letter(
        &self,
        partition: u16,
        offset: u64,
    ) -> Result<DeadLetterAnswer, ClientError> {
        let path = format!("{PATH}/{partition}/{offset}");
        let request = self.request(Method::DELETE, &path, Bytes::new())?;
        self.parse(&self.answer(request).await?)
    }
}
