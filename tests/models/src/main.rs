//! Writes the models that cases name into a folder.

use std::path::Path;

fn main() {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: test-models FOLDER");
        std::process::exit(2);
    };
    test_models::cases::write(Path::new(&folder));
}
