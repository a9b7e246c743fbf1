//! `POST /v1/bulk`: a file of any size, taken whole and counted later; `GET /v1/bulk` and
//! `GET /v1/bulk/{id}`: how far it is.

use std::sync::Arc;
use std::time::Duration;

use api::{BulkAnswer, BulkListAnswer, Durability, ProblemCode};
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use engine::ports::PortError;
use http_body_util::BodyExt;
use model::BulkId;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::Routes;
use super::body::Encoding;
use super::params::Params;
use super::problem::{Failure, json};
use crate::bulk::{BulkLane, FileFormat, How, Piece, ReceiveError, Received};

/// Files that are taken at once: each holds a part of an object in memory.
const UPLOADS_MAX: usize = 4;
/// Pieces that wait for the object store.
const PIECES_AHEAD: usize = 8;
/// How long the beginning of a body may take, and the rate at which the rest must come on average,
/// in bytes a second, while the object store keeps up.
const GRACE: Duration = Duration::from_secs(30);
const RATE_MIN: u64 = 16 << 10;
/// Ten thousand years: no time is left where it was moved further.
const SHIFT_DAYS_MAX: i64 = 3_650_000;

struct Bulk {
    lane: Arc<BulkLane>,
    uploads: Semaphore,
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, lane: &Arc<BulkLane>) -> Routes {
    let bulk = Arc::new(Bulk { lane: lane.clone(), uploads: Semaphore::new(UPLOADS_MAX) });
    routes.add("/v1/bulk", &["GET", "POST"], get(list).post(submit).with_state(bulk.clone())).add(
        "/v1/bulk/{id}",
        &["GET"],
        get(show).with_state(bulk),
    )
}

async fn submit(State(bulk): State<Arc<Bulk>>, request: Request) -> Result<Response, Failure> {
    let (head, body) = request.into_parts();
    let how = how(&head.headers, head.uri.query())?;
    let encoding = Encoding::of(&head.headers)?;
    if how.format == FileFormat::Parquet && encoding != Encoding::Identity {
        let detail = "Parquet compresses its columns itself; send it without Content-Encoding";
        return Err(Failure::new(ProblemCode::UnsupportedEncoding, detail).closing());
    }
    let _turn = bulk.uploads.try_acquire().map_err(|_| {
        let detail = format!("{UPLOADS_MAX} files are on their way already");
        Failure::new(ProblemCode::Overloaded, detail).closing()
    })?;
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let lane = bulk.lane.clone();
    let format = how.format;
    let receiving = tokio::task::spawn_blocking(move || lane.receive(pieces, &how));
    // Whatever becomes of the body, the thread hears of it by the end of the pieces.
    let sent = send_pieces(body, &sender, format, encoding).await;
    drop(sender);
    let received = receiving
        .await
        .map_err(|_| Failure::new(ProblemCode::Internal, "taking the file failed").closing())?;
    sent?;
    answer(received?)
}

fn answer(received: Received) -> Result<Response, Failure> {
    let Received { answer, is_new } = received;
    let status = if is_new { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut response = json(status, &answer);
    let location = HeaderValue::from_str(&format!("/v1/bulk/{}", answer.id));
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location.expect("an id is ASCII"));
    headers.insert(
        HeaderName::from_static(Durability::HEADER),
        HeaderValue::from_static(Durability::FSYNC),
    );
    Ok(response)
}

/// Hands the body on as it comes, once its beginning is what the headers say.
async fn send_pieces(
    mut body: Body,
    to: &mpsc::Sender<Piece>,
    format: FileFormat,
    encoding: Encoding,
) -> Result<(), Failure> {
    let magic: &[u8] = match (format, encoding) {
        (FileFormat::Parquet, _) => b"PAR1",
        (_, Encoding::Gzip) => &[0x1f, 0x8b],
        (_, Encoding::Zstd) => &[0x28, 0xb5, 0x2f, 0xfd],
        (_, Encoding::Identity) => &[],
    };
    let mut begun: Vec<u8> = Vec::new();
    let mut is_checked = magic.is_empty();
    // The time that the object store takes is not the client's.
    let (mut from, mut taken) = (Instant::now(), 0);
    loop {
        let at_rate = Duration::from_secs(taken / RATE_MIN);
        let frame = timeout_at(from + GRACE + at_rate, body.frame()).await.map_err(|_| {
            let detail = format!("the file must arrive at {RATE_MIN} bytes a second");
            Failure::new(ProblemCode::RequestTimeout, detail).closing()
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| unreadable("the body ended early"))?;
        let Ok(data) = frame.into_data() else { continue };
        taken += data.len() as u64;
        let data = if is_checked {
            data
        } else {
            begun.extend_from_slice(&data);
            if begun.len() < magic.len() {
                continue;
            }
            is_checked = true;
            check_magic(&begun, magic)?;
            Bytes::from(std::mem::take(&mut begun))
        };
        let waited = Instant::now();
        // Who takes them has ended: it says why.
        if to.send(Piece::Data(data)).await.is_err() {
            return Ok(());
        }
        from += waited.elapsed();
    }
    if !is_checked && !begun.is_empty() {
        check_magic(&begun, magic)?;
    }
    let _ = to.send(Piece::End).await;
    Ok(())
}

fn check_magic(begun: &[u8], magic: &[u8]) -> Result<(), Failure> {
    match begun.starts_with(magic) {
        true => Ok(()),
        false => Err(unreadable("the body is not what its Content-Type and Content-Encoding say")),
    }
}

fn unreadable(detail: &str) -> Failure {
    Failure::new(ProblemCode::UnreadableBody, detail).closing()
}

/// How the file is read, by its headers and parameters.
fn how(headers: &HeaderMap, query: Option<&str>) -> Result<How, Failure> {
    let params = Params::of(query, &["map", "set", "shift_days"])?;
    let list = |name: &str| -> Vec<String> {
        let pairs = params.all(name).flat_map(|text| text.split(','));
        pairs.filter(|pair| !pair.is_empty()).map(str::to_owned).collect()
    };
    let shift_days = match params.one("shift_days")?.map(str::parse) {
        None => 0,
        Some(Ok(days)) if (-SHIFT_DAYS_MAX..=SHIFT_DAYS_MAX).contains(&days) => days,
        Some(_) => {
            return Err(Failure::parameter(format!(
                "the parameter `shift_days` must be a whole number of at most {SHIFT_DAYS_MAX}"
            )));
        }
    };
    let how = How { format: format(headers)?, map: list("map"), set: list("set"), shift_days };
    how.options().map_err(Failure::parameter)?;
    if query.is_some_and(|query| query.len() > model::bulk::HOW_BYTES_MAX / 4) {
        return Err(Failure::parameter("the mapping is too long"));
    }
    Ok(how)
}

fn format(headers: &HeaderMap) -> Result<FileFormat, Failure> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is = |name| essence.eq_ignore_ascii_case(name);
    if is("application/x-ndjson") || is("application/ndjson") {
        Ok(FileFormat::Ndjson)
    } else if is("text/csv") {
        Ok(FileFormat::Csv)
    } else if is("application/vnd.apache.parquet") {
        Ok(FileFormat::Parquet)
    } else {
        let detail = "the Content-Type must be one of application/x-ndjson, text/csv and \
                      application/vnd.apache.parquet";
        Err(Failure::new(ProblemCode::UnsupportedMediaType, detail).closing())
    }
}

async fn list(
    State(bulk): State<Arc<Bulk>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    Params::of(query.as_deref(), &[])?;
    let jobs = blocking(move || bulk.lane.list()).await?;
    Ok(json(StatusCode::OK, &BulkListAnswer { jobs }))
}

async fn show(
    State(bulk): State<Arc<Bulk>>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    Params::of(query.as_deref(), &[])?;
    let id = id.ok().and_then(|Path(id)| id.parse::<BulkId>().ok());
    let found: Option<BulkAnswer> = match id {
        Some(id) => blocking(move || bulk.lane.get(id)).await?,
        None => None,
    };
    let missing = || Failure::new(ProblemCode::NotFound, "there is no file with this id");
    Ok(json(StatusCode::OK, &found.ok_or_else(missing)?))
}

async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, Failure> {
    let asked = tokio::task::spawn_blocking(ask).await;
    Ok(asked.map_err(|_| Failure::new(ProblemCode::Internal, "the question failed"))??)
}

impl From<ReceiveError> for Failure {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::BrokenOff => unreadable("the body ended early"),
            ReceiveError::Empty => Self::new(ProblemCode::EmptyBatch, error.to_string()),
            ReceiveError::Unknown(_) => Self::new(ProblemCode::OutcomeUnknown, error.to_string()),
            ReceiveError::Port(error) => Self::from(error).closing(),
        }
    }
}
