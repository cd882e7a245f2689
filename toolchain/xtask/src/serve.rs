//! `cargo x serve`: the gateway with the demo model on loopback, a line to paste and a page to open.
//!
//! It is the shortest way from a clean clone to an answer over HTTP.

mod config;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::build;
use crate::process;
use crate::repository::Repository;
use config::Config;

/// How often the gateway is asked whether it is ready, and looked at whether it still runs.
const TICK: Duration = Duration::from_millis(100);

/// Where to serve.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Listens on this port instead of the configured one.
    #[arg(long)]
    port: Option<u16>,
    /// Leaves the chat page out, and with it the build of the browser's package.
    #[arg(long)]
    no_chat: bool,
}

/// Builds and runs the gateway until it is interrupted.
///
/// # Errors
/// When something does not build, when the address is taken, or when the gateway does not start.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<ExitCode> {
    build::components(repository)?;
    build::native(repository, &["--bin", "sipp-gateway"])?;
    let model = repository.demo_model();
    ensure!(model.is_file(), "{} is missing; run `git checkout {0}`", repository.shown(&model));

    if !arguments.no_chat {
        build::browser::build(repository)?;
    }

    let config = Config::load(repository, arguments.port, !arguments.no_chat)?;
    for address in config.addresses() {
        // Else the other program might answer in the gateway's place.
        TcpListener::bind(address)
            .with_context(|| format!("{address} cannot be listened on; choose another port with `--port`"))?;
    }
    let interrupts = interrupts()?;
    let mut gateway = start(repository, &config)?;
    let result = watch(&mut gateway, &config, &interrupts);
    if result.is_err() {
        // Whatever went wrong, no gateway stays behind.
        let _ = gateway.kill();
        let _ = gateway.wait();
    }
    result
}

/// A message for every Ctrl-C or SIGTERM, from now on.
fn interrupts() -> Result<Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = sender.send(());
    })
    .context("interrupts cannot be received")?;
    Ok(receiver)
}

fn start(repository: &Repository, config: &Config) -> Result<Child> {
    let mut command = Command::new(repository.program("sipp-gateway"));
    command.current_dir(repository.root()).args(["serve", "--config"]).arg(&config.file).stdin(Stdio::null());
    eprintln!("$ {}", process::text(&command));
    // In a group of its own, so that Ctrl-C in a terminal reaches it once, through us, and not twice.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().context("the gateway cannot be started")
}

/// Prints the line once the gateway is ready, passes interrupts on, and returns when it has ended.
fn watch(gateway: &mut Child, config: &Config, interrupts: &Receiver<()>) -> Result<ExitCode> {
    let mut ready = false;
    let mut interrupted = false;
    loop {
        if let Some(status) = gateway.try_wait()? {
            // Before it is ready, it may have no graceful end yet.
            if interrupted && (status.success() || !ready) {
                return Ok(ExitCode::SUCCESS);
            }
            bail!("the gateway ended ({status})");
        }
        if !ready && is_ready(config) {
            ready = true;
            announce(config);
        }
        match interrupts.recv_timeout(TICK) {
            Ok(()) => {
                interrupted = true;
                interrupt(gateway)?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("interrupts are no longer received"),
        }
    }
}

/// Whether the readiness route answers 200.
fn is_ready(config: &Config) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&config.readiness, TICK)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let (path, host) = (&config.readiness_path, config.readiness);
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(1024).read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

fn announce(config: &Config) {
    println!("\nThe demo model answers on http://{}. In another terminal:\n", config.public);
    println!("{}\n", curl(config.public));
    if let Some(path) = &config.chat {
        println!("In a browser: http://{}{path}/\n", config.public);
    }
    println!("Ctrl-C ends the gateway.");
}

fn curl(address: SocketAddr) -> String {
    let body = r#"{"model":"demo","messages":[{"role":"user","content":"What is 3 plus 4?"}]}"#;
    format!("curl -s http://{address}/v1/chat -H 'content-type: application/json' -d '{body}'")
}

/// Asks the gateway to end: it finishes what it is answering.
#[cfg(unix)]
fn interrupt(gateway: &mut Child) -> Result<()> {
    use nix::sys::signal::{Signal, kill};
    let id = i32::try_from(gateway.id()).context("the gateway's id is no process id")?;
    kill(nix::unistd::Pid::from_raw(id), Signal::SIGINT).context("the gateway cannot be interrupted")
}

/// Ends the gateway: there is no gentler way from one process to another here.
#[cfg(not(unix))]
fn interrupt(gateway: &mut Child) -> Result<()> {
    gateway.kill().context("the gateway cannot be ended")
}
