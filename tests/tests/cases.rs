//! The native runner of `cases/` and `cassettes/`: each case is a test, with a client of its own.
//!
//! A cassette is replayed as it was recorded, and again with every byte in a write of its own; some are cut in two at
//! every place besides.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use sipp_tests::case::{Case, Runner};
use sipp_tests::models::Models;
use sipp_tests::upstream::Pace;
use sipp_tests::{expected, steps};

/// No case takes a tenth of this on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let models = Arc::new(Models::new()?);
    let mut trials = Vec::new();
    for case in Case::all()? {
        let case = Arc::new(case);
        trials.push(trial(&case, "", &models, |case, models| run(case, models, Pace::Whole, expected::blessing())));
        // What is blessed is what comes out in the usual way.
        if case.exchanges.is_empty() || expected::blessing() {
            continue;
        }
        trials.push(trial(&case, ", byte by byte", &models, |case, models| run(case, models, Pace::Bytes, false)));
        if case.about.cut_everywhere {
            trials.push(trial(&case, ", cut everywhere", &models, cut_everywhere));
        }
    }
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn trial(case: &Arc<Case>, how: &str, models: &Arc<Models>, run: fn(&Case, &Models) -> Result<()>) -> Trial {
    let (case, models) = (case.clone(), models.clone());
    let skipped = case.about.skip.contains_key(&Runner::Native);
    let name = format!("{}{how}", case.name);
    let test = move || run(&case, &models).map_err(|error| Failed::from(format!("{}\n{error:#}", case.about.title)));
    Trial::test(name, test).with_ignored_flag(skipped)
}

fn run(case: &Case, models: &Models, pace: Pace, bless: bool) -> Result<()> {
    expected::check(&case.expected_file(), &transcript(case, models, pace)?, bless)
}

fn cut_everywhere(case: &Case, models: &Models) -> Result<()> {
    let longest = case.exchanges.iter().map(|exchange| exchange.reply.bytes.len()).max().unwrap_or_default();
    for at in 1..longest {
        run(case, models, Pace::Cut(at), false).with_context(|| format!("cut behind {at} bytes"))?;
    }
    Ok(())
}

fn transcript(case: &Case, models: &Models, pace: Pace) -> Result<Vec<Value>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let transcript = runtime.block_on(async { tokio::time::timeout(LIMIT, steps::run(case, models, pace)).await });
    transcript.with_context(|| format!("it did not end within {} s", LIMIT.as_secs()))?
}
