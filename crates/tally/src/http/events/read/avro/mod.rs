//! Avro object container files, with any writer schema that resolves to ours.
//!
//! Own code instead of a library's: verdicts must be per event and per field, logical types must
//! keep their exact digits, and no bytes may cost more memory or time than the limits allow. The
//! libraries bound neither the decompressed size of a block nor the work of a hostile schema.

mod container;
mod datum;
mod schema;

use api::ProblemCode;
use model::limits::BATCH_EVENTS_MAX;

use super::{BodyFault, EventSink, Fault, Intake, too_many_events};
use container::Container;
use datum::Datum;
use schema::Plan;

/// Bytes that do not follow the format: nothing after them can be told apart.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AvroError {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the schema does not resolve to an event: {0}")]
    Schema(String),
    #[error("the blocks are over {0} bytes when decompressed")]
    TooLarge(usize),
}

impl From<AvroError> for BodyFault {
    fn from(error: AvroError) -> Self {
        let code = match error {
            AvroError::TooLarge(_) => ProblemCode::BodyTooLarge,
            AvroError::Malformed(_) | AvroError::Schema(_) => ProblemCode::InvalidAvro,
        };
        Fault::new(code, error.to_string())
    }
}

/// A writer's schema that resolves to ours.
#[cfg(feature = "kafka")]
#[derive(Debug)]
pub(crate) struct WriterSchema(Plan);

#[cfg(feature = "kafka")]
impl WriterSchema {
    /// Most values in one datum, see [`datum::STEPS_MAX`].
    const STEPS_MAX: u64 = 1_000_000;

    /// Parses a schema, JSON.
    ///
    /// # Errors
    /// Where it does not resolve to ours.
    pub(crate) fn resolve(schema_json: &str) -> Result<Self, AvroError> {
        Plan::resolve(schema_json).map(Self)
    }

    /// The event of a datum that follows the schema, or which field of it is wrong.
    ///
    /// # Errors
    /// Bytes that do not follow the schema to their end.
    pub(crate) fn read<'a>(
        &'a self,
        bytes: &'a [u8],
    ) -> Result<Result<super::Draft<'a>, Fault>, AvroError> {
        let mut datum = Datum::new(bytes, &self.0, Self::STEPS_MAX);
        let event = datum.event()?;
        datum.finish()?;
        Ok(event)
    }
}

/// Offers every event of the file.
///
/// # Errors
/// `invalid_avro` when the file is damaged or its schema does not resolve, `body_too_large` when
/// it decompresses to more than a body may have: then nothing of it may be accepted.
pub(crate) fn read<S: EventSink>(body: &[u8], intake: &mut Intake<'_, S>) -> Result<(), BodyFault> {
    if body.is_empty() {
        return Ok(());
    }
    let mut container = Container::open(body)?;
    let plan = Plan::resolve(container.schema_json)?;
    let mut events = 0;
    let mut steps = datum::STEPS_MAX;
    while let Some(header) = container.next_block()? {
        events += header.count;
        if events > BATCH_EVENTS_MAX as u64 {
            return Err(too_many_events());
        }
        let mut datum = Datum::new(container.block_bytes()?, &plan, steps);
        for _ in 0..header.count {
            match datum.encoded() {
                Some(event) => intake.take_encoded(&event)?,
                None => intake.take(datum.event()?)?,
            }
        }
        steps = datum.finish()?;
    }
    Ok(())
}
