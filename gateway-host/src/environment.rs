//! Secrets from environment variables, checked before anything listens.

use std::env::{self, VarError};

/// The secret in a variable.
///
/// # Errors
/// Why its value can be no secret, for the problem's text. The value is no part of it.
pub fn secret(variable: &str) -> Result<String, String> {
    let secret = env::var(variable).map_err(|error| match error {
        VarError::NotPresent => format!("`{variable}` is required; set this environment variable to the secret"),
        VarError::NotUnicode(_) => format!("`{variable}` must be visible ASCII"),
    })?;
    check(&secret).map_err(|fault| format!("`{variable}` {fault}"))?;
    Ok(secret)
}

/// A header holds visible ASCII; blanks in a secret are a slip of whoever copied it.
fn check(secret: &str) -> Result<(), &'static str> {
    if secret.is_empty() {
        return Err("must not be empty");
    }
    if secret.contains(char::is_whitespace) {
        return Err("must not contain whitespace");
    }
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be visible ASCII");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_header_can_hold_is_refused() {
        assert_eq!(check("s3cret-~!"), Ok(()));
        assert_eq!(check(""), Err("must not be empty"));
        for copied in [" s", "s\n", "a b"] {
            assert_eq!(check(copied), Err("must not contain whitespace"));
        }
        assert_eq!(check("geheim\u{e4}"), Err("must be visible ASCII"));
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let refused = secret("SIPP_TEST_IS_NOT_SET").unwrap_err();
        assert_eq!(refused, "`SIPP_TEST_IS_NOT_SET` is required; set this environment variable to the secret");
    }
}
