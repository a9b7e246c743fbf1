//! Reads events from the bytes of a block, by the plan of the writer's schema.
//!
//! Every length is checked against the bytes that are there, nesting and steps are bounded, so that
//! no bytes cost more than a bounded time and no memory at all.

use std::borrow::Cow;

use api::ProblemCode;
use model::limits::ATTRIBUTES_MAX;
use model::record::{EncodedEvent, uuid_text};
use model::{TimestampMs, Value};

use super::super::json::time_fault;
use super::super::{Draft, Fault};
use super::AvroError;
use super::schema::{Plan, Role, Type, TypeId};

/// Most values that are read or skipped in one file. A type without bytes costs nothing to send
/// a billion times; 16 MiB of single-byte values stay well below.
pub(super) const STEPS_MAX: u64 = 50_000_000;
/// Deepest nesting of a value that is skipped.
const DEPTH_MAX: u32 = 64;

/// Reads the events of one block.
pub(super) struct Datum<'a> {
    reader: Reader<'a>,
    plan: &'a Plan,
    steps: u64,
}

/// The outer error ends the file, the inner one only refuses the event.
type Field<T> = Result<Result<Option<T>, Fault>, AvroError>;

impl<'a> Datum<'a> {
    pub(super) fn new(block: &'a [u8], plan: &'a Plan, steps: u64) -> Self {
        Self { reader: Reader(block), plan, steps }
    }

    /// Ends the block: all of it must have been read. Gives back the steps that are left.
    pub(super) fn finish(self) -> Result<u64, AvroError> {
        match self.reader.0 {
            [] => Ok(self.steps),
            _ => Err(AvroError::Malformed("a block has bytes after its last event")),
        }
    }

    /// The next event, where it was written just as the log holds it.
    pub(super) fn encoded(&mut self) -> Option<EncodedEvent<'a>> {
        if !self.plan.is_ours {
            return None;
        }
        let (event, rest) = EncodedEvent::read_first(self.reader.0)?;
        self.reader.0 = rest;
        Some(event)
    }

    /// The next event, or why it is refused.
    pub(super) fn event(&mut self) -> Result<Result<Draft<'a>, Fault>, AvroError> {
        let mut draft = Draft::default();
        let mut fault = None;
        let plan = self.plan;
        for &(role, id) in &plan.fields {
            let read = match role {
                Role::Skipped => self.skip(id, 0).map(Ok)?,
                Role::Item => self.text(id, role)?.map(|text| draft.item = text),
                Role::Type => self.text(id, role)?.map(|text| draft.event_type = text),
                Role::Id => self.text(id, role)?.map(|text| draft.id = text),
                Role::Time => self.time(id)?.map(|time| draft.time = time),
                Role::Value => self.value(id)?.map(|value| draft.value = value),
                Role::Attributes => {
                    self.attributes(id)?.map(|pairs| draft.attributes = pairs.unwrap_or_default())
                }
            };
            if let Err(other) = read {
                fault.get_or_insert(other);
            }
        }
        Ok(fault.map_or(Ok(draft), Err))
    }

    fn step(&mut self) -> Result<(), AvroError> {
        let left = self.steps.checked_sub(1);
        self.steps = left.ok_or(AvroError::Malformed("the file has too many values"))?;
        Ok(())
    }

    /// The type of the value that comes next, the branch of a union already taken.
    fn next_type(&mut self, id: TypeId) -> Result<(TypeId, &'a Type), AvroError> {
        self.step()?;
        let plan = self.plan;
        let Type::Union(branches) = &plan.types[id] else { return Ok((id, &plan.types[id])) };
        let branch = usize::try_from(self.reader.zigzag()?).ok().and_then(|at| branches.get(at));
        let id = *branch.ok_or(AvroError::Malformed("a union has no such branch"))?;
        match &plan.types[id] {
            Type::Union(_) => Err(AvroError::Malformed("a union lies in a union")),
            branch => Ok((id, branch)),
        }
    }

    fn text(&mut self, id: TypeId, role: Role) -> Field<Cow<'a, str>> {
        let code = match role {
            Role::Item => ProblemCode::InvalidItem,
            Role::Type => ProblemCode::InvalidType,
            Role::Id => ProblemCode::InvalidId,
            Role::Attributes | Role::Time | Role::Value | Role::Skipped => {
                ProblemCode::InvalidAttributes
            }
        };
        let refused = |detail| Ok(Err(Fault::new(code, detail)));
        match self.next_type(id)? {
            (_, Type::Null) => Ok(Ok(None)),
            (_, Type::Bytes { is_uuid: true, .. }) if role == Role::Id => {
                match self.reader.bytes()?.try_into() {
                    Ok(uuid) => Ok(Ok(Some(uuid_text(uuid).into()))),
                    Err(_) => refused("a UUID has 16 bytes"),
                }
            }
            (_, Type::String | Type::Bytes { .. }) => {
                match std::str::from_utf8(self.reader.bytes()?) {
                    Ok(text) => Ok(Ok(Some(Cow::Borrowed(text)))),
                    Err(_) => refused("a text is not UTF-8"),
                }
            }
            (_, Type::Fixed { size: 16, .. }) if role == Role::Id => {
                let bytes = self.reader.take(16)?;
                let uuid = bytes.try_into().expect("16 bytes were taken");
                Ok(Ok(Some(uuid_text(uuid).into())))
            }
            (_, Type::Enum(symbols)) => {
                let at = usize::try_from(self.reader.zigzag()?).ok();
                let symbol = at.and_then(|at| symbols.get(at));
                let symbol = symbol.ok_or(AvroError::Malformed("an enum has no such symbol"))?;
                Ok(Ok(Some(Cow::Borrowed(symbol))))
            }
            (id, _) => {
                self.skip(id, 0)?;
                refused("the branch of the union is not a text")
            }
        }
    }

    fn time(&mut self, id: TypeId) -> Field<TimestampMs> {
        let time = match self.next_type(id)? {
            (_, Type::Null) => return Ok(Ok(None)),
            (_, Type::Int) => TimestampMs(self.reader.zigzag()?).checked(),
            (_, Type::Long { per_milli }) => {
                TimestampMs(self.reader.zigzag()?.div_euclid(*per_milli)).checked()
            }
            (_, Type::String) => match std::str::from_utf8(self.reader.bytes()?) {
                Ok(text) => TimestampMs::parse_rfc3339(text),
                Err(_) => Err(model::bucket::TimeError::NotATime),
            },
            (id, _) => {
                self.skip(id, 0)?;
                Err(model::bucket::TimeError::NotATime)
            }
        };
        Ok(time.map(Some).map_err(time_fault))
    }

    fn value(&mut self, id: TypeId) -> Field<Value> {
        let value = match self.next_type(id)? {
            (_, Type::Null) => return Ok(Ok(None)),
            (_, Type::Int | Type::Long { .. }) => {
                Value::from_scaled(i128::from(self.reader.zigzag()?), 0)
            }
            (_, Type::Float) => {
                let bytes = self.reader.take(4)?.try_into().expect("4 bytes were taken");
                Value::parse(&f32::from_le_bytes(bytes).to_string())
            }
            (_, Type::Double) => {
                let bytes = self.reader.take(8)?.try_into().expect("8 bytes were taken");
                Value::from_f64(f64::from_le_bytes(bytes))
            }
            (_, Type::String) => {
                Value::parse(std::str::from_utf8(self.reader.bytes()?).unwrap_or_default())
            }
            (_, Type::Bytes { scale: Some(scale), .. }) => decimal(self.reader.bytes()?, *scale),
            (_, Type::Fixed { size, scale: Some(scale) }) => {
                decimal(self.reader.take(*size)?, *scale)
            }
            (id, _) => {
                self.skip(id, 0)?;
                Err(model::value::ValueError::NotADecimal)
            }
        };
        let refused = |error: model::value::ValueError| {
            Fault::new(ProblemCode::InvalidValue, error.to_string())
        };
        Ok(value.map(Some).map_err(refused))
    }

    fn attributes(&mut self, id: TypeId) -> Field<Vec<(Cow<'a, str>, Cow<'a, str>)>> {
        let refused = |detail| Fault::new(ProblemCode::InvalidAttributes, detail);
        let values = match self.next_type(id)? {
            (_, Type::Null) => return Ok(Ok(None)),
            (_, Type::Map(values)) => *values,
            (id, _) => {
                self.skip(id, 0)?;
                return Ok(Err(refused("the branch of the union is not a map")));
            }
        };
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        let mut fault = None;
        loop {
            let count = self.reader.block_count()?;
            if count == 0 {
                return Ok(fault.map_or(Ok(Some(pairs)), Err));
            }
            for _ in 0..count {
                let key = std::str::from_utf8(self.reader.bytes()?);
                let value = self.text(values, Role::Attributes)?;
                match (key, value) {
                    (Ok(_), Ok(None)) => {}
                    (Ok(key), Ok(Some(_))) if pairs.iter().any(|(other, _)| other == key) => {
                        fault = Some(refused("an attribute comes twice"));
                    }
                    // One too many is kept for the rule to see; more would only cost.
                    (Ok(key), Ok(Some(value))) if pairs.len() <= ATTRIBUTES_MAX => {
                        pairs.push((Cow::Borrowed(key), value));
                    }
                    (Ok(_), Ok(Some(_))) => {}
                    (Err(_), _) => fault = Some(refused("an attribute's key is not UTF-8")),
                    (_, Err(other)) => fault = Some(other),
                }
            }
        }
    }

    fn skip(&mut self, id: TypeId, depth: u32) -> Result<(), AvroError> {
        if depth > DEPTH_MAX {
            return Err(AvroError::Malformed("a value is nested too deeply"));
        }
        match self.next_type(id)?.1 {
            Type::Null => {}
            Type::Boolean => self.reader.take(1).map(drop)?,
            Type::Int | Type::Long { .. } | Type::Enum(_) => self.reader.zigzag().map(drop)?,
            Type::Float => self.reader.take(4).map(drop)?,
            Type::Double => self.reader.take(8).map(drop)?,
            Type::Bytes { .. } | Type::String => self.reader.bytes().map(drop)?,
            Type::Fixed { size, .. } => self.reader.take(*size).map(drop)?,
            Type::Array(items) => self.skip_blocks(*items, false, depth)?,
            Type::Map(values) => self.skip_blocks(*values, true, depth)?,
            Type::Record(fields) => {
                for &(_, field) in fields {
                    self.skip(field, depth + 1)?;
                }
            }
            Type::Union(_) => unreachable!("the branch was taken"),
        }
        Ok(())
    }

    fn skip_blocks(&mut self, id: TypeId, has_keys: bool, depth: u32) -> Result<(), AvroError> {
        loop {
            let count = self.reader.block_count()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                if has_keys {
                    self.reader.bytes()?;
                }
                self.skip(id, depth + 1)?;
            }
        }
    }
}

/// Big-endian two's complement over a power of ten.
fn decimal(bytes: &[u8], scale: u32) -> Result<Value, model::value::ValueError> {
    let Some(&first) = bytes.first() else { return Value::from_scaled(0, scale) };
    let sign: u8 = if first < 0x80 { 0 } else { 0xff };
    // More than 16 bytes are in bounds only where the rest repeats the sign.
    let low_at = bytes.len().saturating_sub(16);
    if bytes[..low_at].iter().any(|&byte| byte != sign)
        || (low_at > 0 && (bytes[low_at] ^ sign) >= 0x80)
    {
        return Err(model::value::ValueError::TooLarge);
    }
    let start = if sign == 0 { 0 } else { -1 };
    let unscaled = bytes[low_at..].iter().fold(start, |n: i128, &b| n << 8 | i128::from(b));
    Value::from_scaled(unscaled, scale)
}

/// Reads Avro's primitives from the front of a slice.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], AvroError> {
        let split = self.0.split_at_checked(len);
        let (taken, rest) = split.ok_or(AvroError::Malformed("the file ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn zigzag(&mut self) -> Result<i64, AvroError> {
        let mut number = 0u64;
        for (at, &byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(AvroError::Malformed("a number does not end"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], AvroError> {
        let len = usize::try_from(self.zigzag()?)
            .map_err(|_| AvroError::Malformed("a length is negative"))?;
        self.take(len)
    }

    /// The number of items in the next block of an array or map; 0 ends it. A negative count has
    /// the size of the block behind it.
    pub(super) fn block_count(&mut self) -> Result<u64, AvroError> {
        let count = self.zigzag()?;
        if count < 0 {
            self.zigzag()?;
        }
        Ok(count.unsigned_abs())
    }
}
