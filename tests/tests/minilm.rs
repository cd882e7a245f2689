//! A real embedding model gives the vectors that its reference implementation gives.
//!
//! all-MiniLM-L6-v2 comes from PyPI, and is converted anew by `toolchain/embedding-model/convert.py`. The reference is what
//! the model's own package says to the texts in `minilm/`. It is kept there, because it needs PyTorch, which is too large
//! to be installed for a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use sipp::{ContextOptions, EmbedRequest, Embedding, LocalDescriptor, Pooling, SippClient};
use sipp_tests::tree;

/// Numbers of a vector.
const DIMENSIONS: usize = 384;

/// What the cosine of our vector and the reference's must be above. They are not the same, because llama.cpp takes GELU
/// from a table of its tanh approximation in f16, and the file's matrices are in f16 too.
const ALIKE: f32 = 0.9999;

/// How far apart the numbers may be of the vectors that a text has alone and in a list, where sums are taken in another
/// order and so rounded to another f16 now and then. A number of a vector is about 0.05.
const APART: f32 = 5e-4;

/// A text of the reference.
#[derive(Deserialize)]
struct Sentence {
    text: String,
    /// How many the reference's tokeniser makes of it, the model's beginning and end among them.
    tokens: u32,
}

#[tokio::test]
async fn vectors_are_those_of_the_reference_alone_and_in_a_list() -> Result<()> {
    let (sentences, reference) = (sentences()?, reference()?);
    ensure!(sentences.len() >= 50, "there are {} sentences only", sentences.len());
    assert_eq!(reference.len(), sentences.len(), "each sentence has its vector");
    let client = SippClient::new()?;
    // Several threads wait for each other by spinning, which takes long where something else wants the same cores.
    let context = ContextOptions { embeddings: Some(true), n_threads: Some(1), ..ContextOptions::default() };
    client.add("minilm", LocalDescriptor { context, ..LocalDescriptor::new(converted()?) }).await?;

    let mut alone = Vec::new();
    for sentence in &sentences {
        let embedding = client.embed(sentence.text.as_str()).await.with_context(|| format!("{:?}", sentence.text))?;
        alone.extend(checked(embedding.embedding, std::slice::from_ref(sentence))?);
    }
    let list = EmbedRequest::new(sentences.iter().map(|sentence| &sentence.text));
    let list = checked(client.embed(list).await?.embedding, &sentences)?;

    let mut lowest = f32::INFINITY;
    for (((sentence, reference), alone), listed) in sentences.iter().zip(&reference).zip(&alone).zip(&list) {
        let cosine = product(alone, reference);
        ensure!(cosine > ALIKE, "{:?}: the cosine is {cosine}", sentence.text);
        lowest = lowest.min(cosine);
        let apart = alone.iter().zip(listed).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        ensure!(apart < APART, "{:?}: the vector in a list is {apart} from the one alone", sentence.text);
    }
    println!("{} sentences, lowest cosine {lowest}", sentences.len());
    Ok(())
}

/// The vectors of these sentences, after a look at all that the reference has nothing to say about.
fn checked(embedding: Embedding, sentences: &[Sentence]) -> Result<Vec<Vec<f32>>> {
    assert_eq!((embedding.pooling, embedding.normalized), (Some(Pooling::Mean), Some(true)));
    assert_eq!(embedding.vectors.len(), sentences.len());
    let first = sentences.first().map(|sentence| &sentence.text);
    let tokens = embedding.usage.and_then(|usage| usage.input_tokens);
    assert_eq!(tokens, Some(sentences.iter().map(|sentence| sentence.tokens).sum()), "tokens from {first:?} on");
    for (vector, sentence) in embedding.vectors.iter().zip(sentences) {
        let length = product(vector, vector).sqrt();
        ensure!(vector.len() == DIMENSIONS, "{:?} has {} dimensions", sentence.text, vector.len());
        ensure!((length - 1.0).abs() < 1e-5, "{:?} has a vector of length {length}", sentence.text);
    }
    Ok(embedding.vectors)
}

/// The scalar product, which is the cosine where both vectors have length 1.
fn product(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

/// Writes the model, and says where it is.
fn converted() -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("minilm.gguf");
    let script = tree::root().join("toolchain/embedding-model/convert.py");
    let python = tree::python()?;
    let status = Command::new(&python)
        .arg(&script)
        .arg(&path)
        .status()
        .with_context(|| format!("{} cannot be started", python.display()))?;
    ensure!(status.success(), "{} failed: {status}", script.display());
    Ok(path)
}

fn sentences() -> Result<Vec<Sentence>> {
    Ok(serde_json::from_slice(&read("sentences.json")?)?)
}

/// The vectors of the reference: one after the other, in f32, little-endian.
fn reference() -> Result<Vec<Vec<f32>>> {
    let bytes = read("vectors.f32")?;
    let (numbers, []) = bytes.as_chunks() else { anyhow::bail!("the reference ends within a number") };
    let numbers: Vec<_> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
    Ok(numbers.chunks(DIMENSIONS).map(<[f32]>::to_vec).collect())
}

fn read(name: &str) -> Result<Vec<u8>> {
    let path = tree::root().join("tests/minilm").join(name);
    fs::read(&path).with_context(|| format!("{}", path.display()))
}
