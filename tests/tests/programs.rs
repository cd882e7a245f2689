//! Guests that misbehave, and what becomes of their callers: an error within seconds, while the process, and every
//! other client in it, goes on.
//!
//! Each guest is a file of `programs/`, and each has a test of its name here.

mod programs {
    pub(crate) mod guest;
    pub(crate) mod scenes;
}

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use sipp_tests::tree;

use programs::guest::Stage;
use programs::scenes::SCENES;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Memory is that of the whole process, so one at a time.
    arguments.test_threads = Some(1);
    let scenes = SCENES.iter().map(|(name, scene)| {
        Trial::test(*name, move || Stage::play(name, *scene).map_err(|error| Failed::from(format!("{error:#}"))))
    });
    let complete =
        Trial::test("every-guest-has-a-test", || complete().map_err(|error| Failed::from(format!("{error:#}"))));
    libtest_mimic::run(&arguments, scenes.chain([complete]).collect()).exit_code()
}

/// A guest without a test shows nothing, and a test without a guest would not be found out before it runs.
fn complete() -> Result<()> {
    let folder = tree::root().join("tests/programs");
    let mut guests = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            guests.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    let tests: BTreeSet<_> = SCENES.iter().map(|(name, _)| (*name).to_owned()).collect();
    ensure!(guests == tests, "guests without a test, or tests without a guest: {:?}", &guests ^ &tests);
    Ok(())
}
