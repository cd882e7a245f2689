//! Who may ask, and for which targets: bearer tokens from the environment.

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use crate::config::{Config, Problem, Token};
use crate::environment;
use crate::http_error::HttpError;

/// The configured callers. Without any, everybody is let in.
#[derive(Debug)]
pub struct Callers(Vec<Caller>);

/// Somebody who holds a token.
pub struct Caller {
    /// The name in logs and at the models.
    pub name: String,
    secret: String,
    targets: Vec<String>,
}

impl Callers {
    /// Reads the tokens from the environment.
    ///
    /// # Errors
    /// A variable is not set, or its value cannot be a token, or two callers have the same one.
    pub fn from_environment(config: &Config) -> Result<Self, Problem> {
        let mut callers: Vec<Caller> = Vec::new();
        for (index, token) in config.settings.tokens.iter().enumerate() {
            let problem = |message| config.source.problem(&format!("tokens[{index}].env"), message);
            let caller = Caller::from_environment(token).map_err(problem)?;
            if let Some(other) = callers.iter().find(|other| other.secret == caller.secret) {
                return Err(problem(format!("`{}` and `{}` have the same token", other.name, caller.name)));
            }
            callers.push(caller);
        }
        Ok(Self(callers))
    }

    /// The caller that these headers belong to; none where no tokens are configured.
    ///
    /// # Errors
    /// `authentication`, where tokens are configured and none of them was sent.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Option<&Caller>, HttpError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let sent = bearer(headers).ok_or_else(|| HttpError::authentication("missing bearer token"))?;
        // Every secret is compared, each in constant time, so that timing tells nothing about them but their length.
        let found = self.0.iter().fold(None, |found, caller| {
            if bool::from(caller.secret.as_bytes().ct_eq(sent.as_bytes())) { Some(caller) } else { found }
        });
        found.map(Some).ok_or_else(|| HttpError::authentication("invalid bearer token"))
    }
}

impl Caller {
    fn from_environment(token: &Token) -> Result<Self, String> {
        let secret = environment::secret(&token.env)?;
        Ok(Self { name: token.caller.clone(), secret, targets: token.targets.clone() })
    }

    /// Whether the caller may use this target.
    pub fn may_use(&self, target: &str) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|allowed| allowed == target)
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Caller").field("name", &self.name).field("targets", &self.targets).finish_non_exhaustive()
    }
}

/// The token of an `Authorization: Bearer` header. The scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callers() -> Callers {
        let caller = |name: &str, secret: &str, targets: &[&str]| Caller {
            name: name.into(),
            secret: secret.into(),
            targets: targets.iter().map(|&target| target.into()).collect(),
        };
        Callers(vec![caller("ann", "secret-a", &[]), caller("bob", "secret-b", &["demo"])])
    }

    fn name_for(authorization: &str) -> Result<String, HttpError> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())]);
        callers().identify(&headers).map(|caller| caller.unwrap().name.clone())
    }

    #[test]
    fn a_token_names_its_caller() {
        assert_eq!(name_for("Bearer secret-a").unwrap(), "ann");
        assert_eq!(name_for("bearer  secret-b").unwrap(), "bob");
    }

    #[test]
    fn anything_else_is_refused() {
        for authorization in ["Bearer", "Bearer ", "Bearer secret", "Bearer secret-c", "Basic secret-a", "secret-a"] {
            assert_eq!(name_for(authorization).unwrap_err().code().0, "authentication", "{authorization}");
        }
        assert!(callers().identify(&HeaderMap::new()).is_err());
        assert!(Callers(Vec::new()).identify(&HeaderMap::new()).unwrap().is_none());
    }

    #[test]
    fn targets_limit_a_caller() {
        let Callers(callers) = callers();
        assert!(callers[0].may_use("anything") && callers[1].may_use("demo") && !callers[1].may_use("other"));
    }

    #[test]
    fn debug_output_holds_no_secret() {
        assert!(!format!("{:?}", callers()).contains("secret"));
    }
}
