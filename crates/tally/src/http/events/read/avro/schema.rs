//! The writer's schema, and what each of its fields means to us.

use std::collections::HashMap;
use std::sync::LazyLock;

use model::record::EVENT_SCHEMA;
use serde_json::Value as Json;

use super::AvroError;

/// Index of a type in [`Plan::types`].
pub(super) type TypeId = usize;

/// A type of the writer's schema, with what matters of its logical type.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Boolean,
    Int,
    /// Units to divide by to get milliseconds; a plain long is milliseconds where it is a time.
    Long {
        per_milli: i64,
    },
    Float,
    Double,
    /// The scale of a decimal, where it is one.
    Bytes {
        scale: Option<u32>,
        is_uuid: bool,
    },
    String,
    Fixed {
        size: usize,
        scale: Option<u32>,
    },
    Enum(Vec<String>),
    Array(TypeId),
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(Vec<(Role, TypeId)>),
}

/// What a field of the writer's record is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Id,
    Item,
    Type,
    Time,
    Value,
    Attributes,
    Skipped,
}

/// How to read events of a writer's schema.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) types: Vec<Type>,
    /// The fields of the event, in the order they are written.
    pub(super) fields: Vec<(Role, TypeId)>,
    /// Whether it writes events just as ours does, whatever its types are called.
    pub(super) is_ours: bool,
}

/// The types and fields of our schema.
static OURS: LazyLock<Plan> =
    LazyLock::new(|| Plan::parse(EVENT_SCHEMA).expect("our schema resolves to itself"));

impl Plan {
    /// Parses a schema and checks that it resolves to ours: a record with an `item`, and every
    /// field that we know of a type that can be read as ours.
    pub(super) fn resolve(schema_json: &str) -> Result<Self, AvroError> {
        let plan = Self::parse(schema_json)?;
        let is_ours = plan.types == OURS.types && plan.fields == OURS.fields;
        Ok(Self { is_ours, ..plan })
    }

    fn parse(schema_json: &str) -> Result<Self, AvroError> {
        // The parser's own bound of 128 on nesting bounds the recursion here.
        let json: Json = serde_json::from_str(schema_json).map_err(|e| bad(e.to_string()))?;
        let mut parser = Parser { types: Vec::new(), names: HashMap::new() };
        let root = parser.parse(&json, "")?;
        let mut types = parser.types;
        let Type::Record(fields) = &mut types[root] else {
            return Err(bad("the top level is not a record"));
        };
        // A record inside itself needs its fields too.
        let fields = fields.clone();
        for (at, &(role, id)) in fields.iter().enumerate() {
            if fields[..at].iter().any(|&(other, _)| role != Role::Skipped && other == role) {
                return Err(bad(format!("the field {role:?} comes twice")));
            }
            if !accepts(&types, role, id) {
                return Err(bad(format!("the type of the field {role:?} cannot be read as ours")));
            }
        }
        if !fields.iter().any(|&(role, _)| role == Role::Item) {
            return Err(bad("there is no field `item`"));
        }
        Ok(Self { types, fields, is_ours: false })
    }
}

fn bad(detail: impl Into<String>) -> AvroError {
    AvroError::Schema(detail.into())
}

/// Whether some value of the type can be read in the role.
fn accepts(types: &[Type], role: Role, id: TypeId) -> bool {
    match (&types[id], role) {
        (_, Role::Skipped) => true,
        (Type::Union(branches), _) => branches.iter().any(|&branch| {
            !matches!(types[branch], Type::Union(_) | Type::Null) && accepts(types, role, branch)
        }),
        (Type::String | Type::Bytes { .. } | Type::Enum(_), Role::Item | Role::Type | Role::Id)
        | (Type::Fixed { size: 16, .. }, Role::Id)
        | (Type::Int | Type::Long { .. } | Type::String, Role::Time)
        | (Type::Int | Type::Long { .. } | Type::Float | Type::Double, Role::Value)
        | (Type::String, Role::Value)
        | (Type::Bytes { scale: Some(_), .. }, Role::Value)
        | (Type::Fixed { scale: Some(_), .. }, Role::Value) => true,
        (Type::Map(values), Role::Attributes) => accepts(types, Role::Item, *values),
        _ => false,
    }
}

struct Parser {
    types: Vec<Type>,
    names: HashMap<String, TypeId>,
}

impl Parser {
    fn parse(&mut self, json: &Json, namespace: &str) -> Result<TypeId, AvroError> {
        match json {
            Json::String(name) => self.named(name, namespace),
            Json::Array(branches) => {
                let branches = branches.iter().map(|branch| self.parse(branch, namespace));
                let branches = branches.collect::<Result<Vec<_>, _>>()?;
                Ok(self.add(Type::Union(branches)))
            }
            Json::Object(object) => match &object.get("type") {
                Some(Json::String(kind)) => self.object(kind, object, namespace),
                Some(inner) => self.parse(inner, namespace),
                None => Err(bad("a type has no `type`")),
            },
            _ => Err(bad("a type is neither a name, an object nor a union")),
        }
    }

    fn add(&mut self, new: Type) -> TypeId {
        self.types.push(new);
        self.types.len() - 1
    }

    fn named(&mut self, name: &str, namespace: &str) -> Result<TypeId, AvroError> {
        if let Some(primitive) = primitive(name, None, None) {
            return Ok(self.add(primitive));
        }
        let full = full_name(name, namespace);
        let known = self.names.get(&full).or_else(|| self.names.get(name));
        known.copied().ok_or_else(|| bad(format!("the type `{name}` is not known")))
    }

    fn object(
        &mut self,
        kind: &str,
        object: &serde_json::Map<String, Json>,
        namespace: &str,
    ) -> Result<TypeId, AvroError> {
        let logical = object.get("logicalType").and_then(Json::as_str);
        let scale = || object.get("scale").and_then(Json::as_u64).unwrap_or(0);
        let scale = (logical == Some("decimal"))
            .then(|| u32::try_from(scale()).map_err(|_| bad("a scale is out of bounds")))
            .transpose()?;
        if let Some(primitive) = primitive(kind, logical, scale) {
            return Ok(self.add(primitive));
        }
        let member = |name| object.get(name).ok_or_else(|| bad(format!("{kind} has no `{name}`")));
        match kind {
            "array" => {
                let items = self.parse(member("items")?, namespace)?;
                Ok(self.add(Type::Array(items)))
            }
            "map" => {
                let values = self.parse(member("values")?, namespace)?;
                Ok(self.add(Type::Map(values)))
            }
            "fixed" => {
                let size = member("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| bad("a size is out of bounds"))?;
                self.define(object, namespace, Type::Fixed { size, scale }).map(|(id, _)| id)
            }
            "enum" => {
                let symbols = member("symbols")?.as_array().map(Vec::as_slice).unwrap_or_default();
                let symbols = symbols.iter().filter_map(Json::as_str).map(str::to_owned).collect();
                self.define(object, namespace, Type::Enum(symbols)).map(|(id, _)| id)
            }
            "record" | "error" => {
                // Defined before its fields, which may name it.
                let (id, namespace) = self.define(object, namespace, Type::Record(Vec::new()))?;
                let fields = member("fields")?.as_array().map(Vec::as_slice).unwrap_or_default();
                let fields = fields.iter().map(|field| self.field(field, &namespace));
                self.types[id] = Type::Record(fields.collect::<Result<_, _>>()?);
                Ok(id)
            }
            name => self.named(name, namespace),
        }
    }

    /// Adds a named type; gives the namespace inside it too.
    fn define(
        &mut self,
        object: &serde_json::Map<String, Json>,
        enclosing: &str,
        new: Type,
    ) -> Result<(TypeId, String), AvroError> {
        let name = object.get("name").and_then(Json::as_str);
        let name = name.ok_or_else(|| bad("a named type has no `name`"))?;
        let own = object.get("namespace").and_then(Json::as_str);
        let full = full_name(name, own.unwrap_or(enclosing));
        let namespace = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let id = self.add(new);
        if self.names.insert(full, id).is_some() {
            return Err(bad(format!("the type `{name}` is defined twice")));
        }
        Ok((id, namespace))
    }

    fn field(&mut self, field: &Json, namespace: &str) -> Result<(Role, TypeId), AvroError> {
        let name = field.get("name").and_then(Json::as_str);
        let role = match name.ok_or_else(|| bad("a field has no `name`"))? {
            "id" => Role::Id,
            "item" => Role::Item,
            "type" => Role::Type,
            "time" => Role::Time,
            "value" => Role::Value,
            "attributes" => Role::Attributes,
            _ => Role::Skipped,
        };
        let kind = field.get("type").ok_or_else(|| bad("a field has no `type`"))?;
        Ok((role, self.parse(kind, namespace)?))
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn primitive(kind: &str, logical: Option<&str>, scale: Option<u32>) -> Option<Type> {
    let per_milli = || match logical {
        Some("timestamp-micros" | "local-timestamp-micros") => 1_000,
        Some("timestamp-nanos" | "local-timestamp-nanos") => 1_000_000,
        _ => 1,
    };
    Some(match kind {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long { per_milli: per_milli() },
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" => Type::Bytes { scale, is_uuid: logical == Some("uuid") },
        "string" => Type::String,
        _ => return None,
    })
}
