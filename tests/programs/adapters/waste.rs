//! Wastes what it is given: `memory` takes all it can get, `time` computes without end, `trap` gives up.

use programs::adapter::{Guest, Whole};
use provider::Error;

struct Waste;

impl Guest for Waste {
    async fn query(prompt: String) -> Result<String, Error> {
        let mut hoard = Vec::new();
        match prompt.as_str() {
            "memory" => loop {
                hoard.push(vec![hoard.len() as u8 | 1; 1 << 20]);
            },
            "time" => loop {
                std::hint::spin_loop();
            },
            "trap" => std::process::abort(),
            other => Ok(other.to_owned()),
        }
    }
}

type Component = Whole<Waste>;

provider::export!(Component with_types_in provider::bindings);
