//! What each path asks of a key. What is not named here is for administrators: a path that somebody
//! forgets is shut, not open. The API's description says the same of every path, and a test compares.

use axum::http::Method;

use crate::keys::Scopes;

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Need {
    /// Open to everybody: health, and what is the same in every copy of the program.
    Nothing,
    /// Sending events: the scope `write`, and the one thing that public keys may do.
    SendEvents,
    /// One of these scopes.
    AnyOf(Scopes),
    /// Any key: there is nothing at this path, which is for those to know who may ask.
    AnyKey,
}

impl Need {
    /// What a method of a path needs; none is no path of ours.
    pub(in crate::http) fn of(method: &Method, route: Option<&str>) -> Self {
        let Some(route) = route else { return Self::AnyKey };
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match route {
            "/" | "/healthz" | "/readyz" | "/openapi.json" | "/beacon.js" => Self::Nothing,
            // The pages hold no numbers: they ask for them, with a key.
            "/items/{item}" | "/channels/{channel}" | "/health" | "/assets/{file}" => Self::Nothing,
            // The schema is in every copy of the program.
            "/subjects" | "/subjects/{subject}/versions" | "/schemas/ids/{id}" => Self::Nothing,
            "/subjects/{subject}/versions/{version}" => Self::Nothing,
            "/v1/events" | "/v1/items/{item}/events" if *method == Method::POST => Self::SendEvents,
            "/metrics" => Self::AnyOf(Scopes::READ),
            // Whoever sends a file asks whether it has been counted.
            "/v1/bulk" | "/v1/bulk/{id}" if reads => Self::AnyOf(Scopes::WRITE.and(Scopes::READ)),
            _ if route.starts_with("/v1/admin/") => Self::AnyOf(Scopes::ADMIN),
            _ if route.starts_with("/v1/") && reads => Self::AnyOf(Scopes::READ),
            _ if route == "/v1/bulk" || route.starts_with("/v1/items") => {
                Self::AnyOf(Scopes::WRITE)
            }
            _ => Self::AnyOf(Scopes::ADMIN),
        }
    }

    /// One of these will do.
    pub(in crate::http) fn scopes(self) -> Scopes {
        match self {
            Self::Nothing | Self::AnyKey => Scopes::NONE,
            Self::SendEvents => Scopes::WRITE,
            Self::AnyOf(scopes) => scopes,
        }
    }
}
