//! Bodies of requests: read within a deadline, a size and a memory budget, then decompressed.

use std::future::poll_fn;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use api::ProblemCode;
use axum::body::HttpBody;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use model::limits::BODY_BYTES_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::events::read::ZSTD_WINDOW_LOG_MAX;
use super::problem::Failure;

/// Memory that all bodies in flight may take together, in bytes.
const BUDGET_BYTES: usize = 256 << 20;
/// The budget is counted in pieces of so many bytes.
const PIECE_BYTES: usize = 4 << 10;
/// How long a body may take in any case.
const GRACE: Duration = Duration::from_secs(10);
/// Beyond the grace a body must arrive at this rate on average, in bytes a second: who sends a
/// byte now and then holds neither memory nor a connection for long.
const RATE_MIN: u64 = 32 << 10;
/// A buffer grows by at least so much, in bytes.
const GROWTH_BYTES: usize = 16 << 10;

/// The one type of bodies that change a server or details. A page of another origin cannot send it
/// without the browser asking first, as it can `text/plain`.
pub(crate) const JSON: &[&str] = &["application/json"];

const _: () = assert!(BODY_BYTES_MAX * 2 <= BUDGET_BYTES);

/// Shares the memory for bodies among all requests.
#[derive(Clone)]
pub(crate) struct BodyBudget(Arc<Semaphore>);

impl BodyBudget {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_BYTES / PIECE_BYTES)))
    }

    /// Share of the budget that is in use, 0 to 1.
    pub(crate) fn used(&self) -> f64 {
        1.0 - self.0.available_permits() as f64 / (BUDGET_BYTES / PIECE_BYTES) as f64
    }

    fn room(&self) -> Room {
        Room { budget: self.0.clone(), held: None }
    }

    fn has_room_for(&self, bytes: u64) -> bool {
        bytes <= (self.0.available_permits() * PIECE_BYTES) as u64
    }
}

/// What one request holds of the budget; given back when dropped.
struct Room {
    budget: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Room {
    fn grow_to(&mut self, bytes: usize) -> Result<(), Failure> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(PIECE_BYTES).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).expect("a body is below 4 GiB");
        let more = self.budget.clone().try_acquire_many_owned(missing).map_err(|_| no_room())?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

fn no_room() -> Failure {
    let detail = "the bodies of other requests take all memory that is set aside for them";
    Failure::new(ProblemCode::Overloaded, detail).closing()
}

fn too_large() -> Failure {
    let detail = format!("a body has at most {BODY_BYTES_MAX} bytes; split the batch");
    Failure::new(ProblemCode::BodyTooLarge, detail).closing()
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// What `Content-Encoding` says.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return match headers.contains_key(header::CONTENT_ENCODING) {
                true => Err(unknown_encoding()),
                false => Ok(Self::Identity),
            };
        };
        let is = |name: &[u8]| value.as_bytes().trim_ascii().eq_ignore_ascii_case(name);
        if is(b"identity") {
            Ok(Self::Identity)
        } else if is(b"gzip") || is(b"x-gzip") {
            Ok(Self::Gzip)
        } else if is(b"zstd") {
            Ok(Self::Zstd)
        } else {
            Err(unknown_encoding())
        }
    }
}

fn unknown_encoding() -> Failure {
    let detail = "the Content-Encoding must be one of identity, gzip and zstd";
    Failure::new(ProblemCode::UnsupportedEncoding, detail).closing()
}

/// Refuses a body that says it is of none of these types. Names of types have no case, and parameters such
/// as a charset are nothing to us.
///
/// # Errors
/// 415.
pub(crate) fn expect_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Failure> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if accepted.iter().any(|name| essence.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let detail = format!("the Content-Type must be {}", accepted[0]);
    Err(Failure::new(ProblemCode::UnsupportedMediaType, detail).closing())
}

/// A body in memory, with its share of the budget.
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    room: Room,
}

/// Reads a body as it comes over the wire.
///
/// # Errors
/// 413 when it is too large (by its `Content-Length` before a byte is read), 408 when it is too
/// slow, 503 when there is no memory for it, 400 when it ends early.
pub(crate) async fn read(
    budget: &BodyBudget,
    headers: &HeaderMap,
    mut body: impl HttpBody<Data = Bytes> + Unpin,
) -> Result<ReadBody, Failure> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|value| value.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    if !budget.has_room_for(length.unwrap_or(0)) {
        return Err(no_room());
    }
    let started = Instant::now();
    let mut out = Buffer::new(budget.room());
    loop {
        let at_rate = Duration::from_secs(out.bytes.len() as u64 / RATE_MIN);
        let frame = match frame_at_hand(&mut body).await {
            Some(frame) => frame,
            None => timeout_at(started + GRACE + at_rate, body.frame()).await.map_err(|_| {
                let detail = format!(
                    "a body must arrive within {} s or at {RATE_MIN} bytes a second",
                    GRACE.as_secs()
                );
                Failure::new(ProblemCode::RequestTimeout, detail).closing()
            })?,
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| {
            Failure::new(ProblemCode::UnreadableBody, "the body ended early").closing()
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if out.bytes.is_empty() && length == Some(data.len() as u64) {
            // The usual small body comes in one piece: no copy.
            out.room.grow_to(data.len())?;
            return Ok(ReadBody { bytes: data, room: out.room });
        }
        out.push(&data)?;
    }
    Ok(out.into_body())
}

/// The next frame, if it has arrived; then no timer is needed. A connection hands over what it has only
/// when it is asked, so that this asks twice.
async fn frame_at_hand<B: HttpBody<Data = Bytes> + Unpin>(
    body: &mut B,
) -> Option<Option<Result<Frame<Bytes>, B::Error>>> {
    let mut has_asked = false;
    poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending if has_asked => Poll::Ready(None),
        Poll::Pending => {
            has_asked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

impl ReadBody {
    /// Decompresses the body. Takes CPU time: not for the async threads where it is large.
    ///
    /// # Errors
    /// 413 when more than a body may have comes out, 503 when there is no memory for it, 400 when
    /// it is damaged or ends early.
    pub(crate) fn decode(self, encoding: Encoding) -> Result<Self, Failure> {
        // An empty body is an empty batch, however it says it is compressed.
        if encoding == Encoding::Identity || self.bytes.is_empty() {
            return Ok(self);
        }
        let mut out = Buffer::new(Room { budget: self.room.budget.clone(), held: None });
        let decoded = match encoding {
            Encoding::Identity => Ok(()),
            Encoding::Gzip => gunzip(&self.bytes, &mut out),
            Encoding::Zstd => unzstd(&self.bytes, &mut out),
        };
        match (out.failure.take(), decoded) {
            (Some(failure), _) => Err(failure),
            (None, Err(error)) => Err(Failure::new(
                ProblemCode::UnreadableBody,
                format!("the body does not decompress: {error}"),
            )),
            (None, Ok(())) => Ok(out.into_body()),
        }
    }
}

/// A body on its own, decompressed within the bounds of any.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn decode(bytes: &[u8], encoding: Encoding) -> Result<Bytes, Failure> {
    let body = ReadBody { bytes: bytes.to_vec().into(), room: BodyBudget::new().room() };
    body.decode(encoding).map(|body| body.bytes)
}

fn gunzip(bytes: &[u8], out: &mut Buffer) -> std::io::Result<()> {
    // Reading checks the trailer of every member and that nothing else follows.
    let mut decoder = flate2::bufread::MultiGzDecoder::new(bytes);
    std::io::copy(&mut decoder, out).map(drop)
}

fn unzstd(bytes: &[u8], out: &mut Buffer) -> std::io::Result<()> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    std::io::copy(&mut decoder, out).map(drop)
}

/// Bytes that grow within the size and the budget.
struct Buffer {
    bytes: Vec<u8>,
    room: Room,
    /// Why it stopped growing.
    failure: Option<Failure>,
}

impl Buffer {
    fn new(room: Room) -> Self {
        Self { bytes: Vec::new(), room, failure: None }
    }

    fn push(&mut self, data: &[u8]) -> Result<(), Failure> {
        let len = self.bytes.len() + data.len();
        if len > BODY_BYTES_MAX {
            return Err(too_large());
        }
        if len > self.bytes.capacity() {
            let capacity = (self.bytes.len() * 2).max(len).clamp(GROWTH_BYTES, BODY_BYTES_MAX);
            self.room.grow_to(capacity)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn into_body(self) -> ReadBody {
        ReadBody { bytes: self.bytes.into(), room: self.room }
    }
}

impl Write for Buffer {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.push(data).map(|()| data.len()).map_err(|failure| {
            self.failure = Some(failure);
            std::io::ErrorKind::Other.into()
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(bytes: Vec<u8>, encoding: Encoding) -> Result<Vec<u8>, ProblemCode> {
        super::decode(&bytes, encoding).map(Into::into).map_err(|failure| failure.code())
    }

    #[test]
    fn decodes_every_member_and_frame() {
        let gzipped = [gzip(b"one"), gzip(b" two")].concat();
        assert_eq!(decode(gzipped, Encoding::Gzip).unwrap(), b"one two");
        let frame = |text: &[u8]| zstd::encode_all(text, 3).unwrap();
        assert_eq!(decode([frame(b"a"), frame(b"b")].concat(), Encoding::Zstd).unwrap(), b"ab");
    }

    #[test]
    fn refuses_damage_and_bombs() {
        let whole = gzip(&[7; 1_000]);
        for cut in [1, 5, 12, whole.len() - 1] {
            let code = decode(whole[..cut].to_vec(), Encoding::Gzip);
            assert_eq!(code, Err(ProblemCode::UnreadableBody), "cut at {cut}");
        }
        let whole = zstd::encode_all(&[7; 1_000][..], 3).unwrap();
        for cut in [1, 5, whole.len() - 1] {
            let code = decode(whole[..cut].to_vec(), Encoding::Zstd);
            assert_eq!(code, Err(ProblemCode::UnreadableBody), "cut at {cut}");
        }
        let zeros = vec![0; BODY_BYTES_MAX + 1];
        assert_eq!(decode(gzip(&zeros), Encoding::Gzip), Err(ProblemCode::BodyTooLarge));
        let bomb = zstd::encode_all(&zeros[..], 3).unwrap();
        assert_eq!(decode(bomb, Encoding::Zstd), Err(ProblemCode::BodyTooLarge));
        assert!(decode(gzip(&zeros[1..]), Encoding::Gzip).is_ok());
    }

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let budget = BodyBudget::new();
        let mut first = budget.room();
        first.grow_to(BUDGET_BYTES).unwrap();
        assert!(budget.room().grow_to(1).is_err());
        assert!(!budget.has_room_for(1));
        drop(first);
        assert!(budget.room().grow_to(1).is_ok());
    }
}
