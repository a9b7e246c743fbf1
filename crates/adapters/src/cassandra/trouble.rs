//! Why no node could be used, for whoever wrote the setting: the driver knows, in errors within errors.

use engine::ports::{ErrorKind, PortError};
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, MetadataError,
    NewSessionError,
};

use super::place::Place;

/// What a session that could not be opened means.
pub(super) fn unreachable(place: &Place, error: NewSessionError) -> PortError {
    let (kind, hint) = match last_attempt(&error) {
        Some(attempt) => judge(place.is_encrypted(), attempt),
        None => (ErrorKind::Unavailable, "is Cassandra running there?"),
    };
    PortError::caused(kind, format!("no node of {place:?} can be used: {hint}"), error)
}

fn last_attempt(error: &NewSessionError) -> Option<&ConnectionError> {
    match error {
        NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
            ConnectionPoolError::Broken { last_connection_error },
        )) => Some(last_connection_error),
        _ => None,
    }
}

/// What does not pass by itself is `Invalid`.
fn judge(is_encrypted: bool, attempt: &ConnectionError) -> (ErrorKind, &'static str) {
    const NO_TLS: &str =
        "the port does not speak TLS: name another, or leave out `tls` and `tls_ca`";
    const WANTS_TLS: &str = "the port may want TLS: see the options `tls` and `tls_ca`";

    match attempt {
        ConnectionError::IoError(error) => match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(_)) => (
                ErrorKind::Invalid,
                "its certificate is not trusted: see `tls_ca`, which names who signed it, and whether it \
                 is for the name or address that the node has here",
            ),
            Some(rustls::Error::InvalidMessage(_)) => (ErrorKind::Invalid, NO_TLS),
            Some(_) => (ErrorKind::Unavailable, "TLS failed: see the options `tls` and `tls_ca`"),
            None if is_encrypted && error.kind() == std::io::ErrorKind::UnexpectedEof => {
                (ErrorKind::Unavailable, NO_TLS)
            }
            None => (ErrorKind::Unavailable, "is Cassandra running there?"),
        },
        ConnectionError::ConnectionSetupRequestError(error) => match &error.error {
            ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, _) => (
                ErrorKind::Invalid,
                "it refuses the user or the password: see `user_file`, or user:password@ in the URL",
            ),
            ConnectionSetupRequestErrorKind::MissingAuthentication => (
                ErrorKind::Invalid,
                "it wants to know who asks: give `user_file`, or user:password@ in the URL",
            ),
            _ if !is_encrypted => (ErrorKind::Unavailable, WANTS_TLS),
            _ => (ErrorKind::Unavailable, "it broke off; does it speak CQL?"),
        },
        ConnectionError::BrokenConnection(_) if !is_encrypted => {
            (ErrorKind::Unavailable, WANTS_TLS)
        }
        _ => (ErrorKind::Unavailable, "is Cassandra running there?"),
    }
}

fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    fn told(is_encrypted: bool, error: io::Error) -> (ErrorKind, &'static str) {
        judge(is_encrypted, &ConnectionError::IoError(Arc::new(error)))
    }

    #[test]
    fn what_tls_says_is_told_in_terms_of_the_options() {
        let tls = |error: rustls::Error| told(true, io::Error::other(error));
        let (kind, hint) = tls(rustls::CertificateError::UnknownIssuer.into());
        assert_eq!(kind, ErrorKind::Invalid);
        assert!(hint.contains("tls_ca"), "{hint}");
        let (kind, hint) = tls(rustls::InvalidMessage::InvalidContentType.into());
        assert_eq!(kind, ErrorKind::Invalid);
        assert!(hint.contains("does not speak TLS"), "{hint}");
        // A node that is starting.
        let (kind, hint) = told(true, io::ErrorKind::ConnectionRefused.into());
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(hint.contains("running"), "{hint}");
    }
}
