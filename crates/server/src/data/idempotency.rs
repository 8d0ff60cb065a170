//! Names that clients give to writes of strong keyspaces, so that sent again they are not done twice.
//!
//! The form is that of the header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a
//! structured string, `"8e03978e-40d5-43dd-bc93-6894a57f9324"`; without its quotes it is understood
//! too. A client with many writes had better have few keys with numbers, `"worker-7"; seq=42`,
//! each used by one request after the other: each key is a session that a partition remembers.

use kvorum_core::{Error, IdempotencyKey, Identity, Outcome};
use sha2::{Digest, Sha256};

/// The longest name, in bytes.
const MAX_NAME: usize = 255;

/// A name as a client words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKey {
    name: String,
    seq: u64,
    /// Which operation of a batch it names.
    part: Option<usize>,
}

impl ClientKey {
    /// Reads the value of the header.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is empty, too long, or not of the form.
    pub fn parse(text: &str) -> Outcome<ClientKey> {
        let wrong = |what: &str| Error::invalid(format!("Idempotency-Key {what}"));
        let (name, parameters) = match text.trim().strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(wrong("has no closing quote"))?,
            None => text.trim().split_at(text.trim().find(';').unwrap_or(text.trim().len())),
        };
        let name = name.trim_end();
        if name.is_empty() || name.len() > MAX_NAME || name.contains(['\\', '"', ',']) {
            return Err(wrong("is a text of 1 to 255 characters without quotes and commas"));
        }
        let seq = match parameters.trim().strip_prefix(';').map(str::trim) {
            None if parameters.trim().is_empty() => 0,
            Some(parameter) => {
                let number = parameter.strip_prefix("seq=").and_then(|number| number.parse().ok());
                number.ok_or(wrong("has one parameter, seq, which is a number"))?
            }
            None => return Err(wrong("goes on behind its closing quote")),
        };
        Ok(ClientKey { name: name.to_owned(), seq, part: None })
    }

    /// The name of one operation of a batch.
    #[must_use]
    pub fn of_part(self, part: usize) -> ClientKey {
        ClientKey { part: Some(part), ..self }
    }

    /// What the keyspace knows it by: users do not share names.
    #[must_use]
    pub fn of(&self, identity: &Identity) -> IdempotencyKey {
        let mut hash = Sha256::new();
        let user = identity.user().map(|user| format!("{}:{user}", user.len()));
        hash.update(user.unwrap_or_default());
        hash.update([0]);
        hash.update(&self.name);
        if let Some(part) = self.part {
            hash.update([0]);
            hash.update((part as u64).to_le_bytes());
        }
        let client = hash.finalize().iter().take(16).fold(0, |sum, b| sum << 8 | u128::from(*b));
        IdempotencyKey { client, seq: self.seq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, u64)> {
        ClientKey::parse(text).ok().map(|key| (key.name, key.seq))
    }

    #[test]
    fn a_key_is_a_structured_string_or_a_bare_one() {
        let key = |name: &str, seq| Some((name.to_owned(), seq));
        assert_eq!(parsed("\"8e03978e\""), key("8e03978e", 0));
        assert_eq!(parsed(" 8e03978e "), key("8e03978e", 0));
        assert_eq!(parsed("\"worker 7\"; seq=42"), key("worker 7", 42));
        assert_eq!(parsed("worker-7;seq=42"), key("worker-7", 42));
        for wrong in ["", "\"\"", "\"open", "\"a\" b", "a; seq=x", "a; other=1", "a,b", ";seq=1"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        assert_eq!(parsed(&"x".repeat(256)), None);
    }

    #[test]
    fn users_operations_and_names_have_sessions_of_their_own() {
        let key = |text| ClientKey::parse(text).unwrap();
        let (me, you) = (Identity::named("me"), Identity::named("you"));
        let all = [
            key("a").of(&me),
            key("a").of(&you),
            key("a").of(&Identity::ANONYMOUS),
            key("b").of(&me),
            key("a").of_part(0).of(&me),
            key("a").of_part(1).of(&me),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other.client != one.client));
        }
        assert_eq!(key("\"a\"; seq=3").of(&me).client, key("a").of(&me).client);
        // What is stored must mean the same to the next version: printf '\0a' | sha256sum
        let stored = 0x022a_6979_e6da_b7aa_5ae4_c3e5_e45f_7e97;
        assert_eq!(key("a").of(&Identity::ANONYMOUS).client, stored);
    }
}
