//! A GPU through Vulkan, which Mesa's driver for processors can stand in for. Needs the feature `vulkan`.
//!
//! Without a device the tests say so and pass, but not with `REQUIRE=vulkan`. `GGML_VK_VISIBLE_DEVICES=0,0` makes two GPUs
//! of one, so that splits can be tested. `cargo x test vulkan` sets both.

#![cfg(feature = "vulkan")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what fails by failing"
)]

mod support;

use engine_sys::{
    Backend, ContextConfig, Device, DeviceKind, Engine, Error, GpuLayers, MemoryUse, ModelConfig, ModelFault,
    Placement, Residency, SplitMode, backends, devices, estimate,
};
use support::{ask, demo_path, generate, load};

const QUESTIONS: [&str; 3] = ["Hello", "Count from 1 to 30.", "Give me a JSON object with name Anna and age 7."];

/// The GPUs; none where there are none and none is required.
fn gpus() -> Vec<Device> {
    let gpus: Vec<_> = devices().into_iter().filter(|device| device.backend == "Vulkan").collect();
    if gpus.is_empty() {
        assert_ne!(std::env::var("REQUIRE").as_deref(), Ok("vulkan"), "there is no Vulkan device");
        eprintln!("skipped: there is no Vulkan device");
    }
    gpus
}

/// On Vulkan, whoever else is there.
fn on(placement: Placement) -> ModelConfig {
    ModelConfig {
        path: demo_path(),
        placement: Placement { backend: placement.backend.or(Some(Backend::Vulkan)), ..placement },
        residency: Residency {
            require_gpu_lease: Some(false),
            gpu_memory_safety_margin_bytes: Some(1 << 20),
            ..Residency::default()
        },
        ..ModelConfig::default()
    }
}

fn answers(engine: &Engine) -> [String; 3] {
    QUESTIONS.map(|question| generate(engine, ask(question)).text)
}

fn used(config: &ModelConfig, device: &str) -> MemoryUse {
    let nothing = MemoryUse {
        device: device.to_owned(),
        kind: DeviceKind::Gpu,
        weights: 0,
        mapped: 0,
        context: 0,
        compute: 0,
        free: None,
    };
    let used = estimate(config).expect("the model can be estimated");
    used.into_iter().find(|used| used.device == device).unwrap_or(nothing)
}

#[test]
fn a_gpu_is_a_device() {
    assert!(backends().iter().any(|name| name == "Vulkan"));
    for gpu in gpus() {
        assert!(matches!(gpu.kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu), "{gpu:?}");
        assert!(gpu.name.starts_with("Vulkan") && !gpu.description.is_empty(), "{gpu:?}");
        assert!(gpu.memory_total.is_some_and(|total| total > 1 << 20), "{gpu:?}");
    }
}

#[test]
fn a_gpu_answers_as_the_cpu_does() {
    if gpus().is_empty() {
        return;
    }
    let cpu = Placement { backend: Some(Backend::Cpu), ..Placement::default() };
    let expected = answers(&load(ModelConfig { path: demo_path(), placement: cpu, ..ModelConfig::default() }).unwrap());
    for layers in [GpuLayers::All, GpuLayers::Count(2)] {
        let engine = load(on(Placement { gpu_layers: Some(layers), ..Placement::default() })).expect("it loads");
        assert_eq!(answers(&engine), expected, "{layers:?}");
    }
    for context in [
        ContextConfig { offload_kqv: Some(false), ..ContextConfig::default() },
        ContextConfig { op_offload: Some(false), ..ContextConfig::default() },
    ] {
        let engine = load(ModelConfig { context: context.clone(), ..on(Placement::default()) }).expect("it loads");
        assert_eq!(answers(&engine), expected, "{context:?}");
    }
}

#[test]
fn options_move_memory() {
    let Some(gpu) = gpus().first().map(|gpu| gpu.name.clone()) else { return };
    let one = |layers| Placement { gpu_layers: Some(layers), devices: vec![gpu.clone()], ..Placement::default() };
    let all = used(&on(one(GpuLayers::All)), &gpu);
    assert!(all.weights > 1_000_000 && all.context > 0 && all.mapped == 0, "{all:?}");
    let some = used(&on(one(GpuLayers::Count(2))), &gpu);
    assert!(0 < some.weights && some.weights < all.weights, "{some:?} {all:?}");
    assert!(0 < some.context && some.context < all.context, "{some:?} {all:?}");
    let context = ContextConfig { offload_kqv: Some(false), ..ContextConfig::default() };
    let kept = ModelConfig { context, ..on(one(GpuLayers::All)) };
    assert_eq!((used(&kept, &gpu).context, used(&kept, "CPU").context), (0, all.context));
    let none = ModelConfig { residency: Residency::default(), ..on(Placement::default()) };
    let none = ModelConfig { placement: Placement { gpu_layers: Some(GpuLayers::Count(0)), ..none.placement }, ..none };
    assert_eq!(used(&none, &gpu).needed(), 0);
}

#[test]
fn a_model_is_split_among_gpus() {
    let names: Vec<_> = gpus().into_iter().map(|gpu| gpu.name).collect();
    let [first, second, ..] = names.as_slice() else {
        assert!(std::env::var("GGML_VK_VISIBLE_DEVICES").is_err(), "there should be two GPUs: {names:?}");
        return;
    };
    let both = |placement: Placement| on(Placement { devices: vec![first.clone(), second.clone()], ..placement });
    let weights = |config: &ModelConfig| [first, second].map(|gpu| used(config, gpu).weights);
    let [a, b] = weights(&both(Placement { tensor_split: vec![1.0, 1.0], ..Placement::default() }));
    assert!(a > 0 && b > 0, "{a} {b}");
    let [c, d] = weights(&both(Placement { tensor_split: vec![1.0, 4.0], ..Placement::default() }));
    assert!(c < a && d > b, "{c} {d}");
    let main = both(Placement { split_mode: Some(SplitMode::None), main_gpu: Some(1), ..Placement::default() });
    let [none, whole] = weights(&main);
    assert!(none == 0 && whole > b, "{none} {whole}");
    let layers = both(Placement { split_mode: Some(SplitMode::Layer), ..Placement::default() });
    assert_eq!(generate(&load(layers).expect("it loads"), ask("Hello")).text, "Hello! How can I help you?");
    for (name, placement) in [
        ("main_gpu", Placement { split_mode: Some(SplitMode::None), main_gpu: Some(2), ..Placement::default() }),
        ("main_gpu", Placement { main_gpu: Some(1), ..Placement::default() }),
        ("tensor_split", Placement { tensor_split: vec![1.0], ..Placement::default() }),
        ("tensor_split", Placement { tensor_split: vec![0.0, 0.0], ..Placement::default() }),
        (
            "tensor_split",
            Placement { split_mode: Some(SplitMode::None), tensor_split: vec![1.0, 1.0], ..Placement::default() },
        ),
    ] {
        refused(both(placement), name);
    }
}

fn refused(config: ModelConfig, name: &str) {
    let error = load(config).expect_err(name);
    let Error::Model { fault: ModelFault::Configuration, message } = &error else { panic!("{name}: {error:?}") };
    assert!(message.starts_with(name), "{message}");
}

#[test]
fn gpus_are_named_and_counted() {
    let Some(gpu) = gpus().first().map(|gpu| gpu.name.clone()) else { return };
    let named =
        |names: &[&str]| Placement { devices: names.iter().map(|&name| name.into()).collect(), ..Placement::default() };
    refused(on(named(&[&gpu, &gpu])), "devices");
    refused(on(Placement { split_mode: Some(SplitMode::Layer), ..named(&[&gpu]) }), "split_mode");
    refused(on(Placement { main_gpu: Some(0), ..named(&[&gpu]) }), "main_gpu");
    refused(on(Placement { gpu_layers: Some(GpuLayers::Count(0)), ..named(&[&gpu]) }), "devices");
    let error = load(on(named(&["Vulkan9"]))).expect_err("there is none").to_string();
    assert!(error.contains("Vulkan9") && error.contains(&gpu), "{error}");
}

#[test]
fn memory_that_is_not_there_is_refused() {
    let Some(gpu) = gpus().first().map(|gpu| gpu.name.clone()) else { return };
    let with = |margin| ModelConfig {
        residency: Residency {
            require_gpu_lease: Some(false),
            gpu_memory_safety_margin_bytes: Some(margin),
            ..Residency::default()
        },
        ..on(Placement { devices: vec![gpu.clone()], ..Placement::default() })
    };
    let error = load(with(1 << 60)).expect_err("no GPU has so much");
    let Error::Model { fault: ModelFault::OutOfMemory, message } = &error else { panic!("{error:?}") };
    assert!(message.contains(&format!("{gpu} needs")) && message.contains("must stay free"), "{message}");
    assert!(load(with(0)).is_ok(), "0 turns the check off");
}

#[test]
fn a_gpu_is_leased_while_a_model_is_on_it() {
    let Some(gpu) = gpus().first().map(|gpu| gpu.name.clone()) else { return };
    let leased = |most| ModelConfig {
        residency: Residency {
            max_gpu_models_per_device: most,
            require_gpu_lease: None,
            gpu_memory_safety_margin_bytes: Some(1 << 20),
        },
        ..on(Placement { devices: vec![gpu.clone()], ..Placement::default() })
    };
    let first = load(leased(None)).expect("nobody is there");
    let error = load(leased(None)).expect_err("somebody is there");
    let Error::Model { fault: ModelFault::OutOfMemory, message } = &error else { panic!("{error:?}") };
    assert!(message.starts_with(&format!("{gpu} holds as many models as it may, 1")), "{message}");
    let second = load(leased(Some(2))).expect("two may be there");
    let cpu = Placement { backend: Some(Backend::Cpu), ..Placement::default() };
    assert!(load(ModelConfig { path: demo_path(), placement: cpu, ..ModelConfig::default() }).is_ok());
    drop(first);
    assert!(load(leased(None)).is_err(), "the second is there");
    drop(second);
    assert!(load(leased(None)).is_ok());
}
