//! The models that cases name: the one of the tree, files that differ from it in one way each, most of them broken, and
//! models of other shapes.

use std::fs;
use std::path::Path;

use crate::gguf::{File, text};
use crate::models::{Sight, encoder_decoder, ranker, seeing};
use crate::random::Random;

/// Names of models that exist or ought to.
pub const NAMES: [&str; 13] = [
    "demo",
    "missing",
    "folder",
    "empty",
    "noise",
    "truncated",
    "unknown-architecture",
    "no-template",
    "tools",
    "translator",
    "ranker",
    "seeing",
    "projector",
];

/// Writes them into a folder, each as its name and `.gguf`.
pub fn write(folder: &Path) {
    let bytes = fs::read(crate::demo_path()).unwrap();
    let demo = File::read(&bytes);
    let put = |name: &str, bytes: &[u8]| fs::write(folder.join(format!("{name}.gguf")), bytes).unwrap();
    let changed = |change: &dyn Fn(&mut File)| {
        let mut file = demo.clone();
        change(&mut file);
        file.bytes()
    };
    let template = "tokenizer.chat_template";
    let tools = include_str!("../../cases/tools.jinja").trim_end();
    fs::create_dir_all(folder.join("folder.gguf")).unwrap();
    put("demo", &bytes);
    put("empty", b"");
    put("noise", &noise(1 << 16));
    put("truncated", &bytes[..bytes.len() / 2]);
    put("unknown-architecture", &changed(&|file| file.set("general.architecture", text("lemur"))));
    put("no-template", &changed(&|file| file.remove(template)));
    put("tools", &changed(&|file| file.set(template, text(tools))));
    put("translator", &encoder_decoder().bytes());
    put("ranker", &ranker().bytes());
    let (model, projector) = seeing(Sight::Line);
    put("seeing", &model.bytes());
    put("projector", &projector.bytes());
}

/// Bytes without meaning, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut random = Random::new(0, 0);
    std::iter::repeat_with(|| random.number() as u8).take(length).collect()
}
