//! Who sends a request: every front end asks here, once per request or per login.

use kvorum_core::Identity;

/// What a client showed of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// Nothing.
    None,
    /// The text behind `Bearer` in an `Authorization` header.
    Bearer(&'a str),
}

impl<'a> Credentials<'a> {
    /// The credentials in the value of an `Authorization` header.
    #[must_use]
    pub fn of_header(value: Option<&'a str>) -> Credentials<'a> {
        let bearer = value.and_then(|value| value.split_once(' '));
        match bearer {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Credentials::Bearer(token.trim())
            }
            _ => Credentials::None,
        }
    }
}

/// Turns credentials into an identity.
///
/// There are no users yet: everybody is anonymous and may do everything, which is why listeners
/// outside of the loopback interface need `insecure`.
#[derive(Clone, Debug, Default)]
pub struct Authenticator;

impl Authenticator {
    /// On whose behalf a request with these credentials runs.
    #[must_use]
    pub fn identify(&self, credentials: Credentials<'_>) -> Identity {
        match credentials {
            Credentials::None | Credentials::Bearer(_) => Identity::ANONYMOUS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        assert_eq!(Credentials::of_header(Some("bearer  abc")), Credentials::Bearer("abc"));
        assert_eq!(Credentials::of_header(Some("Bearer abc")), Credentials::Bearer("abc"));
        assert_eq!(Credentials::of_header(Some("Basic abc")), Credentials::None);
        assert_eq!(Credentials::of_header(None), Credentials::None);
    }

    #[test]
    fn everybody_is_anonymous_without_users() {
        let authenticator = Authenticator;
        assert_eq!(authenticator.identify(Credentials::Bearer("abc")), Identity::ANONYMOUS);
    }
}
