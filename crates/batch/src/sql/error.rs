//! Why a question has no answer.

use datafusion::error::DataFusionError;

use super::files::Gone;
use super::hot::SourceError;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// It cannot be understood, or names what is not there.
    #[error(
        "{0}\nthe tables are events, events_once, counters, counter_parts and items; `describe \
         events` lists columns; names like \"offset\" need double quotes"
    )]
    Query(String),
    /// It asks for more than an answer.
    #[error("only questions are answered here: nothing can be created, changed, copied or set")]
    Changes,
    /// It needs more memory than it may take, and cannot do with files.
    #[error("the question needs more memory than it may take: raise --memory, or ask for less")]
    Memory(#[source] Box<DataFusionError>),
    /// The server that owns the archive removed or merged files meanwhile.
    #[error("files of the archive were replaced while they were read; ask again")]
    Replaced(#[source] Box<DataFusionError>),
    /// The archive or the server cannot be read.
    #[error(transparent)]
    Source(SourceError),
    /// Anything else that went wrong on the way.
    #[error("the question could not be answered: {0}")]
    Failed(String),
    /// The answer cannot be written.
    #[error("the answer cannot be written")]
    Write(#[source] SourceError),
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::Memory(Box::new(error)),
            DataFusionError::ObjectStore(cause) if is_gone(cause) => {
                Self::Replaced(Box::new(error))
            }
            DataFusionError::SQL(..)
            | DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_) => {
                Self::Query(error.find_root().strip_backtrace())
            }
            DataFusionError::External(_) => external(error),
            root => Self::Failed(told(root)),
        }
    }
}

fn is_gone(cause: &datafusion::object_store::Error) -> bool {
    match cause {
        datafusion::object_store::Error::Generic { source, .. } => source.is::<Gone>(),
        _ => false,
    }
}

/// What a table of ours met, with its causes where nobody else holds it.
fn external(error: DataFusionError) -> SqlError {
    match error {
        DataFusionError::External(source) => match source.downcast::<SqlError>() {
            Ok(ours) => *ours,
            Err(source) => SqlError::Source(source),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            external(*inner)
        }
        shared => SqlError::Failed(told(shared.find_root())),
    }
}

/// An error with its causes.
fn told(error: &DataFusionError) -> String {
    let mut text = error.strip_backtrace();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let line = next.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        cause = next.source();
    }
    text
}
