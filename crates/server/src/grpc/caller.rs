//! The way into every service: who calls, how long they wait, and the data they ask for.

use std::time::Duration;

use kvorum_core::{Error, Identity, Outcome, limits};
use tonic::metadata::MetadataMap;

use crate::auth::{Authenticator, Credentials};
use crate::data::{ClientKey, Data};

/// What every service holds. Clones share it.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The data.
    pub data: Data,
    authenticator: Authenticator,
}

/// Who calls, and how long they wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// On whose behalf the call runs.
    pub identity: Identity,
    /// The client's name for the call, if it has one.
    pub key: Option<ClientKey>,
    /// The deadline of the call itself, if it has one.
    deadline: Option<Duration>,
}

impl Gate {
    pub fn new(data: Data, authenticator: Authenticator) -> Gate {
        Gate { data, authenticator }
    }

    /// The caller of a request with this metadata.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the metadata name an impossible deadline or idempotency key.
    pub fn caller(&self, metadata: &MetadataMap) -> Outcome<Caller> {
        let text = |name| metadata.get(name).and_then(|value| value.to_str().ok());
        let credentials = Credentials::of_header(text("authorization"));
        let identity = self.authenticator.identify(credentials);
        let deadline = text("grpc-timeout").map(parse_timeout).transpose()?;
        let key = idempotency_key(metadata)?;
        Ok(Caller { identity, key, deadline })
    }
}

impl Caller {
    /// How long a request may take that names `timeout_ms` (zero for none): at most as long as
    /// its call. Nothing means the default.
    #[must_use]
    pub fn timeout(&self, timeout_ms: u32) -> Option<Duration> {
        let named = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.into()));
        match (named, self.deadline) {
            (Some(named), Some(deadline)) => Some(named.min(deadline)),
            (Some(named), None) => Some(named),
            // A long call is not an error: clients set it without knowing our limit.
            (None, deadline) => deadline.map(|deadline| deadline.min(limits::MAX_DEADLINE)),
        }
    }
}

/// The name of a call. One that cannot be read is not passed over: the client relies on it.
fn idempotency_key(metadata: &MetadataMap) -> Outcome<Option<ClientKey>> {
    let mut values = metadata.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid("idempotency-key is there more than once"));
    }
    let text = value.to_str().map_err(|_| Error::invalid("idempotency-key is not text"))?;
    ClientKey::parse(text).map(Some)
}

/// Reads a `grpc-timeout`: up to eight digits and a unit (gRPC over HTTP/2, "Requests").
fn parse_timeout(text: &str) -> Outcome<Duration> {
    let wrong =
        || Error::invalid(format!("grpc-timeout {text:?} is not up to 8 digits and a unit"));
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let digits = text.strip_suffix(unit).unwrap_or_default();
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    match unit {
        'H' => Ok(Duration::from_secs(count * 3600)),
        'M' => Ok(Duration::from_secs(count * 60)),
        'S' => Ok(Duration::from_secs(count)),
        'm' => Ok(Duration::from_millis(count)),
        'u' => Ok(Duration::from_micros(count)),
        'n' => Ok(Duration::from_nanos(count)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit() {
        assert_eq!(parse_timeout("1H"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse_timeout("2M"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_timeout("3S"), Ok(Duration::from_secs(3)));
        assert_eq!(parse_timeout("1500m"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_timeout("99999999u"), Ok(Duration::from_micros(99_999_999)));
        for wrong in ["", "S", "1", "1s", "-1S", "123456789S", "1ß"] {
            assert!(parse_timeout(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_read_is_refused() {
        let mut metadata = MetadataMap::new();
        assert_eq!(idempotency_key(&metadata), Ok(None));
        metadata.append("idempotency-key", MetadataValue::from_static("one"));
        assert!(idempotency_key(&metadata).unwrap().is_some());
        metadata.append("idempotency-key", MetadataValue::from_static("two"));
        assert!(idempotency_key(&metadata).is_err());
        let no_text = MetadataValue::try_from(&[0xff_u8][..]).unwrap();
        metadata.insert("idempotency-key", no_text);
        assert!(idempotency_key(&metadata).is_err());
    }

    #[test]
    fn the_shorter_of_two_deadlines_counts_and_long_calls_are_cut_to_the_limit() {
        let caller = |deadline| Caller { identity: Identity::ANONYMOUS, key: None, deadline };
        let second = Duration::from_secs(1);
        assert_eq!(caller(None).timeout(0), None);
        assert_eq!(caller(None).timeout(70), Some(Duration::from_millis(70)));
        assert_eq!(caller(Some(second)).timeout(70), Some(Duration::from_millis(70)));
        assert_eq!(caller(Some(second)).timeout(7000), Some(second));
        assert_eq!(caller(Some(second * 600)).timeout(0), Some(limits::MAX_DEADLINE));
    }
}
