//! The real program on ports of its own, stopped when the test is over.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Two targets of the demo model: `demo`, and `endless`, which only stops at a token limit or when it is cancelled.
pub(crate) const TARGETS: &str = r#"
[[targets]]
name = "demo"
type = "local"
model = "demo.gguf"
[targets.runtime.context]
n_parallel = 4
n_threads = 1

[[targets]]
name = "endless"
type = "local"
model = "long.gguf"
[targets.runtime.context]
n_ctx = 16384
n_parallel = 2
n_threads = 1
[targets.runtime.sampling]
ignore_eos = true
"#;

/// A third target, for vectors.
pub(crate) const VECTORS: &str = r#"
[[targets]]
name = "vectors"
type = "local"
model = "demo.gguf"
[targets.runtime.context]
embeddings = true
n_threads = 1
pooling = "mean"
"#;

/// Puts the demo model into a folder: as it is, and as `long.gguf` with a context in which an answer takes long,
/// and as `half.gguf`, which breaks off.
pub(crate) fn place_models(folder: &Path) {
    let model = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo.gguf")).expect("the demo model");
    // In a GGUF file the key is followed by the type of its value, 4 for u32, and the value.
    let key = b"llama.context_length\x04\0\0\0";
    let place = model.windows(key.len()).position(|window| window == key).expect("a context length") + key.len();
    let mut long = model.clone();
    long[place..place + 4].copy_from_slice(&16384_u32.to_le_bytes());
    fs::write(folder.join("half.gguf"), &model[..model.len() / 2]).unwrap();
    fs::write(folder.join("demo.gguf"), model).unwrap();
    fs::write(folder.join("long.gguf"), long).unwrap();
}

/// Puts a chat page into a folder, with a file of every kind that the real one has.
fn place_page(folder: &Path) {
    fs::create_dir_all(folder.join("page/engine")).unwrap();
    fs::write(folder.join("secret.txt"), "not for callers").unwrap();
    for (file, text) in [
        ("index.html", "<!doctype html><title>page</title>"),
        ("chat.js", "export {};"),
        ("chat.css", "body {}"),
        ("engine/engine.mjs", "export {};"),
        ("engine/engine.wasm", "\0asm"),
    ] {
        fs::write(folder.join("page").join(file), text).unwrap();
    }
}

/// A running `sipp-gateway serve`.
pub(crate) struct Program {
    child: Child,
    log: Receiver<Value>,
    public: Option<SocketAddr>,
    management: Option<SocketAddr>,
    _folder: TempDir,
}

impl Program {
    /// Starts the program with these settings, and waits until it answers requests.
    pub(crate) fn start(settings: &str) -> Self {
        Self::start_with(settings, &[])
    }

    /// The same, with environment variables.
    pub(crate) fn start_with(settings: &str, variables: &[(&str, &str)]) -> Self {
        let mut program = Self::launch(settings, variables);
        // Where no model is loaded, the public listener may be told of first.
        if program.public.is_none() {
            program.wait_for_log(|line| line["listener"] == "public");
        }
        program
    }

    /// Starts the program, and waits only until its management address answers.
    pub(crate) fn launch(settings: &str, variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("gateway.toml");
        let addresses = "public_bind = \"127.0.0.1:0\"\nmanagement_bind = \"127.0.0.1:0\"\n";
        fs::write(&path, format!("{addresses}{settings}")).unwrap();
        place_models(folder.path());
        place_page(folder.path());
        let mut child = Command::new(env!("CARGO_BIN_EXE_sipp-gateway"))
            .args(["serve", "--config"])
            .arg(&path)
            .env_remove("RUST_LOG")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // Whatever is not JSON is a message of the system or of a panic; it belongs into the test's output.
                match serde_json::from_str(&line) {
                    Ok(line) => drop(sender.send(line)),
                    Err(_) => eprintln!("{line}"),
                }
            }
        });
        let mut program = Self { child, log, public: None, management: None, _folder: folder };
        program.wait_for_log(|line| line["listener"] == "management");
        program
    }

    /// The next line of the log that `wanted` accepts.
    pub(crate) fn wait_for_log(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let line =
                self.log.recv_timeout(until.saturating_duration_since(Instant::now())).expect("a line of the log");
            let address = || line["address"].as_str().unwrap().parse().unwrap();
            match line["listener"].as_str() {
                Some("public") => self.public = Some(address()),
                Some("management") => self.management = Some(address()),
                _ => {}
            }
            if wanted(&line) {
                return line;
            }
        }
    }

    /// The access log's line about a request.
    pub(crate) fn access_line(&mut self, request_id: &str) -> Value {
        self.wait_for_log(|line| line["message"] == "request" && line["request_id"] == request_id)
    }

    /// Where inference is served.
    pub(crate) fn public(&self) -> SocketAddr {
        self.public.expect("the public address")
    }

    /// A route of the public listener.
    pub(crate) fn url(&self, route: &str) -> String {
        format!("http://{}{route}", self.public())
    }

    /// A route of the management listener.
    pub(crate) fn management_url(&self, route: &str) -> String {
        format!("http://{}{route}", self.management.unwrap())
    }

    /// The value of a metric, which must exist.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let text = reqwest::get(self.management_url("/metrics")).await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
    }

    /// Waits until a metric has this value.
    pub(crate) async fn wait_for_metric(&self, series: &str, value: u64) {
        let until = Instant::now() + PATIENCE;
        while self.metric(series).await != value {
            assert!(Instant::now() < until, "{series} is {} and not {value}", self.metric(series).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits until the program has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the program goes on");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already, as some tests want it to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
