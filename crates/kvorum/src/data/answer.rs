//! What a request gave, as text for people and as a document for programs.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kvorum_client::{Client, Error, Found, Version, Written};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::output::{self, Format, Printed};
use crate::target::Access;

/// The answer to a request in every form.
pub struct Answer {
    exit: Exit,
    text: Vec<u8>,
    document: Value,
    /// The text is printed alone in every form, without an end of line.
    raw: bool,
}

impl Answer {
    /// The request did what it should.
    pub const fn done(text: Vec<u8>, document: Value) -> Answer {
        Answer { exit: Exit::Ok, text, document, raw: false }
    }

    /// The bytes of a value, and nothing else.
    pub fn raw(value: Bytes) -> Answer {
        Answer { raw: true, ..Answer::done(value.into(), Value::Null) }
    }

    /// The key has no value.
    pub fn not_found(key: &[u8]) -> Answer {
        let mut document = json!({"found": false});
        insert_bytes(&mut document, "key", key);
        let text = [key, b": not found"].concat();
        Answer { exit: Exit::Failed, ..Answer::done(text, document) }
    }

    /// The condition of a write does not hold.
    pub fn not_stored(key: &[u8], present: Option<Version>) -> Answer {
        let (what, version) = match present {
            Some(version) => (format!("not stored, it has version {version}"), Some(version)),
            None => ("not stored, it has no value".to_owned(), None),
        };
        let mut document = with_key(key, "version", version.map(|version| version.to_string()));
        if let Value::Object(fields) = &mut document {
            fields.insert("stored".to_owned(), false.into());
        }
        let text = [key, b": ", what.as_bytes()].concat();
        Answer { exit: Exit::Failed, ..Answer::done(text, document) }
    }

    /// Prints the answer in a form. What is not there is no output: a script that captures it as
    /// text gets nothing.
    ///
    /// # Errors
    /// Those of the output.
    pub fn print(mut self, format: Format) -> anyhow::Result<Printed> {
        match format {
            Format::Text if self.exit == Exit::Failed => {
                output::complain(&String::from_utf8_lossy(&self.text));
                Ok(Printed::Read)
            }
            _ if self.raw => output::write(&self.text),
            Format::Text => {
                self.text.push(b'\n');
                output::write(&self.text)
            }
            Format::Json => output::json(&self.document),
        }
    }
}

/// Runs a request and prints its answer.
///
/// # Errors
/// The failed request.
pub fn to_request(
    access: &Access,
    run: impl AsyncFnOnce(&Client) -> Result<Answer, Error>,
) -> anyhow::Result<Exit> {
    let (client, runtime) = access.connect()?;
    let answer = runtime.block_on(run(&client)).map_err(Failure::from)?;
    let exit = answer.exit;
    answer.print(access.output())?;
    Ok(exit)
}

/// How many copies a write is on.
pub fn copies(acked: u32) -> String {
    if acked == 1 { "1 copy".to_owned() } else { format!("{acked} copies") }
}

/// The document of a write.
pub fn written(key: &[u8], written: &Written) -> Value {
    let mut document = json!({
        "version": written.version.to_string(),
        "acked": written.acked,
        "was_live": written.was_live,
    });
    insert_bytes(&mut document, "key", key);
    document
}

/// The document that says one thing of a key.
pub fn with_key(key: &[u8], name: &str, value: impl Into<Value>) -> Value {
    let mut document = json!({ name: value.into() });
    insert_bytes(&mut document, "key", key);
    document
}

/// The document of a value that was found.
pub fn found(found: &Found, with_value: bool) -> Value {
    let mut document = json!({
        "found": true,
        "version": found.version.to_string(),
        "length": found.value_len,
        "expires_at_ms": found.expires_at_ms,
    });
    insert_bytes(&mut document, "key", &found.key);
    if with_value {
        insert_bytes(&mut document, "value", &found.value);
    }
    document
}

/// How long a value remains visible at a time of this machine's clock.
pub fn time_to_live(found: &Found, at: SystemTime) -> Answer {
    let now_ms = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
    let left_ms = found.expires_at_ms.map(|expiry| expiry.saturating_sub(now_ms));
    let text = match left_ms {
        Some(ms) => format!("{}.{:03} s", ms / 1000, ms % 1000),
        None => "never expires".to_owned(),
    };
    let mut document = json!({"found": true, "ttl_ms": left_ms});
    insert_bytes(&mut document, "key", &found.key);
    Answer::done(text.into_bytes(), document)
}

/// Bytes that are no text are given as base64, as REST does.
fn insert_bytes(document: &mut Value, name: &str, bytes: &[u8]) {
    let Value::Object(fields) = document else { return };
    match std::str::from_utf8(bytes) {
        Ok(text) => fields.insert(name.to_owned(), text.into()),
        Err(_) => fields.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn item(key: &'static [u8], expires_at_ms: Option<u64>) -> Found {
        let version = "0000000000000001-00001001".parse().unwrap();
        Found { key: key.into(), value: "v".into(), value_len: 1, version, expires_at_ms }
    }

    #[test]
    fn bytes_that_are_no_text_are_given_as_base64() {
        assert_eq!(found(&item(b"k", None), true)["key"], "k");
        let document = found(&item(b"\xff", None), false);
        assert_eq!(document["key_base64"], "/w==");
        assert!(document.get("key").is_none() && document.get("value").is_none());
        assert_eq!(Answer::not_found(b"\xff").document["key_base64"], "/w==");
    }

    #[test]
    fn the_time_to_live_counts_from_the_clock_of_this_machine() {
        let at = UNIX_EPOCH + Duration::from_millis(1000);
        let text = |expiry| time_to_live(&item(b"k", expiry), at).text;
        assert_eq!(text(Some(3_250)), b"2.250 s");
        assert_eq!(text(Some(500)), b"0.000 s");
        assert_eq!(text(None), b"never expires");
    }
}
