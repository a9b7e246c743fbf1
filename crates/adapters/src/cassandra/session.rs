//! The connection: the driver's tasks on threads of their own, and waiting for them from any thread.
//!
//! The port is synchronous, and called from threads of an async runtime too, which must not enter another
//! one: whoever asks hands the work over and waits for what comes back.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;

use engine::ports::{ErrorKind, PortError};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row};
use tokio::runtime::Runtime;

use super::place::Place;
use super::trouble;

/// Threads of the driver: they wait for sockets, and encode and decode.
const THREADS: usize = 2;
/// Rows of one page.
const PAGE_ROWS: i32 = 1_000;

/// Values of a statement, in its order.
pub(super) type Values = Vec<CqlValue>;

/// A statement that writes, with its values.
pub(super) type Write = (PreparedStatement, Values);

/// A row that owns what it holds.
pub(super) trait OwnedRow: for<'f, 'm> DeserializeRow<'f, 'm> + Send + 'static {}

impl<R: for<'f, 'm> DeserializeRow<'f, 'm> + Send + 'static> OwnedRow for R {}

/// How a statement is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Reads; another node is asked too where the first is slow.
    Read,
    /// Reads what lightweight transactions have decided, those under way too.
    ReadDecided,
    /// Writes, the same whenever it is repeated.
    Write,
    /// Writes where a condition holds. Not repeated by itself: its answer would be another one.
    Decide,
}

/// See the module.
pub(super) struct Link {
    session: Arc<Session>,
    place: Place,
    /// None once this is dropped: a runtime must not be waited for where others run.
    runtime: Option<Runtime>,
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Link {
    /// Connects to a cluster.
    ///
    /// # Errors
    /// `Unavailable` where no node answers, `Invalid` where the nodes refuse the user or their certificate is
    /// not trusted, and where files that the place names cannot be used.
    pub(super) fn connect(place: Place) -> Result<Self, PortError> {
        let mut builder = SessionBuilder::new()
            .known_nodes(&place.nodes)
            .connection_timeout(place.timeout)
            .default_execution_profile_handle(profile(&place).into_handle())
            // Tables are made by one at a time, long before they are used.
            .fetch_schema_metadata(false)
            .fetch_full_schema_metadata(false);
        if let Some((user, password)) = user(&place)? {
            builder = builder.user(user, password);
        }
        if let Some(tls) = tls(&place)? {
            builder = builder.tls_context(Some(tls));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("cassandra")
            .enable_all()
            .build()
            .map_err(|error| failure("no threads for the cluster's driver", error))?;
        let connecting = async move { builder.build().await };
        let connected = wait_on(&runtime, connecting)
            .and_then(|session| session.map_err(|error| trouble::unreachable(&place, error)));
        match connected {
            Ok(session) => Ok(Self { session: Arc::new(session), place, runtime: Some(runtime) }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Carries out work on the driver's threads.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, PortError>> + Send + 'static,
    ) -> Result<T, PortError> {
        match &self.runtime {
            Some(runtime) => wait_on(runtime, work)?,
            None => Err(ended()),
        }
    }

    pub(super) fn session(&self) -> Arc<Session> {
        self.session.clone()
    }

    /// Changes tables.
    pub(super) fn change(&self, text: String) -> Result<(), PortError> {
        let session = self.session();
        let context = format!("change the tables of {:?}", self.place);
        self.wait(async move {
            let changed = session.query_unpaged(text, &[]).await;
            changed.map(drop).map_err(|error| failure(&context, error))
        })
    }

    /// Reads a few rows.
    pub(super) fn ask<R: OwnedRow>(&self, text: String) -> Result<Vec<R>, PortError> {
        let session = self.session();
        self.wait(async move {
            let asked = session.query_unpaged(text, &[]).await.map_err(read_failure)?;
            all(asked)
        })
    }

    /// Prepares a statement.
    pub(super) fn prepare(&self, text: String, way: Way) -> Result<PreparedStatement, PortError> {
        let session = self.session();
        let context = format!("prepare a statement for {:?}", self.place);
        let mut prepared = self.wait(async move {
            session.prepare(text).await.map_err(|error| failure(&context, error))
        })?;
        let Place { read_consistency, write_consistency, .. } = self.place;
        // A decision must hold for whoever reads it afterwards, also in another data center.
        let decided = SerialConsistency::Serial;
        match way {
            Way::Read => prepared.set_consistency(read_consistency),
            Way::ReadDecided => prepared.set_consistency(Consistency::Serial),
            Way::Write => prepared.set_consistency(write_consistency),
            Way::Decide => {
                prepared.set_consistency(Consistency::Quorum);
                prepared.set_serial_consistency(Some(decided));
            }
        }
        prepared.set_is_idempotent(way != Way::Decide);
        prepared.set_page_size(PAGE_ROWS);
        Ok(prepared)
    }

    /// All rows of a statement that has few.
    pub(super) fn rows<R: OwnedRow>(
        &self,
        statement: &PreparedStatement,
        values: Values,
    ) -> Result<Vec<R>, PortError> {
        let (session, statement) = (self.session(), statement.clone());
        self.wait(async move { all_pages::<R>(&session, &statement, values).await })
    }

    /// Writes where a condition holds; whether it held.
    pub(super) fn decide(
        &self,
        statement: &PreparedStatement,
        values: Values,
    ) -> Result<bool, PortError> {
        let (session, statement) = (self.session(), statement.clone());
        self.wait(async move {
            let context = "a lightweight transaction";
            let decided = session.execute_unpaged(&statement, values).await;
            let decided = decided.map_err(|error| failure(context, error))?;
            let row = all::<Row>(decided)?.into_iter().next();
            match row.and_then(|row| row.columns.into_iter().next().flatten()) {
                Some(CqlValue::Boolean(is_applied)) => Ok(is_applied),
                _ => Err(PortError::new(ErrorKind::Corrupt, "an answer that says nothing")),
            }
        })
    }
}

/// The rows of a statement, a page at a time.
pub(super) struct Pages<R> {
    statement: PreparedStatement,
    values: Values,
    /// None behind the last page.
    state: Option<PagingState>,
    rows: std::marker::PhantomData<fn() -> R>,
}

impl<R: OwnedRow> Pages<R> {
    pub(super) fn new(statement: &PreparedStatement, values: Values) -> Self {
        let (statement, state) = (statement.clone(), Some(PagingState::start()));
        Self { statement, values, state, rows: std::marker::PhantomData }
    }

    /// The next page, which may be empty; none behind the last one.
    pub(super) fn next(&mut self, link: &Link) -> Result<Option<Vec<R>>, PortError> {
        let Some(state) = self.state.take() else { return Ok(None) };
        let session = link.session();
        let (statement, values) = (self.statement.clone(), self.values.clone());
        let (rows, next) =
            link.wait(async move { page::<R>(&session, &statement, values, state).await })?;
        self.state = next;
        Ok(Some(rows))
    }
}

/// One page, and where the next begins.
pub(super) async fn page<R: OwnedRow>(
    session: &Session,
    statement: &PreparedStatement,
    values: Values,
    state: PagingState,
) -> Result<(Vec<R>, Option<PagingState>), PortError> {
    let asked = session.execute_single_page(statement, values, state).await;
    let (asked, response) = asked.map_err(read_failure)?;
    let next = match response {
        PagingStateResponse::HasMorePages { state } => Some(state),
        PagingStateResponse::NoMorePages => None,
    };
    Ok((all(asked)?, next))
}

/// All rows of a statement that has few, on the driver's threads.
pub(super) async fn all_pages<R: OwnedRow>(
    session: &Session,
    statement: &PreparedStatement,
    values: Values,
) -> Result<Vec<R>, PortError> {
    let mut state = Some(PagingState::start());
    let mut rows = Vec::new();
    while let Some(from) = state {
        let (more, next) = page::<R>(session, statement, values.clone(), from).await?;
        rows.extend(more);
        state = next;
    }
    Ok(rows)
}

/// Writes statements to one Cassandra partition together: they take effect as one.
pub(super) async fn write(
    session: &Session,
    consistency: Consistency,
    mut writes: Vec<Write>,
) -> Result<(), PortError> {
    let context = "write to the cluster";
    if writes.len() <= 1 {
        let Some((statement, values)) = writes.pop() else { return Ok(()) };
        let written = session.execute_unpaged(&statement, values).await;
        return written.map(drop).map_err(|error| failure(context, error));
    }
    let mut batch = Batch::new(BatchType::Unlogged);
    batch.set_consistency(consistency);
    batch.set_is_idempotent(true);
    let mut values = Vec::with_capacity(writes.len());
    for (statement, of_statement) in writes {
        batch.append_statement(statement);
        values.push(of_statement);
    }
    let written = session.batch(&batch, values).await;
    written.map(drop).map_err(|error| failure(context, error))
}

fn all<R: OwnedRow>(
    asked: scylla::response::query_result::QueryResult,
) -> Result<Vec<R>, PortError> {
    let unexpected = |error: Box<dyn std::error::Error + Send + Sync>| {
        let context = "the cluster's answer is not what the tables should give; were they changed?";
        PortError::caused(ErrorKind::Corrupt, context, error)
    };
    let rows = asked.into_rows_result().map_err(|error| unexpected(error.into()))?;
    let rows = rows.rows::<R>().map_err(|error| unexpected(error.into()))?;
    rows.collect::<Result<_, _>>().map_err(|error| unexpected(error.into()))
}

fn wait_on<T: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, PortError> {
    let (done, result) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        // Whoever waited for it may have gone.
        let _ = done.send(work.await);
    });
    result.recv().map_err(|_| ended())
}

fn ended() -> PortError {
    PortError::new(ErrorKind::Unavailable, "the cluster's driver has ended")
}

fn read_failure(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PortError {
    failure("read from the cluster", error)
}

/// A failure that may pass.
pub(super) fn failure(
    doing: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> PortError {
    PortError::caused(ErrorKind::Unavailable, doing, error)
}

fn profile(place: &Place) -> ExecutionProfile {
    let mut nodes = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = &place.datacenter {
        nodes = nodes.prefer_datacenter(datacenter.clone()).permit_dc_failover(true);
    }
    // Only what is idempotent is ever sent twice.
    let speculate = place.speculate.map(|retry_interval| {
        let policy = SimpleSpeculativeExecutionPolicy { max_retry_count: 1, retry_interval };
        Arc::new(policy) as _
    });
    ExecutionProfile::builder()
        .consistency(Consistency::Quorum)
        .request_timeout(Some(place.timeout))
        .load_balancing_policy(nodes.build())
        .speculative_execution_policy(speculate)
        .build()
}

/// User and password, from the file where one is named.
fn user(place: &Place) -> Result<Option<(String, String)>, PortError> {
    let Some(path) = &place.user_file else { return Ok(place.user.clone()) };
    let refused = |what: String| {
        let context = format!("{}: {what}", path.display());
        PortError::new(ErrorKind::Invalid, context)
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    let mut lines = text.lines().map(|line| line.trim_end().to_owned());
    match (lines.next(), lines.next()) {
        (Some(user), Some(password)) if !user.is_empty() => Ok(Some((user, password))),
        _ => Err(refused("the first line must be the user, the second the password".into())),
    }
}

/// How connections are encrypted; none where they are not.
fn tls(place: &Place) -> Result<Option<Arc<ClientConfig>>, PortError> {
    if !place.is_encrypted() {
        return Ok(None);
    }
    let refused = |what: String| {
        let context = format!("TLS to {place:?}: {what}");
        PortError::new(ErrorKind::Invalid, context)
    };
    let mut roots = RootCertStore::empty();
    match &place.tls_ca {
        Some(path) => {
            let read = |error| refused(format!("{}: {error}", path.display()));
            for certificate in
                CertificateDer::pem_file_iter(path).map_err(|e| read(e.to_string()))?
            {
                let certificate = certificate.map_err(|error| read(error.to_string()))?;
                roots.add(certificate).map_err(|error| read(error.to_string()))?;
            }
        }
        // One among them that cannot be read trusts nobody; the others do.
        None => {
            let system = rustls_native_certs::load_native_certs().certs;
            roots.add_parsable_certificates(system);
        }
    }
    if roots.is_empty() {
        return Err(refused("there is no certificate to trust".into()));
    }
    // Named, as another library in the same program may bring another one.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(error.to_string()))?;
    Ok(Some(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(options: &str) -> Place {
        format!("cassandra://me:there@127.0.0.1/k?{options}").parse().unwrap()
    }

    #[test]
    fn a_file_names_user_and_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("user");
        let read = || user(&place(&format!("user_file={}", path.display())));
        assert_eq!(read().unwrap_err().kind, ErrorKind::Invalid, "it is not there");
        for wrong in ["", "me", "\npassword"] {
            std::fs::write(&path, wrong).unwrap();
            assert_eq!(read().unwrap_err().kind, ErrorKind::Invalid, "{wrong:?}");
        }
        std::fs::write(&path, "somebody \r\npass word\n").unwrap();
        assert_eq!(read().unwrap(), Some(("somebody".into(), "pass word".into())));
        assert_eq!(user(&place("")).unwrap(), Some(("me".into(), "there".into())));
    }

    #[test]
    fn certificates_must_be_there_to_be_trusted() {
        assert!(tls(&place("")).unwrap().is_none());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let read = || tls(&place(&format!("tls_ca={}", path.display())));
        assert_eq!(read().unwrap_err().kind, ErrorKind::Invalid, "it is not there");
        std::fs::write(&path, "no certificate").unwrap();
        assert!(read().unwrap_err().to_string().contains("no certificate"), "and says so");
    }
}
