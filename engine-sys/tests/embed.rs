//! Embeddings of the demo model, loaded for them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what fails by failing"
)]

mod support;

use std::sync::mpsc::channel;
use std::time::Duration;

use engine_sys::{Cancel, ContextConfig, EmbedRequest, Embedding, Engine, Error, ModelConfig, Pooling};
use support::{TempFile, ask, demo, load, refused};
use test_models::models::ranker;

fn start(engine: &Engine, request: EmbedRequest) -> (Cancel, std::sync::mpsc::Receiver<Result<Embedding, Error>>) {
    let (done, result) = channel();
    let cancel = engine.embed(request, Box::new(move |embedding| done.send(embedding).expect("the test waits")));
    (cancel.expect("the request is accepted"), result)
}

fn embed(engine: &Engine, inputs: &[&str], normalize: Option<bool>) -> Result<Embedding, Error> {
    let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
    start(engine, EmbedRequest { inputs, normalize, query: None })
        .1
        .recv_timeout(Duration::from_secs(120))
        .expect("it ends")
}

fn embedder(pooling: Option<Pooling>) -> Engine {
    demo(ContextConfig { embeddings: Some(true), pooling, ..ContextConfig::default() })
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn one_vector_for_each_input_in_order() {
    let engine = embedder(None);
    let info = engine.model().capabilities.embedding.expect("it embeds");
    assert_eq!((info.pooling, info.dimensions), (Pooling::Mean, engine.model().embedding_length));
    assert!(!engine.model().capabilities.generates_text);

    let inputs: Vec<String> = (0..150).map(|number| format!("The number is {number}.")).collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let together = embed(&engine, &inputs, None).expect("it embeds");
    assert_eq!(together.vectors.len(), inputs.len());
    assert!(together.normalized && together.pooling == Pooling::Mean);
    for index in [0, 1, 63, 64, 149] {
        let alone = embed(&engine, &inputs[index..=index], None).expect("it embeds");
        let similarity = cosine(&alone.vectors[0], &together.vectors[index]);
        assert!(similarity > 0.9999, "{index}: {similarity}");
        assert!(cosine(&alone.vectors[0], &together.vectors[(index + 1) % 150]) < 0.99999);
    }
    assert_eq!(together.vectors[0].len(), info.dimensions as usize);
}

#[test]
fn vectors_have_length_1_unless_asked_otherwise() {
    let engine = embedder(Some(Pooling::Last));
    let length = |embedding: &Embedding| embedding.vectors[0].iter().map(|value| value * value).sum::<f32>().sqrt();
    let normalized = embed(&engine, &["Hello"], None).unwrap();
    let raw = embed(&engine, &["Hello"], Some(false)).unwrap();
    assert!((length(&normalized) - 1.0).abs() < 1e-5);
    assert!((length(&raw) - 1.0).abs() > 1e-3 && !raw.normalized);
    assert!(cosine(&normalized.vectors[0], &raw.vectors[0]) > 0.99999);
}

#[test]
fn poolings_differ() {
    let vectors: Vec<_> = [Pooling::Mean, Pooling::Cls, Pooling::Last]
        .map(|pooling| embed(&embedder(Some(pooling)), &["one two three"], None).unwrap().vectors.remove(0))
        .to_vec();
    assert!(cosine(&vectors[0], &vectors[1]) < 0.9999 && cosine(&vectors[1], &vectors[2]) < 0.9999);
}

#[test]
fn what_cannot_be_embedded_is_refused() {
    let engine = embedder(None);
    let nothing = engine.embed(EmbedRequest { inputs: Vec::new(), normalize: None, query: None }, Box::new(|_| {}));
    assert!(matches!(nothing, Err(Error::InvalidRequest(_))));
    let long = "word ".repeat(2000);
    assert!(matches!(embed(&engine, &["fine", &long], None), Err(Error::PromptTooLong { context_tokens: 512, .. })));
    assert!(embed(&engine, &[""], None).is_ok(), "this model adds a token to an empty text");
    assert!(matches!(refused(&engine, ask("Hello")), Error::Unsupported(text) if text.contains("embeddings")));

    let request = || EmbedRequest { inputs: vec!["Hello".to_owned()], normalize: None, query: None };
    let text = demo(ContextConfig::default()).embed(request(), Box::new(|_| {})).expect_err("it is loaded for text");
    assert!(matches!(text, Error::Unsupported(text) if text.contains("embeddings")));
    let unpooled = embedder(Some(Pooling::None));
    assert!(!unpooled.model().capabilities.embeds);
    assert!(matches!(unpooled.embed(request(), Box::new(|_| {})), Err(Error::Unsupported(_))));
}

#[test]
fn embedding_can_be_cancelled_and_ends_with_its_engine() {
    let engine = embedder(None);
    let many = || EmbedRequest { inputs: vec!["one two three four ".repeat(30); 2000], normalize: None, query: None };
    let (cancel, running) = start(&engine, many());
    let (queued_cancel, queued) = start(&engine, many());
    queued_cancel.cancel();
    cancel.cancel();
    assert_eq!(running.recv_timeout(Duration::from_secs(60)), Ok(Err(Error::Cancelled)));
    assert_eq!(queued.recv_timeout(Duration::from_secs(60)), Ok(Err(Error::Cancelled)));
    let (_, last) = start(&engine, many());
    drop(engine);
    assert_eq!(last.recv_timeout(Duration::from_secs(60)), Ok(Err(Error::Cancelled)));
}

#[test]
fn texts_are_scored_against_a_query() {
    let file = TempFile::new("ranker.gguf", &ranker().bytes());
    let engine = load(ModelConfig { path: file.path.clone(), ..ModelConfig::default() }).expect("the model loads");
    let info = engine.model().capabilities.embedding.expect("it embeds");
    assert_eq!((info.pooling, info.dimensions), (Pooling::Rank, 1));
    let scores = |query: Option<&str>, inputs: &[&str]| {
        let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
        let request = EmbedRequest { inputs, normalize: None, query: query.map(str::to_owned) };
        start(&engine, request).1.recv_timeout(Duration::from_secs(120)).expect("it ends").expect("it scores")
    };
    let texts = ["hello", "a b c", "q r s t u"];
    let together = scores(Some("hello a"), &texts);
    assert!(!together.normalized && together.vectors.iter().all(|scores| scores.len() == 1), "{together:?}");
    for (text, score) in texts.iter().zip(&together.vectors) {
        let alone = scores(Some("hello a"), &[text]);
        assert!((alone.vectors[0][0] - score[0]).abs() < 1e-4, "{text}: {alone:?} {score:?}");
        let other = scores(Some("z y x w"), &[text]);
        assert!((other.vectors[0][0] - score[0]).abs() > 1e-4, "{text}: the query matters: {other:?} {score:?}");
        // The query's tokens, and what is between.
        assert!(alone.input_tokens >= scores(None, &[text]).input_tokens + 2, "{text}");
    }
    let query = Some("hello".to_owned());
    let request = EmbedRequest { inputs: vec!["a".to_owned()], normalize: None, query };
    let refused = embedder(None).embed(request, Box::new(|_| {}));
    assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
}
