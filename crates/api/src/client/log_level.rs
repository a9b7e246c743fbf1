//! The client's calls about what a server logs.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::{Client, ClientError};
use crate::LogLevel;

const PATH: &str = "/v1/admin/log-level";

impl Client {
    /// `GET /v1/admin/log-level`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn log_level(&self) -> Result<LogLevel, ClientError> {
        self.parse(&self.get(PATH).await?)
    }

    /// `PUT /v1/admin/log-level`: logs by another filter until the server ends.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn set_log_level(&self, wanted: &LogLevel) -> Result<LogLevel, ClientError> {
        let body = serde_json::to_vec(wanted).expect("a request is plain data");
        let mut request = self.request(Method::PUT, PATH, Bytes::from(body))?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        self.parse(&self.answer(request).await?)
    }
}
