//! The client's calls about items and channels: details, reports and what is trending.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::lines::Lines;
use super::path::{encode_segment, push_parameters, segment};
use super::{Client, ClientError, NDJSON};
use crate::{
    AcceptedAnswer, ChannelReportAnswer, ItemDetailsAnswer, ItemReportAnswer, ProblemCode,
    TrendingAnswer,
};

/// What `GET /v1/trending` is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrendingQuery<'a> {
    /// The event type; the server's default is `view`.
    pub event_type: Option<&'a str>,
    /// How far back from now, and back again, such as `1h`.
    pub window: Option<&'a str>,
    /// How many items.
    pub limit: Option<u32>,
}

impl TrendingQuery<'_> {
    /// The path and query.
    pub fn path(&self) -> String {
        let limit = self.limit.map(|limit| limit.to_string());
        let mut path = String::from("/v1/trending");
        let parameters =
            [("type", self.event_type), ("window", self.window), ("limit", limit.as_deref())];
        push_parameters(&mut path, &parameters);
        path
    }
}

/// What `GET /v1/admin/items` is asked; everything where nothing is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct ItemsQuery<'a> {
    /// Only the items of this channel.
    pub channel: Option<&'a str>,
    /// Only items behind this one, which need not be known.
    pub after: Option<&'a str>,
}

impl ItemsQuery<'_> {
    /// The path and query.
    pub fn path(&self) -> String {
        let mut path = String::from("/v1/admin/items");
        push_parameters(&mut path, &[("channel", self.channel), ("after", self.after)]);
        path
    }
}

/// The path of an item's details.
pub fn item_path(item: &str) -> String {
    format!("/v1/items/{}", segment(item))
}

/// The path and query of an item's report, of so many hours or as many as the server likes.
pub fn item_report_path(item: &str, hours: Option<u32>) -> String {
    with_hours(format!("{}/report", item_path(item)), hours)
}

/// The path and query of a channel's report.
pub fn channel_report_path(channel: &str, hours: Option<u32>) -> String {
    with_hours(format!("/v1/channels/{}/report", segment(channel)), hours)
}

/// The path and query of an item's live counts, for a client that reads Server-Sent Events.
pub fn live_path(item: &str, event_type: &str) -> String {
    format!("{}/live?type={}", item_path(item), encode_segment(event_type))
}

fn with_hours(mut path: String, hours: Option<u32>) -> String {
    let hours = hours.map(|hours| hours.to_string());
    push_parameters(&mut path, &[("hours", hours.as_deref())]);
    path
}

impl Client {
    /// `GET /v1/items/{item}`.
    ///
    /// # Errors
    /// Any [`ClientError`]; the problem `unknown_item` says that nothing is known of it.
    pub async fn item(&self, item: &str) -> Result<ItemDetailsAnswer, ClientError> {
        self.parse(&self.get(&item_path(item)).await?)
    }

    /// `GET /v1/admin/items`: all item details of one moment in item order, an [`ItemDetailsAnswer`] a
    /// line.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn items(&self, query: &ItemsQuery<'_>) -> Result<Lines, ClientError> {
        Ok(self.lines(&query.path()).await?.1)
    }

    /// `PUT /v1/items/{item}`: replaces all that was known of the item; gives it as it is stored.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn put_item(
        &self,
        details: &ItemDetailsAnswer,
    ) -> Result<ItemDetailsAnswer, ClientError> {
        let body = serde_json::to_vec(details).expect("details are plain data with text keys");
        let mut request = self.request(Method::PUT, &item_path(&details.item), body.into())?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        self.parse(&self.answer(request).await?)
    }

    /// `DELETE /v1/items/{item}`: forgets what is known of it.
    ///
    /// # Errors
    /// Any [`ClientError`]; the problem `unknown_item` says that nothing was known of it.
    pub async fn delete_item(&self, item: &str) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &item_path(item), Bytes::new())?;
        self.answer(request).await.map(drop)
    }

    /// `POST /v1/items`: one object a line, each with its `item`. When every line was refused the
    /// answer has `accepted` 0 and the verdicts.
    ///
    /// # Errors
    /// Any [`ClientError`]; after one nothing was written, or all of it, and the same lines can be
    /// sent again.
    pub async fn send_items(&self, lines: Bytes) -> Result<AcceptedAnswer, ClientError> {
        let mut request = self.request(Method::POST, "/v1/items", lines)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
        match self.answer(request).await {
            Ok(body) => self.parse(&body),
            Err(ClientError::Problem { problem, .. })
                if problem.code == ProblemCode::AllRejected.as_str() =>
            {
                Ok(AcceptedAnswer { accepted: 0, rejected: problem.rejected })
            }
            Err(error) => Err(error),
        }
    }

    /// `GET /v1/items/{item}/report`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn item_report(
        &self,
        item: &str,
        hours: Option<u32>,
    ) -> Result<ItemReportAnswer, ClientError> {
        self.parse(&self.get(&item_report_path(item, hours)).await?)
    }

    /// `GET /v1/channels/{channel}/report`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn channel_report(
        &self,
        channel: &str,
        hours: Option<u32>,
    ) -> Result<ChannelReportAnswer, ClientError> {
        self.parse(&self.get(&channel_report_path(channel, hours)).await?)
    }

    /// `GET /v1/trending`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn trending(&self, query: &TrendingQuery<'_>) -> Result<TrendingAnswer, ClientError> {
        self.parse(&self.get(&query.path()).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_percent_encoded() {
        assert_eq!(item_path("a/b ü"), "/v1/items/a%2Fb%20%C3%BC");
        assert_eq!(item_path(".."), "/v1/items/%2E%2E");
        assert_eq!(item_report_path("a", Some(48)), "/v1/items/a/report?hours=48");
        assert_eq!(channel_report_path(".", None), "/v1/channels/%2E/report");
        assert_eq!(live_path("a/b", "view"), "/v1/items/a%2Fb/live?type=view");
        let query = TrendingQuery { window: Some("15m"), limit: Some(3), ..Default::default() };
        assert_eq!(query.path(), "/v1/trending?window=15m&limit=3");
        let query = ItemsQuery { channel: Some("c/1"), after: Some("a&b") };
        assert_eq!(query.path(), "/v1/admin/items?channel=c%2F1&after=a%26b");
        assert_eq!(ItemsQuery::default().path(), "/v1/admin/items");
    }
}
