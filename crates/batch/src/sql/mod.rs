//! SQL over what an archive and a server hold: it only reads, within bounded memory.
//!
//! | table | is |
//! |---|---|
//! | `events` | raw events as they were appended, repeats included |
//! | `events_once` | the same without repeats, by the rule that counts |
//! | `counters` | the counters: each event is in exactly one of them |
//! | `counter_parts` | what `counters` adds up: a bucket may come more than once |
//! | `items` | what is known of items beside their counts |
//!
//! The engine is DataFusion; nothing of it is seen from outside.

mod cold;
mod counters;
mod error;
mod events;
mod files;
mod hot;
mod items;
mod lines;
mod once;
mod rows;

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};

pub use error::SqlError;
pub use files::ArchiveFiles;
pub use hot::{CounterFilter, HotCounters, HotHead, SourceError};
pub use items::{ItemDetailsLines, ItemFilter};
pub use rows::{Column, Kind, Page, Rows};

use counters::CounterParts;
use files::ReadOnly;
use items::Items;
use once::EventsOnce;

/// Where the tables come from.
#[derive(Clone)]
pub struct Sources {
    /// The files of an archive.
    pub files: Arc<dyn ArchiveFiles>,
    /// The server whose archive it is.
    pub counters: Arc<dyn HotCounters>,
    /// The same server, asked for item details.
    pub items: Arc<dyn ItemDetailsLines>,
}

/// What a question may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory for rows that are sorted, grouped or joined, in bytes.
    pub memory_bytes: usize,
    /// A folder for what does not fit; it must be there.
    pub temp_dir: PathBuf,
    /// Threads that work on a question.
    pub threads: usize,
}

/// All tables.
pub struct Database {
    context: SessionContext,
}

/// Adds up what is counted of a bucket in several places.
const COUNTERS: &str = r#"
create view counters as
select item, "type", granularity, "time", sum("count") as "count",
  sum(value_count) as value_count, sum("sum") as "sum", min("min") as "min", max("max") as "max"
from counter_parts group by item, "type", granularity, "time""#;

impl Database {
    /// Describes the tables. Nothing is read yet.
    ///
    /// # Errors
    /// Where the folder for what does not fit in memory cannot be used.
    pub async fn open(sources: &Sources, limits: &Limits) -> Result<Self, SqlError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes)))
            .with_temp_file_path(&limits.temp_dir)
            .build_arc()?;
        let store = Arc::new(ReadOnly::new(sources.files.clone()));
        runtime.register_object_store(files::url()?.as_ref(), store);
        let config = SessionConfig::new()
            .with_target_partitions(limits.threads.max(1))
            .with_information_schema(true);
        let context = SessionContext::new_with_config_rt(config, runtime);
        context.register_table("events", Arc::new(events::table()?))?;
        context.register_table("events_once", Arc::new(EventsOnce::new(sources.files.clone())))?;
        let parts = CounterParts::new(sources.clone(), limits.temp_dir.clone());
        context.register_table("counter_parts", Arc::new(parts))?;
        let items = Items::new(sources.items.clone(), limits.temp_dir.clone());
        context.register_table("items", Arc::new(items))?;
        context.sql(COUNTERS).await?;
        Ok(Self { context })
    }

    /// Begins to answer a question.
    ///
    /// # Errors
    /// `Query` where it cannot be understood, `Changes` where it asks for more than an answer, and
    /// whatever its tables meet.
    pub async fn query(&self, sql: &str) -> Result<Rows, SqlError> {
        let plan = self.context.state().create_logical_plan(sql).await?;
        let reading = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        reading.verify_plan(&plan).map_err(|_| SqlError::Changes)?;
        let frame = self.context.execute_logical_plan(plan).await?;
        Ok(Rows::new(frame.execute_stream().await?))
    }
}

#[cfg(test)]
mod tests;
