//! The client's calls about audits.

use bytes::Bytes;
use hyper::Method;

use super::{Client, ClientError};
use crate::{AuditAnswer, AuditsAnswer};

/// Where audits are.
pub const AUDITS: &str = "/v1/admin/audits";

impl Client {
    /// `GET /v1/admin/audits`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn audits(&self) -> Result<AuditsAnswer, ClientError> {
        self.parse(&self.get(AUDITS).await?)
    }

    /// `POST /v1/admin/audits`: makes a live audit now and waits for what it finds.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn audit_now(&self) -> Result<AuditAnswer, ClientError> {
        let request = self.request(Method::POST, AUDITS, Bytes::new())?;
        self.parse(&self.answer(request).await?)
    }
}
