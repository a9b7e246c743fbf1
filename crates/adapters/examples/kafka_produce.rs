//! Produces each line of standard input as a message, as others do who write to the topic: by
//! themselves, without a header or a key.
//!
//! `kafka_produce HOST:PORT TOPIC PARTITION`; a line that begins with `hex:` is bytes, an empty one a
//! message without a value.

use std::io::BufRead;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut arg = || args.next().ok_or("usage: kafka_produce HOST:PORT TOPIC PARTITION");
    let (servers, topic, partition) = (arg()?, arg()?, arg()?.parse()?);
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", servers).set("acks", "all").create()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let value = match line.strip_prefix("hex:") {
            Some(digits) => Some(bytes(digits)?),
            None => (!line.is_empty()).then(|| line.into_bytes()),
        };
        let mut record = BaseRecord::<[u8], [u8]>::to(&topic).partition(partition);
        record.payload = value.as_deref();
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(Duration::from_secs(30))?)
}

fn bytes(digits: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let byte = |at| {
        let digits = digits.get(at..at + 2).ok_or("half a byte")?;
        Ok(u8::from_str_radix(digits, 16)?)
    };
    (0..digits.len()).step_by(2).map(byte).collect()
}
