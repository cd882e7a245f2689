//! Describes an address to which a credential would go in the clear.

use programs::adapter::{Guest, Whole};
use provider::Error;

struct Expose;

impl Guest for Expose {
    const BASE_URL: Option<&'static str> = Some("http://api.example/v1");

    async fn query(prompt: String) -> Result<String, Error> {
        Ok(prompt)
    }
}

type Component = Whole<Expose>;

provider::export!(Component with_types_in provider::bindings);
