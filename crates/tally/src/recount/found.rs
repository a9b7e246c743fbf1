//! What a recount found, in the words of the engine.

use batch::{Difference, Numbers};
use model::{Cell, Correction, HourCell, Offset, PartitionId, Summary, TimestampMs};

/// A cell that is stored otherwise than it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) partition: PartitionId,
    /// Everything below was counted when it was compared, and nothing at or above it.
    pub(crate) known_offset: Offset,
    /// The cell, what it is and what it should be.
    pub(crate) cell: Correction,
}

impl Found {
    pub(super) fn of(difference: Difference, known_offset: Offset) -> Self {
        let minute = TimestampMs(difference.start_ms).minute();
        let slot = if difference.is_minute { minute.of_hour() } else { Cell::WHOLE };
        let cell = Correction {
            place: Some(HourCell { hour: minute.hour(), slot }),
            event_type: difference.event_type,
            item: difference.item,
            was: summary(&difference.stored),
            is: summary(&difference.recounted),
        };
        Self { partition: PartitionId(difference.partition), known_offset, cell }
    }
}

pub(super) fn summary(numbers: &Numbers) -> Summary {
    let Numbers { count, value_count, sum, min, max } = *numbers;
    Summary { count, value_count, sum, min, max }
}

pub(super) fn numbers(summary: &Summary) -> Numbers {
    let Summary { count, value_count, sum, min, max } = *summary;
    Numbers { count, value_count, sum, min, max }
}
