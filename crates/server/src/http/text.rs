//! Keys and values in JSON: text where they are text, base64 where they are not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kvorum_core::{Error, Item, Outcome};
use serde_json::{Map, Value};

/// Adds bytes to an object: under `name` if they are UTF-8, else in base64 under `name_base64`.
pub fn insert(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

/// The bytes that one of a pair of fields stands for.
///
/// # Errors
/// [`Error::Invalid`] unless exactly one is there, and is what its name says.
pub fn bytes(name: &str, text: Option<String>, base64: Option<String>) -> Outcome<Bytes> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into()),
        (None, Some(base64)) => STANDARD
            .decode(base64)
            .map(Bytes::from)
            .map_err(|error| Error::invalid(format!("{name}_base64 is not base64: {error}"))),
        _ => Err(Error::invalid(format!("exactly one of {name} and {name}_base64 is needed"))),
    }
}

/// An item as an object.
pub fn item(item: &Item, with_value: bool) -> Value {
    let mut object = Map::new();
    insert(&mut object, "key", &item.key);
    if with_value {
        insert(&mut object, "value", &item.value);
    }
    object.insert("version".to_owned(), item.header.version.to_string().into());
    object.insert("value_length".to_owned(), item.header.value_len.into());
    if item.header.expire_ms > 0 {
        object.insert("expires_at_ms".to_owned(), item.header.expire_ms.into());
    }
    if item.header.tag > 0 {
        object.insert("tag".to_owned(), item.header.tag.into());
    }
    Value::Object(object)
}
