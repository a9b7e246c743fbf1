//! The client's calls about routing.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::{Client, ClientError};
use crate::{RoutingAnswer, RoutingRequest};

/// The path of the routing table.
pub const ROUTING_PATH: &str = "/v1/admin/routing";

impl Client {
    /// `GET /v1/admin/routing`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn routing(&self) -> Result<RoutingAnswer, ClientError> {
        self.parse(&self.get(ROUTING_PATH).await?)
    }

    /// Publishes another version of the table; durable when this returns, and in effect later.
    ///
    /// # Errors
    /// Any [`ClientError`]; the problem `conflict` says that another version is the newest.
    pub async fn change_routing(
        &self,
        wanted: &RoutingRequest,
    ) -> Result<RoutingAnswer, ClientError> {
        let body = serde_json::to_vec(wanted).expect("a change is plain data with text keys");
        let mut request = self.request(Method::POST, ROUTING_PATH, Bytes::from(body))?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        self.parse(&self.answer(request).await?)
    }
}
