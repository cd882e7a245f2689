//! Writes a header that only the host may write: the prompt is its name.

use programs::adapter::{Guest, Whole};
use provider::{Error, Post};

struct Forge;

impl Guest for Forge {
    async fn query(prompt: String) -> Result<String, Error> {
        let settings = provider::settings();
        let reply = Post::new(&settings, "/", b"{}".to_vec()).header(&prompt, "forged").send().await?;
        Ok(format!("status {}", reply.head.status))
    }
}

type Component = Whole<Forge>;

provider::export!(Component with_types_in provider::bindings);
