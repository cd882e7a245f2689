//! Secrets: who holds them, and how a request gets one.
//!
//! Components and descriptors know a secret by a number. The secret itself stays in the client's vault, is read anew for
//! every request, goes into one header of one origin, and is overwritten when nobody needs it any more.

use std::collections::BTreeMap;
use std::env::{self, VarError};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use zeroize::Zeroizing;

use crate::Error;
use crate::bindings::endpoints::Credential;
use crate::switchboard::lock;

/// A secret, or where it comes from.
pub struct Secret(Source);

enum Source {
    Value(Zeroizing<String>),
    Environment(String),
    Callback(Callback),
}

type Callback = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> + Send + Sync>;

impl Secret {
    /// A secret that is known now.
    #[must_use]
    pub fn value(secret: impl Into<String>) -> Self {
        Self(Source::Value(Zeroizing::new(secret.into())))
    }

    /// A secret in an environment variable, which is read for every request.
    #[must_use]
    pub fn env(name: impl Into<String>) -> Self {
        Self(Source::Environment(name.into()))
    }

    /// A secret that is asked for before every request: for tokens that live shortly. A request waits for it, within
    /// its endpoint's time for a request.
    #[must_use]
    pub fn callback<F, E>(callback: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String, E>> + Send + 'static,
        E: fmt::Display,
    {
        Self(Source::Callback(Box::new(move || {
            let secret = callback();
            Box::pin(async move { secret.await.map_err(|error| error.to_string()) })
        })))
    }

    /// Fails when it is known already that requests will fail.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.0 {
            Source::Value(secret) => check(secret, "the secret"),
            Source::Environment(name) => environment(name).map(drop),
            Source::Callback(_) => Ok(()),
        }
    }

    /// The secret, for one request.
    pub(crate) async fn resolve(&self) -> Result<Zeroizing<String>, Error> {
        match &self.0 {
            Source::Value(secret) => {
                check(secret, "the secret")?;
                Ok(secret.clone())
            }
            Source::Environment(name) => environment(name),
            Source::Callback(callback) => {
                let secret = callback().await.map_err(|error| {
                    Error::InvalidRequest(format!("the callback for the credential failed: {error}"))
                })?;
                let secret = Zeroizing::new(secret);
                check(&secret, "what the callback for the credential returned")?;
                Ok(secret)
            }
        }
    }
}

fn environment(name: &str) -> Result<Zeroizing<String>, Error> {
    let secret = env::var(name).map(Zeroizing::new).map_err(|error| {
        let why = match error {
            VarError::NotPresent => "is not set",
            VarError::NotUnicode(_) => "is not text",
        };
        Error::InvalidRequest(format!("the environment variable `{name}` {why}; set it to the credential"))
    })?;
    check(&secret, &format!("the environment variable `{name}`"))?;
    Ok(secret)
}

/// A header holds visible ASCII characters; blanks in a secret are a slip when it was copied.
fn check(secret: &str, what: &str) -> Result<(), Error> {
    if secret.is_empty() {
        return Err(Error::InvalidRequest(format!("{what} is empty; it must be the credential")));
    }
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::InvalidRequest(format!("{what} holds blanks or characters that no header can hold")));
    }
    Ok(())
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Value(_) => formatter.write_str("Secret([redacted])"),
            Source::Environment(name) => write!(formatter, "Secret(env {name})"),
            Source::Callback(_) => formatter.write_str("Secret(callback)"),
        }
    }
}

/// The secrets of one client.
#[derive(Default)]
pub(crate) struct Vault {
    secrets: Mutex<BTreeMap<Credential, Arc<Secret>>>,
    /// How many there have been: a number that was given up names no other secret.
    kept: AtomicU32,
}

impl Vault {
    /// Keeps a secret, and names it.
    pub(crate) fn keep(&self, secret: Secret) -> Credential {
        let credential = self.kept.fetch_add(1, Relaxed).wrapping_add(1);
        lock(&self.secrets).insert(credential, Arc::new(secret));
        credential
    }

    /// Gives a secret up. Endpoints that were opened with it keep it.
    pub(crate) fn forget(&self, credential: Credential) {
        lock(&self.secrets).remove(&credential);
    }

    /// The secret of a name.
    pub(crate) fn get(&self, credential: Credential) -> Result<Arc<Secret>, Error> {
        let unknown = || Error::InvalidRequest(format!("credential {credential} is not known to this client"));
        lock(&self.secrets).get(&credential).cloned().ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", Secret::value("s3cret")), "Secret([redacted])");
    }

    #[test]
    fn a_vault_names_what_it_keeps() {
        let vault = Vault::default();
        let (first, second) = (vault.keep(Secret::value("a")), vault.keep(Secret::value("b")));
        assert_ne!(first, second);
        vault.forget(first);
        assert!(vault.get(first).is_err() && vault.get(second).is_ok());
    }

    #[tokio::test]
    async fn secrets_are_checked_when_they_are_read() {
        for (secret, words) in [
            (Secret::value(""), "is empty"),
            (Secret::value("a b"), "blanks"),
            (Secret::value("a\n"), "blanks"),
            (Secret::env("SIPP_TEST_UNSET"), "`SIPP_TEST_UNSET` is not set"),
            (Secret::callback(|| async { Err::<String, _>("no network") }), "no network"),
            (Secret::callback(|| async { Ok::<_, String>(String::new()) }), "returned is empty"),
        ] {
            let refused = secret.resolve().await;
            assert!(matches!(&refused, Err(Error::InvalidRequest(text)) if text.contains(words)), "{refused:?}");
        }
        assert_eq!(Secret::value("abc").resolve().await.unwrap().as_str(), "abc");
    }
}
