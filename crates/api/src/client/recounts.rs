//! The client's calls about recounts and repairs.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::{Client, ClientError};
use crate::{RecountAnswer, RecountRequest, RecountsAnswer, RepairAnswer, RepairsAnswer};

const RECOUNTS: &str = "/v1/admin/recounts";
const REPAIRS: &str = "/v1/admin/repairs";

impl Client {
    /// `POST /v1/admin/recounts`: begins a recount.
    ///
    /// # Errors
    /// Any [`ClientError`]; the problem `conflict` says that another is running.
    pub async fn start_recount(
        &self,
        recount: &RecountRequest,
    ) -> Result<RecountAnswer, ClientError> {
        let body = serde_json::to_vec(recount).expect("strings and numbers are JSON");
        let mut request = self.request(Method::POST, RECOUNTS, body.into())?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        self.parse(&self.answer(request).await?)
    }

    /// `GET /v1/admin/recounts`: those since the server started.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn recounts(&self) -> Result<RecountsAnswer, ClientError> {
        self.parse(&self.get(RECOUNTS).await?)
    }

    /// `GET /v1/admin/recounts/{id}`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn recount(&self, id: u64) -> Result<RecountAnswer, ClientError> {
        self.parse(&self.get(&format!("{RECOUNTS}/{id}")).await?)
    }

    /// `DELETE /v1/admin/recounts/{id}`: ends it, soon.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn stop_recount(&self, id: u64) -> Result<RecountAnswer, ClientError> {
        let request = self.request(Method::DELETE, &format!("{RECOUNTS}/{id}"), Bytes::new())?;
        self.parse(&self.answer(request).await?)
    }

    /// `POST /v1/admin/recounts/{id}/repair`: corrects what it found.
    ///
    /// # Errors
    /// Any [`ClientError`]; the problem `conflict` says that there is nothing to repair.
    pub async fn repair(&self, id: u64) -> Result<RepairAnswer, ClientError> {
        self.post_nothing(&format!("{RECOUNTS}/{id}/repair")).await
    }

    /// `GET /v1/admin/repairs`: corrections that nobody has confirmed.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn repairs(&self) -> Result<RepairsAnswer, ClientError> {
        self.parse(&self.get(REPAIRS).await?)
    }

    /// `POST /v1/admin/repairs/{generation}/confirm`: what it replaced is no longer kept.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn confirm_repair(&self, generation: u64) -> Result<RepairAnswer, ClientError> {
        self.post_nothing(&format!("{REPAIRS}/{generation}/confirm")).await
    }

    /// `POST /v1/admin/repairs/{generation}/revert`: takes it back, as a generation of its own.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn revert_repair(&self, generation: u64) -> Result<RepairAnswer, ClientError> {
        self.post_nothing(&format!("{REPAIRS}/{generation}/revert")).await
    }

    async fn post_nothing(&self, path: &str) -> Result<RepairAnswer, ClientError> {
        self.parse(&self.answer(self.request(Method::POST, path, Bytes::new())?).await?)
    }
}
