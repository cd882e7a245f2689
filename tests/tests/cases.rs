//! The native runner of `cases/`: each case is a test, with a client of its own.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use sipp_tests::case::{Case, Runner};
use sipp_tests::models::Models;
use sipp_tests::{expected, steps};

/// No case takes a tenth of this on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let models = Arc::new(Models::new()?);
    let trials = Case::all()?.into_iter().map(|case| trial(case, models.clone())).collect();
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn trial(case: Case, models: Arc<Models>) -> Trial {
    let skipped = case.about.skip.contains_key(&Runner::Native);
    let name = case.name.clone();
    let test = move || run(&case, &models).map_err(|error| Failed::from(format!("{}\n{error:#}", case.about.title)));
    Trial::test(name, test).with_ignored_flag(skipped)
}

fn run(case: &Case, models: &Models) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let transcript = runtime.block_on(async { tokio::time::timeout(LIMIT, steps::run(case, models)).await });
    let transcript = transcript.with_context(|| format!("it did not end within {} s", LIMIT.as_secs()))??;
    expected::check(&case.expected_file(), &transcript, expected::blessing())
}
