//! What is done with one corrupted file.

use std::path::Path;
use std::sync::mpsc::channel;

use engine_sys::{
    CacheType, ContextConfig, EmbedRequest, Engine, Error, FlashAttention, ModelConfig, ModelFault, Placement,
    TextRequest, inspect,
};

use super::support::{self, ask, prompt};
use test_models::random::Random;

/// Inspects, loads and, if that succeeds, uses a file. Says in a line what came out; what begins with `defect` is one.
pub(crate) fn attempt(path: &Path, config: ModelConfig) -> String {
    let inspected = inspect(path);
    let loaded = support::load(config);
    let said = match (inspected, loaded) {
        (Err(Error::Model { .. }) | Ok(_), Ok(engine)) => compute(&engine),
        (Err(Error::Model { .. }) | Ok(_), Err(Error::Model { fault, message })) => {
            let names_it = message.contains(&path.display().to_string()) || fault != ModelFault::Corrupt;
            if names_it { format!("{fault:?}: {message}") } else { format!("defect: names no file: {message}") }
        }
        // Everything else is the fault of the engine.
        (Err(error), Ok(_)) | (_, Err(error)) => format!("defect: {error:?}"),
    };
    said.replace('\n', " ")
}

/// Settings that change what llama.cpp does with the file.
pub(crate) fn any_config(path: &Path, random: &mut Random) -> ModelConfig {
    let some = |one_in: usize, random: &mut Random| random.one_in(one_in);
    ModelConfig {
        path: path.to_owned(),
        placement: Placement {
            use_mmap: Some(some(2, random)),
            check_tensors: Some(some(4, random)),
            ..Placement::default()
        },
        context: ContextConfig {
            n_ctx: some(2, random).then_some(16),
            warmup: Some(some(2, random)),
            embeddings: some(8, random).then_some(true),
            flash_attention: some(4, random).then_some(FlashAttention::Disabled),
            cache_type_k: some(8, random).then_some(CacheType::Q8_0),
            n_threads: Some(if some(16, random) { 2 } else { 1 }),
            ..ContextConfig::default()
        },
        ..ModelConfig::default()
    }
}

/// Has a model that loaded write a few tokens, or make a vector.
fn compute(engine: &Engine) -> String {
    let capabilities = engine.model().capabilities.clone();
    let mut failed = None;
    if capabilities.generates_text {
        let mut requests = vec![prompt("Hi, \u{f6}1\n")];
        if capabilities.has_chat_template {
            requests.push(ask("Hello"));
        }
        for request in requests {
            let request = TextRequest { max_tokens: Some(3), ..request };
            failed = failed.or(support::start(engine, request).answer().result.err());
        }
    }
    if capabilities.embeds {
        let (vectors, received) = channel();
        let request = EmbedRequest { inputs: vec!["Hello".into(), "a".into()], normalize: None, query: None };
        let done = Box::new(move |result| vectors.send(result).expect("the test waits"));
        engine.embed(request, done).expect("the request is accepted");
        failed = failed.or(received.recv().expect("it is answered").err());
    }
    match failed {
        None => "loaded".to_owned(),
        Some(Error::Internal(reason)) => format!("loaded, and a request failed: {reason}"),
        Some(error) => format!("loaded, and a request was refused: {error}"),
    }
}
