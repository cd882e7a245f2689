//! Models that read images, with weights by chance: what an image does to an answer, and to everybody else's.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what fails by failing"
)]

mod support;

use std::io::Cursor;

use engine_sys::{
    CacheConfig, CacheSource, ChatMessage, ContextConfig, Engine, Error, Finish, Input, MEDIA_MARKER, Media,
    ModelConfig, ModelFault, MultimodalConfig, Part, Policy, Role, SchedulerConfig, TextRequest,
};
use image::{ImageFormat, Rgb, RgbImage};
use support::TempFile;
use support::{Answer, generate, greedy, load, refused, start};
use test_models::models::{Sight, seeing};

struct Seeing {
    model: TempFile,
    projector: TempFile,
}

impl Seeing {
    fn new(name: &str, sight: Sight) -> Self {
        let (model, projector) = seeing(sight);
        Self {
            model: TempFile::new(&format!("{name}-{sight:?}.gguf"), &model.bytes()),
            projector: TempFile::new(&format!("{name}-{sight:?}-projector.gguf"), &projector.bytes()),
        }
    }

    fn config(&self) -> ModelConfig {
        ModelConfig {
            path: self.model.path.clone(),
            multimodal: MultimodalConfig { projector: Some(self.projector.path.clone()), ..Default::default() },
            ..ModelConfig::default()
        }
    }

    fn load(&self, context: ContextConfig) -> Engine {
        load(ModelConfig { context, ..self.config() }).expect("the model loads")
    }
}

/// An image of a slope in one colour. Its shape matters to models that keep it.
fn image(red: u8, width: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(width, 60, |x, y| Rgb([red, (x * 255 / width) as u8, (y * 4) as u8]));
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn query(prompt: &str, media: &[&Vec<u8>]) -> TextRequest {
    let media = media.iter().map(|bytes| bytes.to_vec()).collect();
    TextRequest { media, max_tokens: Some(16), logprobs: Some(1), ..greedy(Input::Prompt(prompt.to_owned())) }
}

fn chat(parts: Vec<Part>) -> TextRequest {
    let message = ChatMessage { role: Role::User, content: parts };
    TextRequest { max_tokens: Some(16), logprobs: Some(1), ..greedy(Input::Chat(vec![message])) }
}

fn part(bytes: &[u8]) -> Part {
    Part::Media(Media::Bytes(bytes.to_vec()))
}

/// How likely each token was; these differ where texts may be the same by chance.
fn likely(answer: &Answer) -> Vec<(String, f32)> {
    answer.outcome();
    let all = answer.batches.iter().flat_map(|batch| &batch.logprobs);
    all.map(|token| (token.token.clone(), token.logprob)).collect()
}

/// Whether two answers are the same but for the rounding of another order of computation.
fn alike(one: &Answer, other: &Answer) -> bool {
    let (one, other) = (likely(one), likely(other));
    one.len() == other.len() && one.iter().zip(&other).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 2e-3)
}

const SIGHTS: [Sight; 3] = [Sight::Line, Sight::Grid, Sight::Mutual];

#[test]
fn an_answer_follows_from_the_image() {
    for sight in SIGHTS {
        let files = Seeing::new("follows", sight);
        let engine = files.load(ContextConfig::default());
        assert!(engine.model().capabilities.sees, "{sight:?}");
        let (red, blue) = (image(250, 60), image(10, 60));
        let of_red = generate(&engine, query("what is it?", &[&red]));
        let of_blue = generate(&engine, query("what is it?", &[&blue]));
        let of_nothing = generate(&engine, query("what is it?", &[]));
        assert!(!alike(&of_red, &of_blue) && !alike(&of_red, &of_nothing), "{sight:?}");
        // The vectors count as tokens of the prompt.
        let tokens = |answer: &Answer| answer.outcome().input_tokens;
        assert!(tokens(&of_red) >= tokens(&of_nothing) + 4, "{sight:?}: {}", tokens(&of_red));
        // Alone in a fresh engine it is the same.
        let fresh = generate(&files.load(ContextConfig::default()), query("what is it?", &[&red]));
        assert!(alike(&fresh, &of_red), "{sight:?}");
        assert_eq!(fresh.outcome().stats.cached_tokens, 0, "{sight:?}");
        // Whether it is marked or comes first by itself.
        let marked = generate(&engine, query(&format!("{MEDIA_MARKER}what is it?"), &[&red]));
        assert!(alike(&marked, &of_red), "{sight:?}");
        let last = generate(&engine, query(&format!("what is it?{MEDIA_MARKER}"), &[&red]));
        assert!(!alike(&last, &of_red), "{sight:?}");
        assert_eq!(tokens(&last), tokens(&of_red), "{sight:?}");
    }
}

#[test]
fn an_image_is_computed_once_for_all_who_show_it() {
    for sight in SIGHTS {
        let files = Seeing::new("shared", sight);
        let engine = files.load(ContextConfig { n_parallel: Some(2), ..ContextConfig::default() });
        let (red, blue) = (image(250, 60), image(10, 60));
        let text = "an old question, and then";
        let first = generate(&engine, query(&format!("{text} {MEDIA_MARKER} what is it?"), &[&red]));
        let again = generate(&engine, query(&format!("{text} {MEDIA_MARKER} what else?"), &[&red]));
        let stats = again.outcome().stats;
        assert_eq!(stats.cache_source, CacheSource::Live, "{sight:?}");
        // Everything up to the end of the image, whose vectors are more than the new words.
        assert!(stats.cached_tokens > text.len() as u32 / 4 && stats.prefill_tokens < 16, "{sight:?}: {stats:?}");
        let fresh = files.load(ContextConfig::default());
        let alone = generate(&fresh, query(&format!("{text} {MEDIA_MARKER} what else?"), &[&red]));
        assert!(alike(&again, &alone), "{sight:?}");
        assert_eq!(again.outcome().input_tokens, alone.outcome().input_tokens, "{sight:?}");
        // Another image at the same place shares the words before it only.
        let other = generate(&engine, query(&format!("{text} {MEDIA_MARKER} what is it?"), &[&blue]));
        assert!(!alike(&other, &first), "{sight:?}");
        let alone = generate(&fresh, query(&format!("{text} {MEDIA_MARKER} what is it?"), &[&blue]));
        assert!(alike(&other, &alone), "{sight:?}");
        // A prompt that ends with its image computes that anew, as the last token of others.
        let ending = query(&format!("{text} {MEDIA_MARKER}"), &[&red]);
        let ends = [generate(&engine, ending.clone()), generate(&engine, ending)];
        assert!(alike(&ends[0], &ends[1]), "{sight:?}");
    }
}

#[test]
fn images_in_parts_and_beside_others_give_the_same_answers() {
    for sight in SIGHTS {
        let files = Seeing::new("parts", sight);
        let wide = image(90, 200);
        let ask = |number: usize| match number % 3 {
            0 => query("what is it?", &[&wide]),
            1 => query("no image at all", &[]),
            _ => {
                query(&format!("one {MEDIA_MARKER} and {MEDIA_MARKER} other"), &[&image(number as u8 * 20, 60), &wide])
            }
        };
        let alone: Vec<_> = {
            let engine = files.load(ContextConfig::default());
            (0..9).map(|number| generate(&engine, ask(number))).collect()
        };
        let context =
            ContextConfig { n_parallel: Some(3), n_batch: Some(64), n_ubatch: Some(16), ..Default::default() };
        let scheduler = SchedulerConfig { policy: Some(Policy::LatencyFirst), ..SchedulerConfig::default() };
        let engine = load(ModelConfig { context, scheduler, ..files.config() }).expect("the model loads");
        let runs: Vec<_> = (0..9).map(|number| start(&engine, ask(number))).collect();
        for (number, (run, alone)) in runs.into_iter().zip(&alone).enumerate() {
            let answer = run.answer();
            assert!(alike(&answer, alone), "{sight:?} {number}: {:?} {:?}", likely(&answer), likely(alone));
        }
    }
}

#[test]
fn a_chat_has_images_where_its_messages_have_them() {
    let files = Seeing::new("chat", Sight::Line);
    let engine = files.load(ContextConfig::default());
    let (red, blue) = (image(250, 60), image(10, 60));
    let text = |text: &str| Part::Text(text.to_owned());
    let before = generate(&engine, chat(vec![part(&red), text("what is it?")]));
    let after = generate(&engine, chat(vec![text("what is it?"), part(&red)]));
    let both = generate(&engine, chat(vec![part(&red), text("what is it?"), part(&blue)]));
    assert!(!alike(&before, &after) && !alike(&both, &before) && !alike(&both, &after));
    // The template writes `user: ` before the message.
    let raw = generate(&engine, query(&format!("user: {MEDIA_MARKER}what is it?\n"), &[&red]));
    assert!(alike(&raw, &before), "{:?} {:?}", likely(&raw), likely(&before));
    // What a caller writes is never an image.
    let written = generate(&engine, chat(vec![text(MEDIA_MARKER)]));
    assert!(written.outcome().input_tokens < before.outcome().input_tokens);
}

#[test]
fn a_cancelled_image_leaves_nothing_behind() {
    for sight in SIGHTS {
        let files = Seeing::new("cancelled", sight);
        let engine = files.load(ContextConfig { n_ubatch: Some(16), ..ContextConfig::default() });
        let red = image(250, 200);
        let expected = generate(&engine, query("what is it?", &[&red]));
        for round in 0..20 {
            let fresh = image(round, 200);
            let run = start(&engine, query("what is it?", &[&fresh, &red, &fresh]));
            std::thread::sleep(std::time::Duration::from_micros(u64::from(round) * 300));
            run.cancel.cancel();
            let finish = run.answer().outcome().finish;
            assert!(matches!(finish, Finish::Cancelled | Finish::Length | Finish::Stop), "{finish:?}");
        }
        assert!(alike(&generate(&engine, query("what is it?", &[&red])), &expected), "{sight:?}");
        // Whoever closes the engine does not wait for images that nobody wants any more.
        let runs: Vec<_> = (0..4).map(|number| start(&engine, query("x", &[&image(number, 300)]))).collect();
        drop(engine);
        for run in runs {
            let answer = run.answer();
            assert!(matches!(answer.result, Err(Error::Internal(_)) | Ok(_)), "{:?}", answer.result);
        }
    }
}

#[test]
fn what_cannot_be_seen_is_refused() {
    let files = Seeing::new("refused", Sight::Line);
    let engine = files.load(ContextConfig::default());
    let red = image(250, 60);
    let broken = generate(&engine, query("x", &[&red[..red.len() / 2].to_vec()])).result;
    assert!(matches!(&broken, Err(Error::InvalidRequest(text)) if text.contains("image")), "{broken:?}");
    let noise = generate(&engine, chat(vec![part(b"no image")])).result;
    assert!(matches!(&noise, Err(Error::InvalidRequest(text)) if text.contains("PNG")), "{noise:?}");
    let many = query(&format!("{MEDIA_MARKER}{MEDIA_MARKER}"), &[&red]);
    assert!(matches!(refused(&engine, many), Error::InvalidRequest(_)));
    let url = Part::Media(Media::Url("https://example.org/a.png".to_owned()));
    assert!(matches!(refused(&engine, chat(vec![url])), Error::Unsupported(_)));
    let in_chat = TextRequest { media: vec![red.clone()], ..chat(vec![part(&red)]) };
    assert!(matches!(refused(&engine, in_chat), Error::InvalidRequest(_)));
    let all: Vec<_> = std::iter::repeat_n(&red, 40).collect();
    let too_long = generate(&engine, query("x", &all)).result;
    assert!(matches!(too_long, Err(Error::PromptTooLong { .. })), "{too_long:?}");

    let blind =
        load(ModelConfig { path: files.model.path.clone(), ..ModelConfig::default() }).expect("the model loads");
    assert!(matches!(refused(&blind, query("x", &[&red])), Error::Unsupported(_)));
    assert!(matches!(refused(&blind, chat(vec![part(&red)])), Error::Unsupported(_)));

    let mutual = Seeing::new("refused", Sight::Mutual);
    let small = mutual.load(ContextConfig { n_ubatch: Some(2), ..ContextConfig::default() });
    let at_once = generate(&small, query("x", &[&red])).result;
    assert!(matches!(&at_once, Err(Error::InvalidRequest(text)) if text.contains("n_ubatch")), "{at_once:?}");
}

#[test]
fn a_projector_that_does_not_fit_is_refused() {
    let files = Seeing::new("fits", Sight::Line);
    let fault = |config: ModelConfig| match load(config) {
        Err(Error::Model { fault, message }) => (fault, message),
        other => panic!("{other:?}"),
    };
    let with = |multimodal: MultimodalConfig| ModelConfig { multimodal, ..files.config() };
    let projector =
        |path: &std::path::Path| MultimodalConfig { projector: Some(path.to_owned()), ..Default::default() };
    let (kind, message) = fault(with(projector(&files.model.path)));
    assert!(kind == ModelFault::Configuration && message.contains("no projector"), "{message}");
    assert_eq!(fault(with(projector(std::path::Path::new("nowhere.gguf")))).0, ModelFault::NotFound);
    let bytes = std::fs::read(&files.projector.path).unwrap();
    let cut = TempFile::new("cut-projector.gguf", &bytes[..bytes.len() / 2]);
    assert_eq!(fault(with(projector(&cut.path))).0, ModelFault::Corrupt);
    let demo = ModelConfig { path: support::demo_path(), ..files.config() };
    let (kind, message) = fault(demo);
    assert!(kind == ModelFault::Configuration && message.contains("another model"), "{kind:?} {message}");
    let shifted =
        ModelConfig { cache: CacheConfig { context_shift: Some(true), ..CacheConfig::default() }, ..files.config() };
    assert!(fault(shifted).1.contains("context_shift"));
    let embedding = ContextConfig { embeddings: Some(true), ..ContextConfig::default() };
    assert!(fault(ModelConfig { context: embedding, ..files.config() }).1.contains("projector"));
    for multimodal in [
        MultimodalConfig { use_gpu: Some(false), ..Default::default() },
        MultimodalConfig { image_min_tokens: Some(0), ..projector(&files.projector.path) },
        MultimodalConfig { image_min_tokens: Some(9), image_max_tokens: Some(8), ..projector(&files.projector.path) },
    ] {
        assert_eq!(fault(with(multimodal)).0, ModelFault::Configuration);
    }
}
