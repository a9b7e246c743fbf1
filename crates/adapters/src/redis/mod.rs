//! The query cache on Redis, or what speaks its protocol: shared, and remembered over a restart.
//!
//! A cache is never worth waiting for. Everything has a short time limit; after a failure nobody asks Redis
//! for a moment, and every question is a miss; where all connections are busy a question is a miss too.
//! How much is remembered, and what is forgotten first, is set in Redis: `maxmemory`, and `maxmemory-policy
//! allkeys-lru`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::ports::{ErrorKind, PortError, QueryCache};
use parking_lot::Mutex;
use redis::{Client, Connection, RedisError, TlsCertificates};

/// An answer that takes longer is not worth it.
const TIMEOUT: Duration = Duration::from_millis(100);
/// A connection may take longer: it is made once.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// For so long nobody asks after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// Connections at a time.
const CONNECTIONS_MAX: usize = 16;
/// An answer larger than this is made anew: it would hold others up on its way.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Answers in Redis, under the names of one server's data.
pub struct RedisCache {
    client: Client,
    /// What keys begin with, so that servers of other data do not meet.
    namespace: Vec<u8>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    /// Idle ones and those in use.
    open: usize,
    /// Nobody asks before.
    paused_until: Option<Instant>,
}

impl RedisCache {
    /// A cache at `redis://[user:password@]host:port[/database]`, or `rediss://` for TLS, which takes the
    /// option `?tls_ca=FILE`: certificates that are trusted instead of the system's, PEM. Connects when it
    /// is first asked. `namespace` tells servers of the same data from all others.
    ///
    /// # Errors
    /// `Invalid` where the URL is none, or the file of certificates cannot be used.
    pub fn new(url: &str, namespace: &str) -> Result<Self, PortError> {
        let client = client(url)?;
        let namespace = [b"tally:", namespace.as_bytes(), b":"].concat();
        Ok(Self { client, namespace, state: Mutex::default() })
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.namespace, key].concat()
    }

    /// A connection; none where all are busy or nobody is to ask now.
    fn take(&self) -> Result<Option<Connection>, RedisError> {
        {
            let mut state = self.state.lock();
            if state.paused_until.is_some_and(|until| Instant::now() < until) {
                return Ok(None);
            }
            if let Some(idle) = state.idle.pop() {
                return Ok(Some(idle));
            }
            if state.open >= CONNECTIONS_MAX {
                return Ok(None);
            }
            state.open += 1;
        }
        let connect = || {
            let connection = self.client.get_connection_with_timeout(CONNECT_TIMEOUT)?;
            connection.set_read_timeout(Some(TIMEOUT))?;
            connection.set_write_timeout(Some(TIMEOUT))?;
            Ok(connection)
        };
        connect().map(Some)
    }

    /// Asks Redis; none where it is not asked.
    fn ask<T>(
        &self,
        doing: &str,
        ask: impl FnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<Option<T>, PortError> {
        let asked = self.take().and_then(|taken| match taken {
            Some(mut connection) => ask(&mut connection).map(|answer| Some((answer, connection))),
            None => Ok(None),
        });
        let mut state = self.state.lock();
        match asked {
            Ok(Some((answer, connection))) => {
                state.idle.push(connection);
                Ok(Some(answer))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                // What is still under way on others fails by itself, or is well.
                state.open = state.open.saturating_sub(1 + state.idle.len());
                state.idle.clear();
                state.paused_until = Some(Instant::now() + PAUSE);
                let context = format!("{doing} Redis: asked again in a second");
                Err(PortError::caused(ErrorKind::Unavailable, context, error))
            }
        }
    }
}

/// A client that has not connected yet.
fn client(url: &str) -> Result<Client, PortError> {
    let refused = |error: RedisError| {
        let context = "a cache is given as redis://[user:password@]host:port[/database], or rediss:// for \
                       TLS, with ?tls_ca=FILE where the system does not trust it";
        PortError::caused(ErrorKind::Invalid, context, error)
    };
    if url.starts_with("rediss://") {
        // The driver takes the process's provider; with two in the program there is none until one is
        // chosen. Whoever chose before has the same right.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let Some((plain, file)) = url.split_once("?tls_ca=") else {
        return Client::open(url).map_err(refused);
    };
    let pem = std::fs::read(file).map_err(|error| {
        let context = format!("{file}, whom `tls_ca` of the cache trusts, cannot be read");
        PortError::caused(ErrorKind::Invalid, context, error)
    })?;
    let root_cert = Some(pem);
    Client::build_with_tls(plain, TlsCertificates { client_tls: None, root_cert }).map_err(refused)
}

impl QueryCache for RedisCache {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, PortError> {
        let key = self.key(key);
        let found = self.ask("read from", |connection| {
            redis::cmd("GET").arg(&key).query::<Option<Vec<u8>>>(connection)
        })?;
        Ok(found.flatten().map(Bytes::from))
    }

    fn put(&self, key: &[u8], answer: Bytes, life_ms: u64) -> Result<(), PortError> {
        let key = self.key(key);
        // An older answer is not to stay in the place of one that is not kept.
        let is_kept = answer.len() <= ANSWER_BYTES_MAX && life_ms > 0;
        let written = self.ask("write to", |connection| match is_kept {
            true => {
                redis::cmd("SET").arg(&key).arg(&answer[..]).arg("PX").arg(life_ms).exec(connection)
            }
            false => redis::cmd("DEL").arg(&key).exec(connection),
        });
        written.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_url_that_is_none_is_refused() {
        let error = RedisCache::new("memory", "n").err().unwrap();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.to_string().contains("redis://"), "{error}");
    }

    #[test]
    fn certificates_must_be_there_and_belong_to_tls() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let open = |scheme: &str| {
            let url = format!("{scheme}://localhost:6380?tls_ca={}", file.display());
            RedisCache::new(&url, "n")
        };
        let error = open("rediss").err().unwrap();
        assert!(error.kind == ErrorKind::Invalid && error.context.contains("ca.pem"), "{error}");
        std::fs::write(&file, "").unwrap();
        let error = open("redis").err().unwrap();
        assert!(error.context.contains("rediss://"), "{error}");
        open("rediss").unwrap();
    }

    #[test]
    fn one_that_hangs_costs_a_moment_once() {
        // It takes connections and never answers.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let cache = RedisCache::new(&url, "n").unwrap();
        assert!(cache.get(b"key").is_err());
        let begun = Instant::now();
        for _ in 0..100 {
            assert_eq!(cache.get(b"key").unwrap(), None);
            cache.put(b"key", Bytes::from_static(b"x"), 1_000).unwrap();
        }
        assert!(begun.elapsed() < PAUSE, "{:?}", begun.elapsed());
        assert_eq!(cache.state.lock().open, 0);
    }
}
