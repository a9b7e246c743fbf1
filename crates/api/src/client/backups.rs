//! The client's calls about backups.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::{Client, ClientError};
use crate::{BackupAnswer, BackupRequest, BackupsAnswer};

const PATH: &str = "/v1/admin/backups";

impl Client {
    /// `POST /v1/admin/backups`: begins a backup and does not wait for its end.
    ///
    /// # Errors
    /// Any [`ClientError`]; the problem `backup_under_way` says that another one is being written.
    pub async fn begin_backup(&self, wanted: &BackupRequest) -> Result<BackupAnswer, ClientError> {
        let body = serde_json::to_vec(wanted).expect("a path is plain text");
        let mut request = self.request(Method::POST, PATH, Bytes::from(body))?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        self.parse(&self.answer(request).await?)
    }

    /// `GET /v1/admin/backups`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn backups(&self) -> Result<BackupsAnswer, ClientError> {
        self.parse(&self.get(PATH).await?)
    }
}
