//! The client's calls about keys.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::{Client, ClientError, encode_segment};
use crate::{CreatedKeyAnswer, KeyAnswer, KeyRequest, KeysAnswer};

const PATH: &str = "/v1/admin/keys";

impl Client {
    /// `GET /v1/admin/keys`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn keys(&self) -> Result<KeysAnswer, ClientError> {
        self.parse(&self.get(PATH).await?)
    }

    /// `POST /v1/admin/keys`: makes a key. Its secret is in this answer and nowhere else.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn create_key(&self, wanted: &KeyRequest) -> Result<CreatedKeyAnswer, ClientError> {
        let body = serde_json::to_vec(wanted).expect("a request is plain data");
        let mut request = self.request(Method::POST, PATH, Bytes::from(body))?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        self.parse(&self.answer(request).await?)
    }

    /// `DELETE /v1/admin/keys/{id}`: ends a key for ever.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn revoke_key(&self, id: &str) -> Result<KeyAnswer, ClientError> {
        let path = format!("{PATH}/{}", encode_segment(id));
        let request = self.request(Method::DELETE, &path, Bytes::new())?;
        self.parse(&self.answer(request).await?)
    }
}
