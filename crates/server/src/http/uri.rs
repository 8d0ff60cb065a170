//! Parameters in paths and queries: percent-encoded bytes, not necessarily text.

use axum::extract::{FromRequestParts, MatchedPath};
use bytes::Bytes;
use http::request::Parts;
use kvorum_core::{Error, Outcome};

use super::problem::Problem;

/// The parameters of the path, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<(String, Bytes)>);

impl Path {
    fn of(template: &str, path: &str) -> Outcome<Path> {
        let pairs = template.split('/').zip(path.split('/'));
        let named = pairs
            .filter_map(|(part, text)| Some((part.strip_prefix('{')?.strip_suffix('}')?, text)));
        let decoded = named.map(|(name, text)| Ok((name.to_owned(), decode(text, false)?)));
        Ok(Path(decoded.collect::<Outcome<_>>()?))
    }

    /// A parameter as bytes; empty if the template has none of that name.
    pub fn bytes(&self, name: &str) -> Bytes {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    /// A parameter as text.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not UTF-8.
    pub fn text(&self, name: &str) -> Outcome<String> {
        text(name, self.bytes(name))
    }

    /// The keyspace, the parameter `ks`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not UTF-8, [`Error::NoKeyspace`] if it is empty: no path means
    /// the default by leaving the name out.
    pub fn keyspace(&self) -> Outcome<String> {
        let name = self.text("ks")?;
        if name.is_empty() { Err(Error::NoKeyspace(name)) } else { Ok(name) }
    }
}

impl<S: Sync> FromRequestParts<S> for Path {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Path, Problem> {
        let template = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        Ok(Path::of(template, parts.uri.path())?)
    }
}

/// The parameters of the query, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query(Vec<(String, Bytes)>);

impl Query {
    fn of(query: &str) -> Outcome<Query> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((text("the name of a parameter", decode(name, true)?)?, decode(value, true)?))
        });
        Ok(Query(decoded.collect::<Outcome<_>>()?))
    }

    /// Checks that there is nothing else, so that no misspelt parameter goes unnoticed.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the stranger.
    pub fn only(&self, names: &[&str]) -> Outcome<()> {
        match self.0.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let text = format!("there is no parameter {name:?} here; known here: {known}");
                Err(Error::invalid(text))
            }
        }
    }

    /// A parameter as bytes, if it is there.
    pub fn bytes(&self, name: &str) -> Option<Bytes> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.clone())
    }

    /// A parameter as text, if it is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not UTF-8.
    pub fn text(&self, name: &str) -> Outcome<Option<String>> {
        self.bytes(name).map(|bytes| text(name, bytes)).transpose()
    }

    /// A parameter as a whole number, if it is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is none.
    pub fn number(&self, name: &str) -> Outcome<Option<u64>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let wrong =
            |_| Error::invalid(format!("{name} is {text:?}, not a whole number below 2^64"));
        text.parse().map(Some).map_err(wrong)
    }

    /// A parameter that is true or false; absent means false.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is neither.
    pub fn flag(&self, name: &str) -> Outcome<bool> {
        match self.text(name)?.as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(other) => Err(Error::invalid(format!("{name} is {other:?}, not true or false"))),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query, Problem> {
        Ok(Query::of(parts.uri.query().unwrap_or_default())?)
    }
}

fn text(name: &str, bytes: Bytes) -> Outcome<String> {
    String::from_utf8(bytes.into()).map_err(|_| Error::invalid(format!("{name} is not UTF-8")))
}

/// Decodes percent-encoding (RFC 3986, section 2.1), and in queries the plus sign for a blank.
fn decode(text: &str, plus_is_blank: bool) -> Outcome<Bytes> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next(), rest.next()).ok_or_else(|| {
                Error::invalid(format!("{text:?} has a % without two hexadecimal digits"))
            })?,
            b'+' if plus_is_blank => b' ',
            plain => plain,
        });
    }
    Ok(bytes.into())
}

fn hex(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    proptest! {
        #[test]
        fn any_bytes_survive_their_encoding(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let encoded: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
            assert_eq!(decode(&encoded, true).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_decoded_or_refused(text in ".*") {
            let decoded = decode(&text, false);
            assert!(decoded.is_ok_and(|bytes| bytes.len() <= text.len()) || text.contains('%'));
        }
    }

    #[test]
    fn every_byte_can_be_a_key() {
        for byte in 0..=255u8 {
            let path = format!("/keys/%{byte:02x}");
            assert_eq!(Path::of("/keys/{key}", &path).unwrap().bytes("key"), [byte][..]);
        }
        let path = Path::of("/{ks}/keys/{key}", "/a%2Fb/keys/c+d%2f").unwrap();
        assert_eq!(path.text("ks").unwrap(), "a/b");
        assert_eq!(path.keyspace().unwrap(), "a/b");
        assert_eq!(path.bytes("key"), &b"c+d/"[..]);
        assert!(Path::of("/{ks}/keys", "//keys").unwrap().keyspace().is_err());
    }

    #[test]
    fn broken_escapes_are_named() {
        for path in ["/%", "/%1", "/%zz", "/%+1"] {
            let error = Path::of("/{key}", path).unwrap_err();
            assert!(error.to_string().contains("two hexadecimal digits"), "{path}: {error}");
        }
        assert!(Path::of("/{key}", "/%ff").unwrap().text("key").is_err());
    }

    #[test]
    fn queries_know_blanks_numbers_flags_and_strangers() {
        let query = Query::of("prefix=a+b%2b&limit=10&values&&x=").unwrap();
        assert_eq!(query.bytes("prefix"), Some(Bytes::from_static(b"a b+")));
        assert_eq!(query.number("limit"), Ok(Some(10)));
        assert_eq!(query.flag("values"), Ok(true));
        assert_eq!(query.flag("other"), Ok(false));
        assert!(query.number("prefix").is_err() && query.flag("prefix").is_err());
        let stranger = query.only(&["prefix", "limit", "values"]).unwrap_err();
        assert!(stranger.to_string().contains("\"x\""), "{stranger}");
    }
}
