//! Whether the cluster can be reached at all, and if not, why. What brokers and TLS say of a connection
//! does not come with the request that failed for it, but as events of the client: they are heard here, so
//! that a wrong password is told as that and not as brokers that do not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::ports::{ErrorKind, PortError};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::topic::ANSWER;
use super::{KafkaSettings, bad_client};

/// Once something was heard that does not pass by itself, another broker has so long to do better.
const SECOND_CHANCE: Duration = Duration::from_secs(3);
/// The first request waits so long, the next ones longer and longer: what is heard meanwhile is looked at.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// So long the client is listened to between two requests. Without a time it would tell one event alone, and
/// what names the cause may stand behind others.
const LISTEN: Duration = Duration::from_millis(100);

/// What stands in the way, as the client tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    /// What to look at.
    hint: &'static str,
    /// Whether it stays until somebody changes a setting.
    stays: bool,
    /// What the client says.
    said: String,
}

impl Trouble {
    /// What says more has the higher one.
    fn rank(&self) -> u8 {
        match self {
            Self { stays: true, .. } => 2,
            Self { hint, .. } => u8::from(hint.contains("security.protocol")),
        }
    }
}

/// The trouble that was heard, and when first.
#[derive(Clone, Default)]
struct Hearing(Arc<Mutex<Option<(Trouble, Instant)>>>);

impl Hearing {
    fn note(&self, trouble: Trouble) {
        let mut heard = self.0.lock();
        // "All brokers are down" follows on every cause, and says less.
        // So does a port that is not there, or breaks off again, beside one that named an option.
        let is_better = heard.as_ref().is_none_or(|(before, _)| trouble.rank() >= before.rank());
        if is_better {
            let since = heard.as_ref().filter(|(before, _)| before.stays == trouble.stays);
            let since = since.map_or_else(Instant::now, |(_, since)| *since);
            *heard = Some((trouble, since));
        }
    }
}

impl ClientContext for Hearing {
    /// A broker that breaks off while the client greets it is no error to the client: it says so here.
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        if let Some(trouble) = judge(None, message) {
            self.note(trouble);
        }
    }

    fn error(&self, error: KafkaError, said: &str) {
        if let Some(trouble) = judge(error.rdkafka_error_code(), said) {
            self.note(trouble);
        }
    }
}

impl ProducerContext for Hearing {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// What an error of the client, or a line without a code, means for whoever set the options; none for
/// what says nothing of a cause.
fn judge(code: Option<RDKafkaErrorCode>, said: &str) -> Option<Trouble> {
    let (hint, stays) = match code {
        Some(RDKafkaErrorCode::AllBrokersDown) => return None,
        Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
            ("it refuses the user: see sasl.username, sasl.password and sasl.mechanism", true)
        }
        // A broker that stops breaks off in these ways too.
        _ if said.contains("PLAINTEXT broker listener") => {
            ("the port may not speak TLS: name another, or see security.protocol", false)
        }
        _ if said.contains("security.protocol") => (
            "the port may want TLS, or a user: see security.protocol, which is PLAINTEXT, SSL, SASL_SSL or \
             SASL_PLAINTEXT",
            false,
        ),
        Some(RDKafkaErrorCode::SSL) => (
            "TLS is refused: see ssl.ca.location, which names who signed the broker's certificate, and \
             whether that is for the host's name",
            true,
        ),
        Some(_) => ("is Kafka running there?", false),
        None => return None,
    };
    Some(Trouble { hint, stays, said: said.to_owned() })
}

/// Returns once a broker answers.
///
/// # Errors
/// `Invalid` where brokers refuse the user or TLS fails, `Unavailable` where none answers.
pub(super) fn reach(settings: &KafkaSettings) -> Result<(), PortError> {
    let hearing = Hearing::default();
    let mut client = settings.client()?;
    // What it logs is heard here, whatever this process logs.
    client.set_log_level(RDKafkaLogLevel::Info);
    let probe: BaseProducer<Hearing> =
        client.create_with_context(hearing.clone()).map_err(bad_client)?;
    let begun = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        let left = ANSWER.saturating_sub(begun.elapsed());
        let asked = probe.client().fetch_metadata(Some(&settings.place.topic), wait.min(left));
        let Err(error) = asked else { return Ok(()) };
        probe.poll(LISTEN);
        let heard = hearing.0.lock().clone();
        let is_final = heard
            .as_ref()
            .is_some_and(|(trouble, since)| trouble.stays && since.elapsed() >= SECOND_CHANCE);
        if is_final || begun.elapsed() >= ANSWER {
            return Err(unreachable(settings, heard.map(|(trouble, _)| trouble), error));
        }
        wait = (wait * 2).min(SECOND_CHANCE);
    }
}

fn unreachable(settings: &KafkaSettings, heard: Option<Trouble>, error: KafkaError) -> PortError {
    let place = &settings.place;
    match heard {
        Some(Trouble { hint, stays: true, said }) => {
            PortError::new(ErrorKind::Invalid, format!("{place}: {hint} ({said})"))
        }
        Some(Trouble { hint, stays: false, said }) => {
            let seconds = ANSWER.as_secs();
            let context =
                format!("no broker of {place} answers within {seconds} s: {hint} ({said})");
            PortError::new(ErrorKind::Unavailable, context)
        }
        None => {
            let seconds = ANSWER.as_secs();
            let context = format!(
                "no broker of {place} answers within {seconds} s; is Kafka running there, and does the port want \
                 TLS or a user, which security.protocol says?"
            );
            PortError::caused(ErrorKind::Unavailable, context, error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_not_hidden_by_what_follows_on_it() {
        let hearing = Hearing::default();
        let down = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
        hearing.error(down.clone(), "1/1 brokers are down");
        assert!(hearing.0.lock().is_none(), "that says nothing of a cause");
        hearing.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "refused");
        let refused = KafkaError::Global(RDKafkaErrorCode::Authentication);
        hearing.error(refused, "invalid credentials");
        hearing.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "refused");
        hearing.error(down, "1/1 brokers are down");
        let (trouble, _) = hearing.0.lock().clone().expect("trouble");
        assert!(trouble.stays && trouble.hint.contains("sasl.password"), "{trouble:?}");
    }

    #[test]
    fn a_port_that_wants_another_protocol_may_only_be_starting() {
        let code = Some(RDKafkaErrorCode::BrokerTransportFailure);
        let said = "Disconnected: might be caused by incorrect security.protocol configuration";
        let trouble = judge(code, said).expect("trouble");
        assert!(!trouble.stays && trouble.hint.contains("security.protocol"), "{trouble:?}");
    }
}
