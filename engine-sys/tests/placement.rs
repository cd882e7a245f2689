//! Devices, what goes where, how positions are scaled, and the memory that a model takes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what fails by failing"
)]

mod support;

use engine_sys::{
    Backend, CacheConfig, CacheMode, CacheSource, ContextConfig, DeviceKind, Engine, Error, Finish, GpuLayers,
    MemoryUse, ModelConfig, ModelFault, Placement, Residency, RopeScaling, Sampling, SplitMode, TextRequest, backends,
    devices, estimate,
};
use support::TempFile;
use support::{ask, demo, demo_path, generate, load, start};
use test_models::gguf::{BOOL, File, Tensor, Value, float, number};

fn placed(placement: Placement) -> ModelConfig {
    ModelConfig { path: demo_path(), placement, ..ModelConfig::default() }
}

fn within(context: ContextConfig) -> ModelConfig {
    ModelConfig { path: demo_path(), context, ..ModelConfig::default() }
}

/// The words with which a configuration is refused.
fn refused(config: ModelConfig) -> String {
    match load(config.clone()) {
        Err(Error::Model { fault: ModelFault::Configuration, message }) => message,
        other => panic!("{config:?} is not refused: {other:?}"),
    }
}

/// The probabilities of an answer's tokens, which tell more than its text.
fn likelihoods(engine: &Engine) -> Vec<f32> {
    let answer = generate(engine, TextRequest { logprobs: Some(0), ..ask("Count from 1 to 30.") });
    answer.batches.iter().flat_map(|batch| batch.logprobs.iter().map(|token| token.logprob)).collect()
}

#[test]
fn the_processor_is_a_device() {
    let devices = devices();
    let cpu = devices.iter().find(|device| device.kind == DeviceKind::Cpu).expect("there is a processor");
    assert_eq!((cpu.name.as_str(), cpu.backend.as_str()), ("CPU", "CPU"));
    assert!(!cpu.description.is_empty());
    assert!(cpu.memory_free.unwrap() > 0 && cpu.memory_free <= cpu.memory_total);
    assert!(devices.iter().all(|device| backends().contains(&device.backend)));
}

#[test]
fn the_cpu_can_be_asked_for() {
    let cpu = Placement { backend: Some(Backend::Cpu), no_extra_bufts: Some(true), ..Placement::default() };
    let engine = load(placed(cpu)).expect("it loads");
    assert_eq!(generate(&engine, ask("Hello")).text, "Hello! How can I help you?");
}

#[test]
fn a_backend_that_is_not_there_is_named() {
    let there = backends();
    for (backend, word, name) in
        [(Backend::Cuda, "cuda", "CUDA"), (Backend::Metal, "metal", "MTL"), (Backend::Vulkan, "vulkan", "Vulkan")]
    {
        if !there.iter().any(|backend| backend == name) {
            let message = refused(placed(Placement { backend: Some(backend), ..Placement::default() }));
            assert!(message.starts_with(&format!("backend {word} is not compiled in")), "{message}");
        }
    }
}

#[test]
fn what_concerns_gpus_is_refused_where_none_is_used() {
    let cpu = || Placement { backend: Some(Backend::Cpu), ..Placement::default() };
    let placements = [
        ("gpu_layers", Placement { gpu_layers: Some(GpuLayers::All), ..cpu() }),
        ("gpu_layers", Placement { gpu_layers: Some(GpuLayers::Count(u32::MAX)), ..cpu() }),
        ("split_mode", Placement { split_mode: Some(SplitMode::Layer), ..cpu() }),
        ("main_gpu", Placement { main_gpu: Some(0), ..cpu() }),
        ("tensor_split", Placement { tensor_split: vec![1.0], ..cpu() }),
        ("no_host", Placement { no_host: Some(true), ..cpu() }),
        ("devices", Placement { devices: vec!["CUDA0".to_owned()], ..cpu() }),
        ("devices", Placement { devices: vec!["nothing".to_owned()], ..Placement::default() }),
        ("devices", Placement { devices: vec!["CPU".to_owned()], ..Placement::default() }),
    ];
    for (name, placement) in placements {
        let message = refused(placed(placement));
        assert!(message.starts_with(name), "{name}: {message}");
    }
    let contexts = [
        ("offload_kqv", ContextConfig { offload_kqv: Some(false), ..ContextConfig::default() }),
        ("op_offload", ContextConfig { op_offload: Some(true), ..ContextConfig::default() }),
    ];
    for (name, context) in contexts {
        let message = refused(ModelConfig { placement: cpu(), ..within(context) });
        assert!(message.starts_with(name), "{name}: {message}");
    }
    let residencies = [
        ("max_gpu_models_per_device", Residency { max_gpu_models_per_device: Some(2), ..Residency::default() }),
        ("require_gpu_lease", Residency { require_gpu_lease: Some(true), ..Residency::default() }),
        (
            "gpu_memory_safety_margin_bytes",
            Residency { gpu_memory_safety_margin_bytes: Some(0), ..Residency::default() },
        ),
    ];
    for (name, residency) in residencies {
        let message = refused(ModelConfig { residency, ..placed(cpu()) });
        assert!(message.starts_with(name), "{name}: {message}");
    }
}

#[test]
fn rotary_frequencies_change_the_answer() {
    let plain = likelihoods(&demo(ContextConfig::default()));
    let base = |base| ContextConfig { rope_freq_base: Some(base), ..ContextConfig::default() };
    assert_eq!(likelihoods(&demo(base(10_000.0))), plain, "it is what the model was trained with");
    assert_ne!(likelihoods(&demo(base(100.0))), plain);
    let texts = [10_000.0, 100.0].map(|value| generate(&demo(base(value)), ask("Count from 1 to 30.")).text);
    assert_ne!(texts[0], texts[1]);
    let scale = ContextConfig { rope_freq_scale: Some(0.5), ..ContextConfig::default() };
    assert_ne!(likelihoods(&demo(scale)), plain);
}

#[test]
fn every_part_of_yarn_has_its_effect() {
    let yarn = || ContextConfig {
        rope_scaling: Some(RopeScaling::Yarn),
        rope_freq_scale: Some(0.5),
        ..ContextConfig::default()
    };
    let linear = ContextConfig { rope_scaling: Some(RopeScaling::Linear), ..yarn() };
    let flat = || ContextConfig { yarn_ext_factor: Some(0.0), ..yarn() };
    let variants = [
        linear,
        yarn(),
        ContextConfig { yarn_orig_ctx: Some(64), ..yarn() },
        ContextConfig { yarn_ext_factor: Some(0.5), ..yarn() },
        ContextConfig { yarn_beta_fast: Some(4.0), ..yarn() },
        ContextConfig { yarn_beta_slow: Some(16.0), ..yarn() },
        ContextConfig { yarn_attn_factor: Some(1.5), ..flat() },
    ];
    let answers: Vec<_> = variants.iter().map(|context| likelihoods(&demo(context.clone()))).collect();
    for (index, answer) in answers.iter().enumerate() {
        let same = answers.iter().position(|other| other == answer);
        assert_eq!(same, Some(index), "{:?}", variants[index]);
    }
}

#[test]
fn a_scale_makes_room() {
    let stretched = |n_ctx| ContextConfig { n_ctx, rope_freq_scale: Some(0.25), ..ContextConfig::default() };
    for (n_ctx, context) in [(None, 2048), (Some(0), 2048), (Some(2048), 2048), (Some(100), 100)] {
        assert_eq!(demo(stretched(n_ctx)).model().context, context, "{n_ctx:?}");
    }
    let yarn = ContextConfig { rope_scaling: Some(RopeScaling::Yarn), yarn_orig_ctx: Some(400), ..stretched(None) };
    assert_eq!(demo(yarn).model().context, 1600);
    assert!(refused(within(stretched(Some(2049)))).starts_with("n_ctx is 2049"));
}

#[test]
fn positions_out_of_range_or_without_effect_are_refused_by_name() {
    let context = ContextConfig::default;
    let yarn = || ContextConfig { rope_scaling: Some(RopeScaling::Yarn), rope_freq_scale: Some(0.5), ..context() };
    let cases = [
        ("rope_freq_base", ContextConfig { rope_freq_base: Some(0.0), ..context() }),
        ("rope_freq_base", ContextConfig { rope_freq_base: Some(f32::NAN), ..context() }),
        ("rope_freq_scale", ContextConfig { rope_freq_scale: Some(0.0), ..context() }),
        ("rope_freq_scale", ContextConfig { rope_freq_scale: Some(1.5), ..context() }),
        ("rope_freq_scale", ContextConfig { rope_scaling: Some(RopeScaling::None), ..yarn() }),
        ("rope_scaling", ContextConfig { rope_scaling: Some(RopeScaling::None), ..context() }),
        ("rope_scaling", ContextConfig { rope_scaling: Some(RopeScaling::Linear), ..context() }),
        ("rope_scaling", ContextConfig { rope_freq_scale: Some(1.0), ..yarn() }),
        ("yarn_orig_ctx", ContextConfig { yarn_orig_ctx: Some(0), ..yarn() }),
        ("yarn_orig_ctx", ContextConfig { yarn_orig_ctx: Some(512), ..context() }),
        ("yarn_orig_ctx", ContextConfig { yarn_orig_ctx: Some(512), yarn_ext_factor: Some(0.0), ..yarn() }),
        ("yarn_ext_factor", ContextConfig { yarn_ext_factor: Some(1.5), ..yarn() }),
        ("yarn_ext_factor", ContextConfig { yarn_ext_factor: Some(0.5), ..context() }),
        ("yarn_attn_factor", ContextConfig { yarn_attn_factor: Some(1.5), ..yarn() }),
        ("yarn_attn_factor", ContextConfig { yarn_attn_factor: Some(0.0), yarn_ext_factor: Some(0.0), ..yarn() }),
        ("yarn_beta_fast", ContextConfig { yarn_beta_fast: Some(f32::INFINITY), ..yarn() }),
        ("yarn_beta_fast", ContextConfig { yarn_beta_fast: Some(8.0), yarn_ext_factor: Some(0.0), ..yarn() }),
        ("yarn_beta_slow", ContextConfig { yarn_beta_slow: Some(9.0), yarn_beta_fast: Some(8.0), ..yarn() }),
        ("yarn_beta_slow", ContextConfig { yarn_beta_slow: Some(2.0), ..context() }),
        ("swa_full", ContextConfig { swa_full: Some(true), ..context() }),
        ("kv_unified", ContextConfig { kv_unified: Some(true), ..context() }),
        (
            "kv_unified",
            ContextConfig { kv_unified: Some(true), embeddings: Some(true), n_parallel: Some(2), ..context() },
        ),
    ];
    for (name, context) in cases {
        let message = refused(within(context.clone()));
        assert!(message.starts_with(name), "{name}: {message}: {context:?}");
    }
    let shifted = ModelConfig {
        cache: CacheConfig { context_shift: Some(true), ..CacheConfig::default() },
        ..within(ContextConfig { kv_unified: Some(true), n_parallel: Some(2), ..context() })
    };
    assert!(refused(shifted).starts_with("kv_unified"));
}

/// The demo model with a window of 16 tokens in every second layer, in an architecture that has such.
fn windowed() -> TempFile {
    let mut file = File::open(&demo_path());
    let read = |file: &mut File, name: &str| match file.get(name) {
        Some(Value::Number(_, value)) => *value,
        _ => panic!("the demo model has {name}"),
    };
    let layers = read(&mut file, "llama.block_count");
    let heads = read(&mut file, "llama.attention.head_count");
    file.rename("llama", "granite_swa");
    file.set("granite_swa.logit_scale", float(1.0));
    file.set("granite_swa.attention.sliding_window", number(16));
    let every_second = (0..layers).map(|layer| Value::Number(BOOL, u64::from(layer % 2 == 0)));
    file.set("granite_swa.attention.sliding_window_pattern", Value::List(BOOL, every_second.collect()));
    for layer in 0..layers {
        file.tensors.push(Tensor {
            name: format!("blk.{layer}.attn_sinks.weight").into_bytes(),
            shape: vec![heads],
            kind: 0,
            bytes: (-1e9f32).to_le_bytes().repeat(heads as usize),
        });
    }
    TempFile::new("windowed.gguf", &file.bytes())
}

#[test]
fn a_window_can_be_forgotten() {
    let file = windowed();
    let config = |swa_full, n_ubatch| ModelConfig {
        path: file.path.clone(),
        context: ContextConfig { swa_full, n_ubatch: Some(n_ubatch), ..ContextConfig::default() },
        ..ModelConfig::default()
    };
    let [whole, default, forgotten] = [Some(true), None, Some(false)].map(|full| {
        let used = estimate(&config(full, 32)).expect("the model can be estimated");
        let engine = load(config(full, 32)).expect("the model loads");
        let first = generate(&engine, ask("Count from 1 to 30.")).text;
        assert_eq!(generate(&engine, ask("Count from 1 to 30.")).text, first, "{full:?}");
        (used.iter().map(|used| used.context).sum::<u64>(), first)
    });
    assert_eq!(whole, default);
    assert!(forgotten.0 < whole.0, "{} bytes, and {} with every token", forgotten.0, whole.0);
    assert_eq!(forgotten.1, whole.1);
}

#[test]
fn slots_of_one_cache_hold_as_much_as_their_own() {
    let engine = |kv_unified| {
        let context = ContextConfig { n_parallel: Some(4), n_ctx: Some(100), kv_unified, ..ContextConfig::default() };
        load(within(context)).expect("the demo model loads")
    };
    let endless = |question| TextRequest {
        sampling: Sampling { ignore_eos: Some(true), ..Sampling::default() },
        ..ask(question)
    };
    let questions = ["Count from 1 to 30.", "Tell me a short story about a cat.", "Hello", "Who are you?"];
    let [apart, together] = [Some(false), Some(true)].map(|unified| {
        let engine = engine(unified);
        let runs: Vec<_> = questions.iter().map(|question| start(&engine, endless(question))).collect();
        let answers = runs.into_iter().map(|run| run.answer());
        let ends = answers.map(|answer| {
            let outcome = answer.outcome();
            (outcome.finish, outcome.input_tokens, outcome.output_tokens)
        });
        ends.collect::<Vec<_>>()
    });
    assert_eq!(together, apart);
    assert!(together.iter().all(|(finish, input, output)| *finish == Finish::Length && input + output >= 100));
}

#[test]
fn one_cache_is_copied_cut_and_saved() {
    let unified = |slots, mode| {
        let context = ContextConfig { n_parallel: Some(slots), kv_unified: Some(true), ..ContextConfig::default() };
        let cache = CacheConfig { mode: Some(mode), ..CacheConfig::default() };
        load(ModelConfig { cache, ..within(context) }).expect("the demo model loads")
    };
    let questions = ["Count from 1 to 5.", "Count from 1 to 30.", "Count from 1 to 10.", "Hello"];
    let alone = demo(ContextConfig::default());
    let expected = questions.map(|question| generate(&alone, ask(question)).text);
    let engine = unified(3, CacheMode::LiveSlotPrefix);
    for _ in 0..3 {
        let runs = questions.map(|question| start(&engine, ask(question)));
        assert_eq!(runs.map(|run| run.answer().text), expected);
    }
    assert!(engine.counters().cached_tokens > 0, "beginnings are shared");
    for mode in [CacheMode::StateSnapshot, CacheMode::LiveSlotAndSnapshot] {
        let engine = unified(2, mode);
        let sources: Vec<_> = (0..2)
            .flat_map(|_| questions.map(|question| generate(&engine, ask(question))))
            .zip(expected.iter().cycle())
            .map(|(answer, expected)| {
                assert_eq!(&answer.text, expected, "{mode:?}");
                answer.outcome().stats.cache_source
            })
            .collect();
        assert!(sources.contains(&CacheSource::Snapshot), "{mode:?}: {sources:?}");
    }
}

fn on_cpu(config: &ModelConfig) -> MemoryUse {
    let used = estimate(config).expect("the model can be estimated");
    used.into_iter().find(|used| used.kind == DeviceKind::Cpu).expect("something is on the CPU")
}

#[test]
fn memory_is_told_before_it_is_taken() {
    let cpu = || Placement { backend: Some(Backend::Cpu), ..Placement::default() };
    let mapped = on_cpu(&placed(cpu()));
    assert!(mapped.weights > 3_000_000 && mapped.mapped == mapped.weights, "{mapped:?}");
    assert!(mapped.context > 0 && mapped.compute > 0 && mapped.free.is_some());
    assert_eq!(mapped.needed(), mapped.context + mapped.compute);
    let read = on_cpu(&placed(Placement { use_mmap: Some(false), ..cpu() }));
    assert_eq!((read.mapped, read.needed()), (0, read.weights + read.context + read.compute));
    let context = ContextConfig { n_parallel: Some(4), ..ContextConfig::default() };
    let four = on_cpu(&ModelConfig { context, ..placed(cpu()) });
    assert_eq!(four.context, 4 * mapped.context);
}

#[test]
fn a_model_without_room_is_refused_with_figures() {
    let mut file = File::open(&demo_path());
    file.set("llama.context_length", number(1 << 20));
    let file = TempFile::new("roomless.gguf", &file.bytes());
    // Attention over a million tokens at once takes terabytes.
    let context =
        ContextConfig { n_ctx: Some(0), n_batch: Some(1 << 20), n_ubatch: Some(1 << 20), ..ContextConfig::default() };
    let error = load(ModelConfig { path: file.path.clone(), context, ..ModelConfig::default() }).expect_err("no room");
    let Error::Model { fault: ModelFault::OutOfMemory, message } = &error else { panic!("{error:?}") };
    assert!(message.contains("CPU needs") && message.contains("MiB are free; lower n_ctx"), "{message}");
}
