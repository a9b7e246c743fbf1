//! The engines that settings choose by URL: where counters are, and where answers are kept.

use std::sync::Arc;

use adapters::embedded::cache::MemoryCache;
use adapters::embedded::store::EmbeddedStore;
use engine::ports::{Clock, CounterStore, PortError, QueryCache};

use super::open_embedded_store;
use crate::config::Resolved;

/// Says which log counters elsewhere are of; whoever says it first decides.
type Binding = Box<dyn Fn(&str) -> Result<(), PortError>>;

/// The counter store.
pub(super) struct Store {
    pub(super) port: Arc<dyn CounterStore>,
    /// The same, where it is in the data folder; else reading it takes milliseconds and not
    /// microseconds.
    pub(super) embedded: Option<Arc<EmbeddedStore>>,
    binding: Option<Binding>,
}

impl Store {
    /// Says which log the counters are of, where they are not in the data folder.
    ///
    /// # Errors
    /// Where they are of another one: that one's counts would be added to.
    pub(super) fn bind_log(&self, log: &str) -> Result<(), PortError> {
        self.binding.as_ref().map_or(Ok(()), |bind| bind(log))
    }
}

/// Opens the counter store that is chosen.
pub(super) fn open_store(settings: &Resolved) -> anyhow::Result<Store> {
    match &settings.store {
        None => {
            let store = open_embedded_store(&settings.data_dir)?;
            Ok(Store { port: store.clone(), embedded: Some(store), binding: None })
        }
        Some(url) => open_cassandra(url),
    }
}

#[cfg(feature = "cassandra")]
fn open_cassandra(url: &str) -> anyhow::Result<Store> {
    use adapters::cassandra::CassandraStore;

    let store = Arc::new(CassandraStore::open(cassandra_place(url)?, rand::random())?);
    let bound = store.clone();
    let binding: Binding = Box::new(move |log| bound.bind_log(log));
    Ok(Store { port: store, embedded: None, binding: Some(binding) })
}

/// The keyspace that a URL names.
#[cfg(feature = "cassandra")]
pub(crate) fn cassandra_place(url: &str) -> anyhow::Result<adapters::cassandra::Place> {
    use anyhow::Context;

    url.parse().context("the setting `store` is no URL of Cassandra")
}

#[cfg(not(feature = "cassandra"))]
fn open_cassandra(_url: &str) -> anyhow::Result<Store> {
    anyhow::bail!("this program was built without Cassandra: build it with --features cassandra")
}

/// Makes the tables that a store of this URL needs.
///
/// # Errors
/// When the cluster does not answer or refuses, or has tables of another version.
#[cfg(feature = "cassandra")]
pub(crate) fn init_store(url: &str, replication: &[(Option<String>, u8)]) -> anyhow::Result<()> {
    use adapters::cassandra::{CassandraStore, Replication};

    let replication = match replication {
        [(None, factor)] => Replication::Anywhere(*factor),
        named => {
            let named = named.iter().map(|(name, n)| (name.clone().unwrap_or_default(), *n));
            Replication::Datacenters(named.collect())
        }
    };
    Ok(CassandraStore::init(cassandra_place(url)?, &replication)?)
}

/// See the other one.
///
/// # Errors
/// Always.
#[cfg(not(feature = "cassandra"))]
pub(crate) fn init_store(_url: &str, _replication: &[(Option<String>, u8)]) -> anyhow::Result<()> {
    anyhow::bail!("this program was built without Cassandra: build it with --features cassandra")
}

/// Opens the cache of answers that is chosen; none where every answer is made. Answers are about the
/// events of one log, which `log` names.
pub(super) fn open_cache(
    settings: &Resolved,
    clock: &Arc<dyn Clock>,
    log: &str,
) -> anyhow::Result<Option<Arc<dyn QueryCache>>> {
    let Some(bytes) = settings.query_cache_bytes else { return Ok(None) };
    match &settings.cache {
        None => Ok(Some(Arc::new(MemoryCache::new(bytes, clock.clone())))),
        Some(url) => open_redis(log, url).map(Some),
    }
}

#[cfg(feature = "redis")]
fn open_redis(log: &str, url: &str) -> anyhow::Result<Arc<dyn QueryCache>> {
    Ok(Arc::new(adapters::redis::RedisCache::new(url, log)?))
}

#[cfg(not(feature = "redis"))]
fn open_redis(_log: &str, _url: &str) -> anyhow::Result<Arc<dyn QueryCache>> {
    anyhow::bail!("this program was built without Redis: build it with --features redis")
}
