//! Files that are no models, broken models, and configurations that don't fit: each an error, never the process's end.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what fails by failing"
)]

mod support;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use engine_sys::{
    CacheType, ContextConfig, Engine, Error, FlashAttention, GpuLayers, ModelClass, ModelConfig, ModelFault, Placement,
    Pooling, SamplerStage, Sampling, TextRequest, inspect,
};
use support::TempFile;
use support::{ask, demo, demo_path, generate, load, prompt};
use test_models::gguf::{BOOL, File, Value, float, number, text};

/// What breaks a model.
type Edit = fn(&mut File);

/// The fault with which a file is refused, by loading and by inspecting alike, with a text that names it.
fn fault(path: &Path) -> (ModelFault, String) {
    let loaded = load(ModelConfig { path: path.to_owned(), ..ModelConfig::default() }).expect_err("it is refused");
    assert_eq!(inspect(path).expect_err("it is refused"), loaded);
    let Error::Model { fault, message } = loaded else { panic!("{loaded:?}") };
    assert!(message.contains(&path.display().to_string()), "{message}");
    (fault, message)
}

fn fault_of_bytes(name: &str, bytes: &[u8]) -> (ModelFault, String) {
    fault(&TempFile::new(name, bytes).path)
}

#[test]
fn what_is_no_file_is_not_found() {
    assert_eq!(fault(Path::new("/no/such/model.gguf")).0, ModelFault::NotFound);
    let (kind, message) = fault(&std::env::temp_dir());
    assert_eq!(kind, ModelFault::NotFound);
    assert!(message.contains("directory"), "{message}");
    assert_eq!(fault(&PathBuf::new().join("nul\0byte")).0, ModelFault::NotFound);
}

#[test]
fn other_files_are_not_gguf() {
    for (name, bytes) in [
        ("empty.gguf", &b""[..]),
        ("short.gguf", b"GG"),
        ("text.gguf", b"This is a text.\n"),
        ("zip.gguf", b"PK\x03\x04\0\0"),
    ] {
        assert_eq!(fault_of_bytes(name, bytes).0, ModelFault::NotGguf, "{name}");
    }
}

#[test]
fn truncated_files_are_corrupt() {
    let bytes = std::fs::read(demo_path()).unwrap();
    assert!(File::open(&demo_path()).bytes() == bytes, "the editor writes the file as it is");
    let mut ends: Vec<usize> = vec![4, 5, 8, 15, 16, 23, 24, 25, 40, 100, 1000, 5000, 10_000, 20_000, 50_000];
    ends.extend((1..20).map(|part| bytes.len() * part / 20));
    ends.push(bytes.len() - 1);
    for end in ends {
        let (kind, message) = fault_of_bytes("truncated.gguf", &bytes[..end]);
        assert_eq!(kind, ModelFault::Corrupt, "{end}: {message}");
    }
}

#[test]
fn noise_after_the_magic_is_corrupt() {
    let mut state = 1u64;
    for round in 0..200 {
        let mut bytes = b"GGUF".to_vec();
        if round % 2 == 0 {
            bytes.extend(3u32.to_le_bytes());
        }
        bytes.extend((0..round * 7).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        }));
        assert_eq!(fault_of_bytes("noise.gguf", &bytes).0, ModelFault::Corrupt);
    }
}

#[test]
fn an_unknown_architecture_is_named() {
    let mut gguf = File::open(&demo_path());
    gguf.set("general.architecture", text("nosuch"));
    let (kind, message) = fault_of_bytes("architecture.gguf", &gguf.bytes());
    assert_eq!(kind, ModelFault::UnsupportedArchitecture);
    assert!(message.contains("`nosuch`"), "{message}");
}

#[test]
fn broken_metadata_is_corrupt() {
    let edits: [(&str, Edit); 9] = [
        ("no architecture", |gguf| gguf.remove("general.architecture")),
        ("alignment of the wrong type", |gguf| gguf.set("general.alignment", text("32"))),
        ("alignment 0", |gguf| gguf.set("general.alignment", number(0))),
        ("a key without a name", |gguf| gguf.set("", number(1))),
        ("no embedding length", |gguf| gguf.remove("llama.embedding_length")),
        ("no context length", |gguf| gguf.remove("llama.context_length")),
        ("no tokens", |gguf| gguf.remove("tokenizer.ggml.tokens")),
        ("an unknown tokenizer", |gguf| gguf.set("tokenizer.ggml.model", text("nosuch"))),
        ("a length of the wrong type", |gguf| gguf.set("llama.block_count", text("two"))),
    ];
    for (what, edit) in edits {
        let mut gguf = File::open(&demo_path());
        edit(&mut gguf);
        let (kind, message) = fault_of_bytes("metadata.gguf", &gguf.bytes());
        assert_eq!(kind, ModelFault::Corrupt, "{what}: {message}");
        assert!(message.len() > 40, "it says why: {message}");
    }
}

/// llama.cpp asserts much of what it reads; an assertion that got through would end this test's process.
#[test]
fn no_single_wrong_key_ends_the_process() {
    let edits: [fn(&mut File, &str); 7] = [
        |gguf, key| gguf.remove(key),
        |gguf, key| gguf.set(key, number(0)),
        |gguf, key| gguf.set(key, number(3)),
        |gguf, key| gguf.set(key, number(u32::MAX)),
        |gguf, key| gguf.set(key, float(f32::NAN)),
        |gguf, key| gguf.set(key, text("hi")),
        |gguf, key| gguf.set(key, Value::Number(BOOL, 1)),
    ];
    let whole = File::open(&demo_path());
    for (key, _) in &whole.keys {
        let key = std::str::from_utf8(key).unwrap();
        for edit in edits {
            let mut gguf = File::open(&demo_path());
            edit(&mut gguf, key);
            let file = TempFile::new("key.gguf", &gguf.bytes());
            if let Ok(engine) = load(ModelConfig { path: file.path.clone(), ..ModelConfig::default() }) {
                let request = TextRequest { max_tokens: Some(2), ..prompt("Hello") };
                support::start(&engine, request).answer();
            }
        }
    }
}

#[test]
fn inspect_tells_what_loading_tells() {
    let inspected = inspect(&demo_path()).expect("it can be inspected");
    let loaded = demo(ContextConfig::default());
    assert_eq!(&inspected, loaded.model());
    assert_eq!(inspected.architecture, "llama");
    assert_eq!((inspected.context_length, inspected.context, inspected.vocabulary), (512, 512, 768));
    assert_eq!(inspected.capabilities.class, ModelClass::DecoderOnly);
    assert!(inspected.capabilities.generates_text && inspected.capabilities.has_chat_template);
    assert!(!inspected.capabilities.embeds && inspected.capabilities.embedding.is_none());
    assert!(inspected.parameters > 1_000_000 && inspected.size_bytes > 1_000_000);
    assert!(inspected.chat_template.is_some_and(|template| template.contains("messages")));
    assert!(!inspected.quantization.is_empty() && !inspected.description.is_empty());
}

#[test]
fn progress_goes_up_to_1_and_can_end_the_load() {
    let (steps, seen) = std::sync::mpsc::channel();
    let config = ModelConfig { path: demo_path(), ..ModelConfig::default() };
    let engine = Engine::load(config.clone(), move |done| {
        steps.send(done).expect("the test waits");
        ControlFlow::Continue(())
    });
    let steps: Vec<f32> = seen.iter().collect();
    assert!(engine.is_ok());
    assert!(steps.is_sorted() && steps.last() == Some(&1.0), "{steps:?}");
    assert_eq!(Engine::load(config.clone(), |_| ControlFlow::Break(())).err(), Some(Error::Cancelled));
    assert_eq!(Engine::load(config, |_| panic!("a callback's own fault")).err(), Some(Error::Cancelled));
}

#[test]
fn a_configuration_that_does_not_fit_is_refused_by_name() {
    let context = ContextConfig::default;
    let cases = [
        ("n_ctx", ContextConfig { n_ctx: Some(513), ..context() }),
        ("n_ctx", ContextConfig { n_ctx: Some(u32::MAX), ..context() }),
        ("n_ctx", ContextConfig { n_ctx: Some(1), ..context() }),
        ("n_batch", ContextConfig { n_batch: Some(0), ..context() }),
        ("n_batch", ContextConfig { n_batch: Some(u32::MAX), ..context() }),
        ("n_batch", ContextConfig { n_batch: Some(3), n_parallel: Some(4), ..context() }),
        ("n_ubatch", ContextConfig { n_ubatch: Some(0), ..context() }),
        ("n_ubatch", ContextConfig { n_ubatch: Some(65), n_batch: Some(64), ..context() }),
        ("n_parallel", ContextConfig { n_parallel: Some(0), ..context() }),
        ("n_parallel", ContextConfig { n_parallel: Some(65), ..context() }),
        ("n_threads", ContextConfig { n_threads: Some(0), ..context() }),
        ("n_threads", ContextConfig { n_threads: Some(513), ..context() }),
        ("n_threads_batch", ContextConfig { n_threads_batch: Some(0), ..context() }),
        ("pooling", ContextConfig { pooling: Some(Pooling::Mean), ..context() }),
        ("pooling", ContextConfig { embeddings: Some(true), pooling: Some(Pooling::Rank), ..context() }),
        ("n_batch", ContextConfig { embeddings: Some(true), n_batch: Some(64), ..context() }),
        (
            "cache_type_v",
            ContextConfig {
                cache_type_v: Some(CacheType::Q8_0),
                flash_attention: Some(FlashAttention::Disabled),
                ..context()
            },
        ),
    ];
    for (name, context) in cases {
        let error = load(ModelConfig { path: demo_path(), context, ..ModelConfig::default() }).expect_err(name);
        let Error::Model { fault: ModelFault::Configuration, message } = &error else { panic!("{name}: {error:?}") };
        assert!(message.contains(name), "{name}: {message}");
    }
}

#[test]
fn a_gpu_that_is_not_there_is_refused() {
    for layers in [GpuLayers::All, GpuLayers::Count(1)] {
        let placement = Placement { gpu_layers: Some(layers), ..Placement::default() };
        let error = load(ModelConfig { path: demo_path(), placement, ..ModelConfig::default() }).expect_err("no GPU");
        assert!(
            matches!(&error, Error::Model { fault: ModelFault::Configuration, message } if message.contains("gpu_layers"))
        );
    }
}

#[test]
fn a_models_sampling_is_checked_when_it_is_loaded() {
    let sampling = Sampling { samplers: Some(vec![SamplerStage::TopK]), min_p: Some(0.1), ..Sampling::default() };
    let error = load(ModelConfig { path: demo_path(), sampling, ..ModelConfig::default() }).expect_err("min_p is dead");
    assert!(matches!(&error, Error::Model { fault: ModelFault::Configuration, message } if message.contains("min_p")));
}

#[test]
fn every_setting_that_fits_gives_the_same_answer() {
    let placements = [
        Placement { use_mmap: Some(false), ..Placement::default() },
        Placement { check_tensors: Some(true), gpu_layers: Some(GpuLayers::Count(0)), ..Placement::default() },
        Placement { use_mlock: Some(true), ..Placement::default() },
    ];
    for placement in placements {
        let engine = load(ModelConfig { path: demo_path(), placement, ..ModelConfig::default() }).expect("it loads");
        assert_eq!(generate(&engine, ask("Hello")).text, "Hello! How can I help you?");
    }
    let context = ContextConfig::default;
    let contexts = [
        ContextConfig { n_ctx: Some(0), n_parallel: Some(64), ..context() },
        ContextConfig { n_ctx: Some(20), warmup: Some(false), ..context() },
        ContextConfig { n_threads: Some(2), n_threads_batch: Some(1), ..context() },
        ContextConfig { flash_attention: Some(FlashAttention::Enabled), ..context() },
        ContextConfig {
            flash_attention: Some(FlashAttention::Disabled),
            cache_type_k: Some(CacheType::F32),
            ..context()
        },
        ContextConfig { cache_type_k: Some(CacheType::Q8_0), cache_type_v: Some(CacheType::Q8_0), ..context() },
    ];
    for context in contexts {
        let engine = demo(context.clone());
        assert_eq!(generate(&engine, ask("Hello")).text, "Hello! How can I help you?", "{context:?}");
    }
}
