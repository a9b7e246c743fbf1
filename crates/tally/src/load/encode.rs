//! Writes made-up events as NDJSON, JSON or an Avro container file, byte by byte: a serialiser per
//! event would cost more than the server under test.
//!
//! An Avro body: `Obj\x01`, metadata (schema, codec null), sync marker, then one block: count, size
//! in bytes, events, sync marker. Integers are zigzag varints.

use super::generator::{COUNTRIES, DEVICES, EVENT_TYPES, MadeEvent};

/// How bodies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BodyFormat {
    /// One event a line
    Ndjson,
    /// An Avro object container file
    Avro,
    /// One event object where the batch is 1, an array of them otherwise
    Json,
}

impl BodyFormat {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Avro => "application/avro",
            Self::Json => "application/json",
        }
    }
}

/// Any 16 bytes that are unlikely in a block.
const SYNC: [u8; 16] = *b"tally-load-sync\x9c";
/// An event is smaller in every format.
const EVENT_ROOM: usize = 224;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes one body after another.
#[derive(Debug)]
pub(crate) struct Encoder {
    format: BodyFormat,
    is_array: bool,
    out: Vec<u8>,
    /// Everything of an Avro file before its block.
    avro_header: Vec<u8>,
    /// The time as text, written again only when it changes.
    time_ms: u64,
    time_text: String,
    /// `,"attributes":{…}}` of every country and device.
    json_ends: Vec<Vec<u8>>,
    avro_ends: Vec<Vec<u8>>,
}

impl Encoder {
    pub(crate) fn new(format: BodyFormat, attributes: bool) -> Self {
        let places = || COUNTRIES.iter().flat_map(|c| DEVICES.iter().map(move |d| (*c, *d)));
        let json_end = |(country, device): (&str, &str)| match attributes {
            true => {
                format!(",\"attributes\":{{\"country\":\"{country}\",\"device\":\"{device}\"}}}}")
                    .into_bytes()
            }
            false => b"}".to_vec(),
        };
        let avro_end = |(country, device): (&str, &str)| {
            let mut end = Vec::new();
            if attributes {
                push_long(&mut end, 2);
                for text in ["country", country, "device", device] {
                    push_bytes(&mut end, text.as_bytes());
                }
            }
            push_long(&mut end, 0);
            // No source.
            push_long(&mut end, 0);
            end
        };
        Self {
            format,
            is_array: false,
            out: Vec::new(),
            avro_header: avro_header(),
            time_ms: 0,
            time_text: String::new(),
            json_ends: places().map(json_end).collect(),
            avro_ends: places().map(avro_end).collect(),
        }
    }

    /// Begins a body of so many events.
    pub(crate) fn begin(&mut self, events: u32, now_ms: u64) {
        self.set_time(now_ms);
        self.out = Vec::with_capacity(self.avro_header.len() + events as usize * EVENT_ROOM);
        self.is_array = self.format == BodyFormat::Json && events != 1;
        if self.is_array {
            self.out.push(b'[');
        }
    }

    pub(crate) fn push(&mut self, event: &MadeEvent) {
        match self.format {
            BodyFormat::Avro => self.push_avro(event),
            BodyFormat::Ndjson | BodyFormat::Json => self.push_json(event),
        }
    }

    /// The body.
    pub(crate) fn finish(&mut self, events: u32) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.out);
        match self.format {
            BodyFormat::Ndjson => {}
            BodyFormat::Json if self.is_array => {
                if events > 0 {
                    out.pop();
                }
                out.push(b']');
            }
            BodyFormat::Json => {
                out.pop();
            }
            BodyFormat::Avro => {
                let mut body = Vec::with_capacity(self.avro_header.len() + out.len() + 40);
                body.extend_from_slice(&self.avro_header);
                push_long(&mut body, i64::from(events));
                push_long(&mut body, out.len() as i64);
                body.extend_from_slice(&out);
                body.extend_from_slice(&SYNC);
                return body;
            }
        }
        out
    }

    fn push_json(&mut self, event: &MadeEvent) {
        if event.time_ms != self.time_ms {
            self.set_time(event.time_ms);
        }
        let out = &mut self.out;
        out.extend_from_slice(b"{\"id\":\"");
        push_uuid(out, event.id);
        out.extend_from_slice(b"\",\"item\":\"");
        out.extend_from_slice(&event.item);
        out.extend_from_slice(b"\",\"type\":\"");
        out.extend_from_slice(EVENT_TYPES[usize::from(event.event_type)].as_bytes());
        out.extend_from_slice(b"\",\"time\":\"");
        out.extend_from_slice(self.time_text.as_bytes());
        out.push(b'"');
        if event.value_milli > 0 {
            out.extend_from_slice(b",\"value\":");
            push_milli(out, event.value_milli);
        }
        out.extend_from_slice(&self.json_ends[usize::from(event.place) % self.json_ends.len()]);
        out.push(if self.is_array { b',' } else { b'\n' });
    }

    fn push_avro(&mut self, event: &MadeEvent) {
        let out = &mut self.out;
        push_long(out, 1);
        out.extend_from_slice(&event.id);
        push_bytes(out, &event.item);
        push_bytes(out, EVENT_TYPES[usize::from(event.event_type)].as_bytes());
        push_long(out, 1);
        push_long(out, event.time_ms as i64);
        if event.value_milli > 0 {
            push_long(out, 1);
            let micro = (i64::from(event.value_milli) * 1000).to_be_bytes();
            // The shortest two's complement: the first byte that counts keeps the sign bit clear.
            let zeros = micro.iter().take_while(|&&byte| byte == 0).count();
            let start = if micro[zeros] & 0x80 == 0 { zeros } else { zeros - 1 };
            push_bytes(out, &micro[start..]);
        } else {
            push_long(out, 0);
        }
        out.extend_from_slice(&self.avro_ends[usize::from(event.place) % self.avro_ends.len()]);
    }

    fn set_time(&mut self, time_ms: u64) {
        self.time_ms = time_ms;
        self.time_text = i64::try_from(time_ms)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
            .map(|time| format!("{time:.3}"))
            .unwrap_or_default();
    }
}

fn avro_header() -> Vec<u8> {
    let mut header = b"Obj\x01".to_vec();
    push_long(&mut header, 2);
    push_bytes(&mut header, b"avro.schema");
    push_bytes(&mut header, model::record::EVENT_SCHEMA.as_bytes());
    push_bytes(&mut header, b"avro.codec");
    push_bytes(&mut header, b"null");
    push_long(&mut header, 0);
    header.extend_from_slice(&SYNC);
    header
}

fn push_long(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

fn push_uuid(out: &mut Vec<u8>, id: [u8; 16]) {
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (i, byte) in id.into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    out.extend_from_slice(&text);
}

/// Thousandths as a decimal without zeros at its end.
fn push_milli(out: &mut Vec<u8>, milli: u32) {
    let mut digits = [0_u8; 10];
    let mut at = digits.len();
    let mut whole = milli / 1000;
    loop {
        at -= 1;
        digits[at] = b'0' + (whole % 10) as u8;
        whole /= 10;
        if whole == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    let fraction = milli % 1000;
    if fraction > 0 {
        let text = [
            b'.',
            b'0' + (fraction / 100) as u8,
            b'0' + (fraction / 10 % 10) as u8,
            b'0' + (fraction % 10) as u8,
        ];
        let zeros = text.iter().rev().take_while(|&&digit| digit == b'0').count();
        out.extend_from_slice(&text[..text.len() - zeros]);
    }
}
