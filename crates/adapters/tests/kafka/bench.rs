//! Topics of their own on the broker that the tests were given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use adapters::kafka::{Away, Foreign, ForeignMessage, KafkaLog, KafkaPlace, KafkaSettings};
use engine::ports::{Clock, PortError};
use model::TimestampMs;
use model::append_time::ClockReading;
use model::record::Unreadable;
use rdkafka::ClientConfig;

/// The broker.
pub(super) fn servers() -> String {
    std::env::var("TALLY_TEST_KAFKA").expect("host:port of a broker; `make test-kafka` starts one")
}

/// A configuration for clients of the tests' own.
pub(super) fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers());
    config
}

/// A topic of its own.
pub(super) struct Bench {
    pub(super) settings: KafkaSettings,
}

impl Bench {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let topic = format!("t-{}-{n}", std::process::id());
        let place: KafkaPlace = format!("kafka://{}/{topic}", servers()).parse().expect("a place");
        Self {
            settings: KafkaSettings {
                place,
                partitions: None,
                partitions_default: 2,
                retention_ms: 86_400_000,
                retention_needed_ms: 3_600_000,
                queue_bytes_max: 16 << 20,
            },
        }
    }

    pub(super) fn topic(&self) -> &str {
        &self.settings.place.topic
    }

    pub(super) fn try_open(&self) -> Result<KafkaLog, PortError> {
        self.open_with(Arc::default())
    }

    pub(super) fn open_with(&self, foreign: Arc<AsTheyAre>) -> Result<KafkaLog, PortError> {
        KafkaLog::open(&self.settings, Arc::new(SystemClock::start()), foreign)
    }

    pub(super) fn open(&self) -> KafkaLog {
        self.try_open().expect("opened")
    }
}

/// Takes JSON objects for records, and nothing else.
#[derive(Default)]
pub(super) struct AsTheyAre {
    /// While set, nothing can be told.
    pub(super) is_away: AtomicBool,
}

impl Foreign for AsTheyAre {
    fn record(&self, message: &ForeignMessage<'_>) -> Result<Result<Vec<u8>, Unreadable>, Away> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(Away);
        }
        Ok(match message.value {
            [b'{', ..] => Ok(message.value.to_vec()),
            _ => Err(Unreadable::Format),
        })
    }
}

/// The clocks of this machine.
pub(super) struct SystemClock(Instant);

impl SystemClock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> ClockReading {
        let monotonic_ms = self.0.elapsed().as_millis() as i64;
        ClockReading { wall: wall_now(), monotonic_ms }
    }
}

#[expect(clippy::disallowed_methods, reason = "the broker has no other clock")]
pub(super) fn wall_now() -> TimestampMs {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    TimestampMs(wall.expect("after 1970").as_millis() as i64)
}

/// Waits for something that comes by itself.
pub(super) fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
