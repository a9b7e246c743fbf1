//! Which request is worked on, so that log lines can say for whom something was done.
//!
//! It goes along with the task. A span would be written down for every request, whether or not anything is
//! logged of it; this costs a request a few words of memory.

use std::sync::Arc;

/// What names a request in log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestIds {
    /// Printable ASCII without blanks: the client's own, or one that was made.
    pub(crate) id: String,
    /// Of the trace that the request is part of, where the client said so.
    pub(crate) trace: Option<TraceContext>,
}

/// What a `traceparent` says (W3C Trace Context), in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    /// 32 digits, not all zero.
    pub(crate) trace_id: String,
    /// 16 digits, not all zero: the caller's span.
    pub(crate) parent_id: String,
    /// Whether the caller keeps the trace.
    pub(crate) is_sampled: bool,
}

tokio::task_local! {
    static CURRENT: Arc<RequestIds>;
}

/// Does the work of a request in its name.
pub(crate) async fn within<T>(request: Arc<RequestIds>, work: impl Future<Output = T>) -> T {
    CURRENT.scope(request, work).await
}

/// The request that this task works on.
pub(crate) fn current() -> Option<Arc<RequestIds>> {
    CURRENT.try_with(Arc::clone).ok()
}

impl TraceContext {
    /// Reads a `traceparent`; none where it is not as the recommendation wants it, as that asks for.
    /// A later version may say more behind what is known.
    pub(crate) fn read(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace_id, parent_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits
                && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_id = |text, digits| is_hex(text, digits) && text.bytes().any(|byte| byte != b'0');
        let is_well_formed = is_hex(version, 2)
            && version != "ff"
            && is_id(trace_id, 32)
            && is_id(parent_id, 16)
            && is_hex(flags, 2)
            && (version != "00" || parts.next().is_none());
        // Bit 0 of the flags is in the last digit.
        let is_sampled = matches!(
            flags.as_bytes().last(),
            Some(b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f')
        );
        let (trace_id, parent_id) = (trace_id.to_owned(), parent_id.to_owned());
        is_well_formed.then_some(Self { trace_id, parent_id, is_sampled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_recommendation_says() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let good = format!("00-{trace}-b7ad6b7169203331-01");
        let read = TraceContext::read(&good).expect("it is good");
        assert_eq!((read.trace_id.as_str(), read.parent_id.as_str()), (trace, "b7ad6b7169203331"));
        assert!(read.is_sampled);
        let unsampled = TraceContext::read(&format!("00-{trace}-b7ad6b7169203331-00"));
        assert!(unsampled.is_some_and(|trace| !trace.is_sampled));
        let later = format!("cc-{trace}-b7ad6b7169203331-01-what-the-future-holds");
        assert_eq!(TraceContext::read(&later), Some(read));
        let zero = "0".repeat(32);
        for bad in [
            "",
            "00",
            &format!("ff-{trace}-b7ad6b7169203331-01"),
            &format!("00-{zero}-b7ad6b7169203331-01"),
            &format!("00-{trace}-0000000000000000-01"),
            &format!("00-{trace}-b7ad6b7169203331-1"),
            &format!("00-{trace}-b7ad6b7169203331-01-more"),
            &format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()),
            &format!("00-{}-b7ad6b7169203331-01", &trace[1..]),
            &format!("00-{trace}é-b7ad6b7169203331-01"),
        ] {
            assert_eq!(TraceContext::read(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_request_is_known_within_its_work_alone() {
        assert_eq!(current(), None);
        let ids = Arc::new(RequestIds { id: "r1".into(), trace: None });
        let seen = within(ids.clone(), async {
            tokio::task::yield_now().await;
            current()
        });
        assert_eq!(seen.await, Some(ids));
        assert_eq!(current(), None);
    }
}
