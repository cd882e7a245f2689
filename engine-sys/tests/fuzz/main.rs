//! Thousands of corrupted GGUF files, each loaded in a child process: none may crash or hang it.
//!
//! llama.cpp reads files in C++ and asserts much of what it reads, so a file that gets through the checks can end the
//! process that hosts the engine. Children contain what that would be here: the test starts itself again for every
//! hundred files, sees which file a child died of, and goes on with the next one. Every file must be loaded or refused
//! with an error that names its fault; what ends a child fails the test, with the command that repeats it. The file is
//! kept then.
//!
//! `SIPP_FUZZ=SEED:FIRST..END` tries these cases in this process, and so repeats a crash. `SIPP_FUZZ_SEED` and
//! `SIPP_FUZZ_CASES` have the test use another seed or more files.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what fails by failing"
)]

mod attempt;
mod cases;
mod changes;
mod known;
#[path = "../support/mod.rs"]
mod support;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use attempt::{any_config, attempt};
use cases::Cases;
use engine_sys::ModelConfig;

const TEST: &str = "no_corrupted_file_ends_the_process";
/// What tells the test that it is a child: the seed, and the numbers of its cases.
const WORK: &str = "SIPP_FUZZ";
const FOLDER: &str = "SIPP_FUZZ_FOLDER";
const SEED: u64 = 0x5199;
/// Cases made by chance, beside those that are the same under every seed.
const BY_CHANCE: u64 = 5000;
const BATCH: u64 = 100;
/// How long one file may take. A loaded machine computes slowly; an endless loop never ends.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a child may have of addresses, so that a length out of a file fails as an allocation and not on the machine.
const MEMORY_KIB: u64 = 4 << 20;

#[test]
fn no_corrupted_file_ends_the_process() {
    if let Ok(work) = env::var(WORK) {
        return try_all(&work);
    }
    let seed = env::var("SIPP_FUZZ_SEED").map_or(SEED, |seed| seed.parse().expect("SIPP_FUZZ_SEED is a number"));
    let by_chance = env::var("SIPP_FUZZ_CASES").map_or(BY_CHANCE, |count| count.parse().expect("it is a number"));
    let began = Instant::now();
    let end = Cases::new(seed).fixed() + by_chance;
    let batches = (0..end).step_by(BATCH as usize).map(|start| start..end.min(start + BATCH)).collect();
    let run = Run { seed, folder: Folder::new(), batches: Mutex::new(batches), seen: Mutex::default() };
    thread::scope(|scope| {
        for worker in 0..thread::available_parallelism().map_or(1, usize::from) {
            let run = &run;
            scope.spawn(move || run.work(worker));
        }
    });
    let Seen { outcomes, found } = run.seen.into_inner().unwrap();
    println!("{end} files under seed {seed} in {:.1} s: {outcomes:#?}", began.elapsed().as_secs_f32());
    if !found.is_empty() {
        panic!("{} files are in {}:\n{}", found.len(), run.folder.keep().display(), found.join("\n"));
    }
    assert_eq!(outcomes.values().sum::<u64>(), end, "every file has an outcome");
    assert!(outcomes.get("loaded").is_some_and(|loaded| *loaded > 100), "some files are whole enough to compute");
}

/// What the children said.
#[derive(Default)]
struct Seen {
    outcomes: BTreeMap<String, u64>,
    /// Crashes and other defects, each with what repeats it.
    found: Vec<String>,
}

struct Run {
    seed: u64,
    folder: Folder,
    batches: Mutex<VecDeque<Range<u64>>>,
    seen: Mutex<Seen>,
}

impl Run {
    /// Works off batches until there are none.
    fn work(&self, worker: usize) {
        loop {
            let Some(mut batch) = self.batches.lock().unwrap().pop_front() else { return };
            while !batch.is_empty() {
                batch.start = self.try_batch(worker, batch.clone());
            }
        }
    }

    /// Has a child try a batch, and returns the first case that is still to be tried.
    fn try_batch(&self, worker: usize, batch: Range<u64>) -> u64 {
        let errors = self.folder.0.join(format!("stderr-{worker}"));
        let mut child = self.spawn(&batch, &errors);
        let lines = read_lines(&mut child);
        let mut next = batch.start;
        let end = loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some((case, outcome)) = line.strip_prefix("@ ").and_then(|line| line.split_once(' ')) {
                        assert_eq!(case.parse(), Ok(next), "children work in order");
                        self.note(next, outcome, "");
                        next += 1;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break child.wait().unwrap().to_string(),
                Err(RecvTimeoutError::Timeout) => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    break "hang".to_owned();
                }
            }
        };
        if next == batch.end && end == "exit status: 0" {
            return next;
        }
        let errors = String::from_utf8_lossy(&fs::read(errors).unwrap()).into_owned();
        assert!(next < batch.end, "a child ended badly after case {}: {end}, {errors}", next - 1);
        self.note(next, &format!("defect: {end}"), &errors);
        next + 1
    }

    fn spawn(&self, batch: &Range<u64>, errors: &Path) -> Child {
        let program = env::current_exe().unwrap();
        let mut command = if cfg!(unix) {
            let mut shell = Command::new("sh");
            // A system that has no such limit runs without.
            let limited = format!("ulimit -c 0; ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"");
            shell.args(["-c", &limited]).arg(program);
            shell
        } else {
            Command::new(program)
        };
        command.args(["--exact", TEST, "--nocapture", "--test-threads=1"]);
        command.env(WORK, format!("{}:{}..{}", self.seed, batch.start, batch.end)).env(FOLDER, &self.folder.0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(errors).unwrap());
        command.spawn().expect("the test starts itself")
    }

    fn note(&self, case: u64, outcome: &str, errors: &str) {
        let mut seen = self.seen.lock().unwrap();
        *seen.outcomes.entry(outcome.split(": ").next().unwrap_or_default().to_owned()).or_default() += 1;
        if outcome.starts_with("defect") {
            let (said, _) = Cases::new(self.seed).make(case);
            let lines: Vec<_> = errors.lines().filter(|line| !line.is_empty()).collect();
            let last = lines[lines.len().saturating_sub(3)..].join(" | ");
            seen.found.push(format!("{WORK}={}:{case}..{} {said}\n    {outcome} {last}", self.seed, case + 1));
        }
    }
}

/// Lines of a child's output, as they come.
fn read_lines(child: &mut Child) -> Receiver<String> {
    let (lines, received) = channel();
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    // The thread ends when the child does.
    thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    received
}

/// The child: tries its cases one after the other, and says after each what came out.
fn try_all(work: &str) {
    // A panic of the engine's thread would come back as an error; here it is a defect like any other crash.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
    let (seed, range) = work.split_once(':').expect("SIPP_FUZZ is SEED:FIRST..END");
    let (start, end) = range.split_once("..").expect("SIPP_FUZZ is SEED:FIRST..END");
    let cases = Cases::new(seed.parse().unwrap());
    let folder = env::var_os(FOLDER).map_or_else(env::temp_dir, PathBuf::from);
    for case in start.parse().unwrap()..end.parse().unwrap() {
        let (said, bytes) = cases.make(case);
        let path = folder.join(format!("case-{case}.gguf"));
        fs::write(&path, bytes).unwrap();
        let outcome = if cases.is_whole(case) {
            let config = ModelConfig { path: path.clone(), ..ModelConfig::default() };
            let outcome = attempt(&path, config);
            if outcome.starts_with("loaded") { outcome } else { format!("defect: a whole file is {outcome}") }
        } else {
            attempt(&path, any_config(&path, &mut cases.random(case)))
        };
        if env::var_os(FOLDER).is_none() {
            println!("{said}: {} is {outcome}", path.display());
        } else if !outcome.starts_with("defect") {
            fs::remove_file(&path).unwrap();
        }
        // On a line of its own: the test harness leaves one open.
        println!("\n@ {case} {outcome}");
    }
}

/// A folder that goes away with the test, unless it is kept.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = env::temp_dir().join(format!("sipp-fuzz-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Has it stay, and says where.
    fn keep(self) -> PathBuf {
        let path = self.0.clone();
        std::mem::forget(self);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind at worst.
        let _ = fs::remove_dir_all(&self.0);
    }
}
