//! Sends a request, and then looks for texts in all of its own memory.
//!
//! The prompt is the texts to look for, each written backwards, one on a line: what is looked for must not be there
//! because it was asked for. The answer tells how often each was found.

use programs::adapter::{Guest, Whole};
use provider::{Error, Post};

struct Search;

impl Guest for Search {
    async fn query(prompt: String) -> Result<String, Error> {
        let settings = provider::settings();
        let mut reply = Post::new(&settings, "/", b"{}".to_vec()).send().await?;
        let mut length = 0;
        while let Some(chunk) = reply.body.chunk().await? {
            length += chunk.len();
        }
        let counts: Vec<_> = prompt.lines().map(|backwards| count(backwards.as_bytes()).to_string()).collect();
        Ok(format!("{length} bytes: {}", counts.join(", ")))
    }
}

/// How often a text that is written backwards stands in memory forwards.
fn count(backwards: &[u8]) -> usize {
    let places = memory().windows(backwards.len());
    places.filter(|place| place.iter().eq(backwards.iter().rev())).count()
}

/// All of this guest's memory.
#[expect(unsafe_code, reason = "a program that looks for a secret in its memory looks at memory that is not its own")]
fn memory() -> &'static [u8] {
    #[cfg(target_arch = "wasm32")]
    let length = core::arch::wasm32::memory_size(0) << 16;
    #[cfg(not(target_arch = "wasm32"))]
    let length = 0;
    // SAFETY: linear memory is one region of this length, and nothing writes to it while `count` reads. The address 0 is
    // left out, because no slice may begin there.
    unsafe { core::slice::from_raw_parts(std::ptr::without_provenance(1), usize::saturating_sub(length, 1)) }
}

type Component = Whole<Search>;

provider::export!(Component with_types_in provider::bindings);
