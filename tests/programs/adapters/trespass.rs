//! Asks for an address that is not its endpoint's: the prompt.

use programs::adapter::{Guest, Whole};
use provider::{Error, Post, Settings};

struct Trespass;

impl Guest for Trespass {
    async fn query(prompt: String) -> Result<String, Error> {
        let settings = Settings { base_url: prompt, ..provider::settings() };
        let reply = Post::new(&settings, "/", b"{}".to_vec()).send().await?;
        Ok(format!("status {}", reply.head.status))
    }
}

type Component = Whole<Trespass>;

provider::export!(Component with_types_in provider::bindings);
