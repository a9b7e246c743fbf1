//! What judging and counting cost on one thread, without log and store: nanoseconds an event.
//!
//! `cargo run --release -p tally-engine --example count_bench [events] [items]`

use std::time::Instant;

use engine::processor::{Counting, Memory};
use model::{Batch, Checkpoint, Event, Offset, PartitionId, RecordBuf, TimestampMs};

const BATCH: u64 = 4_096;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|n| n.parse::<u64>().expect("a number"));
    let (events, items) = (numbers.next().unwrap_or(10_000_000), numbers.next().unwrap_or(100_000));
    let memory = Memory::new(Checkpoint::default(), 7);
    let mut counting = Counting::new(None, 10, (1, 2));
    let (mut random, mut spent, mut encode) = (1u64, 0u128, 0u128);
    let begun = 1_795_255_200_000i64;
    for base in (0..events).step_by(BATCH as usize) {
        // About 400 K events a second.
        let now = TimestampMs(begun + (base / 400) as i64);
        let at = Instant::now();
        let mut records = RecordBuf::new();
        for n in base..base + BATCH {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let id = format!("{:08x}-{:04x}-7cc3-98c4-{:012x}", n >> 16, n & 0xffff, random >> 16);
            let item = format!("item{:07}", (random >> 33) % items);
            records.push(&Event {
                id: id.into(),
                item: item.into(),
                event_type: "view".into(),
                time: now,
                value: None,
                attributes: vec![("country".into(), "DE".into()), ("device".into(), "tv".into())],
            });
        }
        encode += at.elapsed().as_nanos();
        let batch = Batch {
            partition: PartitionId(0),
            log_epoch: 1,
            base_offset: Offset(base),
            record_count: BATCH as u32,
            append_time: now,
            is_control: false,
            payload: records.into_payload(),
        };
        let at = Instant::now();
        counting.apply(&batch, &memory).expect("the batches follow each other");
        spent += at.elapsed().as_nanos();
        if memory.look(|tables| tables.active.cells()) > 200_000 {
            memory.freeze_now();
            memory.flushed();
        }
    }
    let (ids, bytes) = counting.dedup_size();
    let total = counting.next_offset().0 as u128;
    println!("{} ns/event counted, {} ns/event made and encoded", spent / total, encode / total);
    println!("{:?}; {ids} ids in {} MiB", counting.tally(), bytes >> 20);
}
