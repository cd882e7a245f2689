//! Adapters of somebody else's: in three languages, and some that misbehave.
//!
//! The examples in `third-party/` must do what the adapters do that Sipp ships. The guests in `programs/adapters/` try
//! what an adapter may not, and look for what it may not see.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use sipp::{
    Authentication, ChatRequest, EmbedRequest, EndpointRef, Error, Message, ProviderDescriptor, QueryRequest, Secret,
    SippClient, TextResponse, UpstreamFault,
};
use sipp_tests::tree;
use sipp_tests::upstream::{Connection, Upstream};

/// To compile a component of Python takes half a minute the first time.
const LIMIT: Duration = Duration::from_secs(300);

const KEY: &str = "k-3f9c2a71e8";

type Test = fn(PathBuf) -> futures_util::future::BoxFuture<'static, Result<()>>;

fn main() -> ExitCode {
    let guests: [(&str, &str, Test); 9] = [
        ("the-credential-is-not-in-a-guests-memory", "adapter-search", |path| Box::pin(search(path))),
        ("another-origin-is-refused", "adapter-trespass", |path| Box::pin(trespass(path))),
        ("an-address-in-the-clear-is-refused", "adapter-expose", |path| Box::pin(expose(path))),
        ("headers-of-the-hosts-are-refused", "adapter-forge", |path| Box::pin(forge(path))),
        ("who-wastes-memory-is-stopped", "adapter-waste", |path| Box::pin(waste(path, "memory"))),
        ("who-wastes-time-is-stopped", "adapter-waste", |path| Box::pin(waste(path, "time"))),
        ("who-traps-harms-nobody", "adapter-waste", |path| Box::pin(waste(path, "trap"))),
        ("an-import-too-many-is-named", "trap", |path| Box::pin(foreign(path))),
        ("what-is-no-adapter-is-refused", "adapter-waste", |path| Box::pin(misfit(path))),
    ];
    let guests = guests.into_iter().map(|(name, guest, test)| {
        trial(name.to_owned(), test, tree::components().join("programs").join(format!("{guest}.wasm")))
    });
    let examples = [("rust", "rust.wasm"), ("python", "python/lines.wasm"), ("javascript", "javascript/lines.wasm")];
    let examples = examples.into_iter().map(|(language, file)| {
        let path = tree::components().join("third-party").join(file);
        // Its tools cannot be had everywhere; then a file says why.
        let missing = !path.exists() && path.with_file_name("missing.txt").exists();
        trial(format!("an-adapter-in-{language}"), |path| Box::pin(lines(path)), path).with_ignored_flag(missing)
    });
    libtest_mimic::run(&Arguments::from_args(), guests.chain(examples).collect()).exit_code()
}

fn trial(name: String, test: Test, component: PathBuf) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let test = async { tokio::time::timeout(LIMIT, test(component)).await.context("it did not end")? };
        runtime.block_on(test).map_err(|error: anyhow::Error| Failed::from(format!("{error:#}")))
    })
}

/// A client with an endpoint of a component.
async fn open(component: &Path, provider: &str, base_url: String, key: &str) -> Result<(SippClient, EndpointRef)> {
    let client = SippClient::new()?;
    let credential = client.credential(Secret::value(key));
    let descriptor = ProviderDescriptor {
        component: Some(component.to_string_lossy().into_owned()),
        base_url: Some(base_url),
        authentication: Authentication::ApiKey(credential),
        retries: Some(0),
        ..ProviderDescriptor::new(provider, "m-1")
    };
    let endpoint = client.add("adapter", descriptor).await?;
    Ok((client, endpoint))
}

async fn query(client: &SippClient, endpoint: &EndpointRef, prompt: &str) -> Result<TextResponse, Error> {
    client.query(QueryRequest { endpoint: Some(endpoint.clone()), ..QueryRequest::new(prompt) }).await
}

/// Replies `ok` to everything, and says so in a header too.
async fn ok(mut connection: Connection) -> std::io::Result<()> {
    while connection.request().await?.is_some() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 14\r\nx-request-id: r-1\r\n\r\n";
        connection.write(head.as_bytes()).await?;
        connection.write(b"a certain text").await?;
    }
    Ok(())
}

async fn search(component: PathBuf) -> Result<()> {
    let upstream = Upstream::start(ok).await?;
    let (client, endpoint) = open(&component, "guest", upstream.url(), KEY).await?;
    let backwards = |text: &str| text.chars().rev().collect::<String>();
    let prompt = [KEY, "a certain text"].map(backwards).join("\n");
    let text = query(&client, &endpoint, &prompt).await?.text;
    // What the guest did read is found, so what is not found is not there.
    let counts: Vec<u32> =
        text.strip_prefix("14 bytes: ").context("14 bytes")?.split(", ").map(str::parse).collect::<Result<_, _>>()?;
    ensure!(
        matches!(counts.as_slice(), [0, found] if *found > 0),
        "the secret and the reply were found so often: {text}"
    );
    let sent = upstream.log().requests();
    ensure!(sent.len() == 1 && sent.first().and_then(|request| request.headers.get("x-key")) == Some(&KEY.to_owned()));
    Ok(())
}

async fn trespass(component: PathBuf) -> Result<()> {
    let (own, other) = (Upstream::start(ok).await?, Upstream::start(ok).await?);
    let (client, endpoint) = open(&component, "guest", format!("{}/v1", own.url()), KEY).await?;
    ensure!(query(&client, &endpoint, &own.url()).await?.text == "status 200");
    for url in [other.url(), own.url().replace("127.0.0.1", "localhost"), own.url().replace("http:", "https:")] {
        let refused = query(&client, &endpoint, &url).await;
        let Err(Error::Internal(text)) = &refused else { panic!("{url}: {refused:?}") };
        ensure!(text.contains("not its endpoint's origin"), "{text}");
    }
    ensure!(other.log().connections() == 0, "the other origin was reached");
    ensure!(own.log().requests().len() == 1);
    Ok(())
}

async fn expose(component: PathBuf) -> Result<()> {
    let client = SippClient::new()?;
    let described = |base_url: Option<&str>| ProviderDescriptor {
        component: Some(component.to_string_lossy().into_owned()),
        base_url: base_url.map(str::to_owned),
        authentication: Authentication::ApiKey(client.credential(Secret::value(KEY))),
        ..ProviderDescriptor::new("guest", "m-1")
    };
    let refused = client.add("adapter", described(None)).await;
    let words = "`http://api.example/v1`, which must be https";
    ensure!(matches!(&refused, Err(Error::InvalidRequest(text)) if text.contains(words)), "{refused:?}");
    // The descriptor's address counts, where it has one.
    let endpoint = client.add("adapter", described(Some("https://api.example/v1"))).await?;
    ensure!(query(&client, &endpoint, "hi").await?.text == "hi");
    Ok(())
}

async fn forge(component: PathBuf) -> Result<()> {
    let upstream = Upstream::start(ok).await?;
    let (client, endpoint) = open(&component, "guest", upstream.url(), KEY).await?;
    ensure!(query(&client, &endpoint, "x-own").await?.text == "status 200");
    for header in ["x-key", "X-Key", "authorization", "host", "cookie", "transfer-encoding", "proxy-authorization"] {
        let refused = query(&client, &endpoint, header).await;
        ensure!(matches!(&refused, Err(Error::InvalidRequest(_))), "{header}: {refused:?}");
    }
    ensure!(upstream.log().requests().len() == 1);
    Ok(())
}

/// Another request runs meanwhile, and another comes after.
async fn waste(component: PathBuf, what: &str) -> Result<()> {
    let (client, endpoint) = open(&component, "guest", "http://127.0.0.1:9".to_owned(), KEY).await?;
    let (wasted, meanwhile) =
        tokio::join!(query(&client, &endpoint, what), query(&client, &endpoint, "something else"));
    ensure!(matches!(&wasted, Err(Error::Internal(_))), "{wasted:?}");
    ensure!(meanwhile?.text == "something else");
    ensure!(query(&client, &endpoint, "after it").await?.text == "after it");
    Ok(())
}

/// A component of another world.
async fn foreign(component: PathBuf) -> Result<()> {
    let refused = open(&component, "guest", "http://127.0.0.1:9".to_owned(), KEY).await;
    let text = refused.err().context("it was taken")?.to_string();
    ensure!(text.contains("imports sipp:host/endpoints@0.1.0, which an adapter may not"), "{text}");
    Ok(())
}

async fn misfit(component: PathBuf) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (garbage, empty) = (folder.path().join("garbage.wasm"), folder.path().join("empty.wasm"));
    std::fs::write(&garbage, b"not a component")?;
    std::fs::write(&empty, b"\0asm\x0d\0\x01\0")?;
    for (path, provider, words) in [
        (folder.path().join("nowhere.wasm"), "guest", "cannot be read"),
        (garbage, "guest", "is no component that can run here"),
        (empty, "guest", "does not export sipp:inference/adapter, sipp:inference/inference"),
        (component, "openai", "speaks to guest, not to `openai`"),
    ] {
        let refused = open(&path, provider, "http://127.0.0.1:9".to_owned(), KEY).await;
        let text = refused.err().context("it was taken")?.to_string();
        ensure!(text.contains(words), "{text}");
    }
    Ok(())
}

/// The provider `lines`: three words, each on a line, with a pause between them; what `model` says decides the status.
async fn words(mut connection: Connection) -> std::io::Result<()> {
    while let Some(request) = connection.request().await? {
        let prompt = request.body.as_ref().and_then(|body| body.get("prompt")?.as_str()).unwrap_or_default().to_owned();
        if prompt == "forbidden" {
            connection.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno").await?;
            continue;
        }
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        for word in ["you", "said", prompt.as_str()] {
            connection.write(format!("{:x}\r\n{word}\n\r\n", word.len() + 1).as_bytes()).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        connection.write(b"0\r\n\r\n").await?;
    }
    Ok(())
}

async fn lines(component: PathBuf) -> Result<()> {
    ensure!(component.exists(), "{} is missing; run `cargo x build third-party`", component.display());
    let upstream = Upstream::start(words).await?;
    let (client, endpoint) = open(&component, "lines", upstream.url(), KEY).await?;

    let mut run = client.chat(ChatRequest {
        endpoint: Some(endpoint.clone()),
        ..ChatRequest::new([Message::user("nothing"), Message::assistant("yes?"), Message::user("größer")])
    });
    let mut batches = 0;
    while run.next().await.is_some() {
        batches += 1;
    }
    ensure!(batches > 1, "it did not stream");
    let response = run.await?;
    ensure!(response.text == "you said größer ", "{response:?}");

    let forbidden = query(&client, &endpoint, "forbidden").await;
    let Err(Error::Upstream(payload)) = &forbidden else { panic!("{forbidden:?}") };
    ensure!((payload.fault, payload.status) == (UpstreamFault::Authentication, Some(401)), "{payload:?}");
    let embedded = client.embed(EmbedRequest { endpoint: Some(endpoint), ..EmbedRequest::new(["a"]) }).await;
    ensure!(matches!(&embedded, Err(Error::Unsupported(_))), "{embedded:?}");

    for request in upstream.log().requests() {
        ensure!(
            request.path == "/generate" && request.body.is_some_and(|body| body.get("model") == Some(&"m-1".into()))
        );
        ensure!(request.headers.get("authorization") == Some(&format!("Bearer {KEY}")), "{:?}", request.headers);
    }
    Ok(())
}
