//! What the configuration takes, and how it says no.

use std::fmt::Write;
use std::fs;

use tempfile::TempDir;

use super::*;

/// A folder with a `gateway.toml` of this text, a file that begins like a model, one like a component, one
/// like neither, and the folder of a chat page.
fn folder(text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("gateway.toml"), text).unwrap();
    fs::write(folder.path().join("model.gguf"), b"GGUF and more").unwrap();
    fs::write(folder.path().join("acme.wasm"), b"\0asm and more").unwrap();
    fs::write(folder.path().join("notes.txt"), b"GG").unwrap();
    fs::create_dir_all(folder.path().join("page/models")).unwrap();
    fs::write(folder.path().join("page/index.html"), "<!doctype html>").unwrap();
    fs::copy(folder.path().join("model.gguf"), folder.path().join("page/models/model.gguf")).unwrap();
    folder
}

fn load(text: &str) -> Result<Config, String> {
    let folder = folder(text);
    Config::load(&folder.path().join("gateway.toml"))
        .map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

const TARGET: &str = r#"
[[targets]]
name = "demo"
type = "local"
model = "model.gguf"
"#;

#[test]
fn the_shortest_file_has_the_documented_defaults() {
    let settings = load(TARGET).unwrap().settings;
    assert_eq!(settings.public_bind.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.management_bind.to_string(), "127.0.0.1:9090");
    assert_eq!(settings.max_request_bytes.get(), 1_048_576);
    assert_eq!(settings.max_concurrent_requests, None);
    assert_eq!(settings.drain(), Duration::from_secs(30));
    assert!(settings.tokens.is_empty());
}

#[test]
fn every_documented_key_is_taken() {
    let settings = load(include_str!("../../config/every-key.toml")).unwrap().settings;
    let [first, second, others @ ..] = settings.targets.as_slice() else { panic!("{settings:?}") };
    let runtime = first.runtime.as_ref().unwrap();
    let told = format!("{runtime:?}");
    assert!(!told.contains("None"), "a key went nowhere: {told}");
    assert!(matches!(runtime.context.cache_type_k, Some(sipp::CacheType::Q80)), "{told}");
    assert_eq!(runtime.sampling.logit_bias.first().map(|bias| bias.bias), Some(f32::NEG_INFINITY));
    let runtime = second.runtime.as_ref().unwrap();
    assert!(matches!(runtime.placement.gpu_layers, Some(sipp::GpuLayers::All)), "{second:?}");
    assert_eq!(runtime.sampling.seed, None);
    for (index, (key, _)) in first.keys().into_iter().enumerate() {
        assert!(settings.targets.iter().any(|target| target.keys()[index].1), "no target has `{key}`");
    }
    let proofs: Vec<_> = others.iter().map(Target::proof).collect();
    assert_eq!(
        proofs,
        [
            Proof::ApiKey("OPENAI_API_KEY"),
            Proof::ApiKey("ANTHROPIC_API_KEY"),
            Proof::Bearer("COMPATIBLE_TOKEN"),
            Proof::Header("x-acme-key", "ACME_KEY"),
            Proof::Bearer("GATEWAY_TOKEN"),
        ]
    );
    assert_eq!(settings.network.allow_private.unwrap().len(), 3);
    let chat = settings.chat.unwrap();
    assert_eq!((chat.path.as_str(), chat.models.len()), ("/talk", 1));
}

#[test]
fn the_chat_page_is_served_where_it_is_asked_for() {
    assert!(load(TARGET).unwrap().settings.chat.is_none());
    let chat = load(&format!("{TARGET}[chat]\nassets = \"page\"\n")).unwrap().settings.chat.unwrap();
    assert_eq!((chat.path.as_str(), chat.models.len()), ("/chat", 0));
    load(&format!("{TARGET}[chat]\nassets = \"page\"\npath = \"/team/a-page\"\n")).unwrap();
}

#[test]
fn the_configurations_for_people_are_well_formed() {
    let path = Path::new("gateway.toml");
    let text = include_str!("../../config/demo.toml").to_owned();
    let settings: Settings = Source::new(path, text).read().unwrap();
    assert_eq!(settings.targets.first().unwrap().name, "demo");
    Config::parse(path, include_str!("../../config/providers.toml").to_owned()).unwrap();
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Path::new("no/such/gateway.toml")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read no/such/gateway.toml: "), "{error}");
}

#[test]
fn a_token_lets_the_gateway_bind_to_any_address() {
    let token = "[[tokens]]\nenv = \"SIPP_TOKEN\"\ncaller = \"ann\"\n";
    load(&format!("public_bind = \"0.0.0.0:8080\"\n{token}{TARGET}")).unwrap();
}

#[test]
fn two_listeners_may_both_leave_the_port_to_the_system() {
    load(&format!("public_bind = \"127.0.0.1:0\"\nmanagement_bind = \"127.0.0.1:0\"\n{TARGET}")).unwrap();
}

/// One wrong file each; what is said about it is in `snapshots/`.
const WRONG: &[(&str, &str)] = &[
    ("not TOML", "public_bind = \n"),
    ("the same key twice", "drain_seconds = 1\ndrain_seconds = 2\n"),
    ("an unknown key", "public_bin = \"127.0.0.1:1\"\n{TARGET}"),
    ("an unknown key of a target", "{TARGET}modle = \"x\"\n"),
    ("an unknown key of a runtime", "{TARGET}[targets.runtime.contxt]\nn_ctx = 1\n"),
    ("an unknown key of a context", "{TARGET}[targets.runtime.context]\nn_ctx = 512\nn_cxt = 512\n"),
    ("an unknown key of a sampling", "{TARGET}[targets.runtime]\nsampling = { topp = 0.5 }\n"),
    ("no targets", "drain_seconds = 1\n"),
    ("a target without a model", "[[targets]]\nname = \"demo\"\ntype = \"local\"\n"),
    ("a target of an unknown type", "[[targets]]\nname = \"demo\"\ntype = \"locl\"\nmodel = \"model.gguf\"\n"),
    ("a text where a number belongs", "{TARGET}[targets.runtime.context]\nn_ctx = \"big\"\n"),
    ("a number where a text belongs", "[[targets]]\nname = 5\ntype = \"local\"\nmodel = \"model.gguf\"\n"),
    ("a negative number", "{TARGET}[targets.runtime.context]\nn_ctx = -1\n"),
    ("a number that is too large", "{TARGET}[targets.runtime.sampling]\nseed = 4294967296\n"),
    ("an unknown word", "{TARGET}[targets.runtime.context]\nn_ctx = 512\ncache_type_k = \"f8\"\n"),
    ("an unknown stage", "{TARGET}[targets.runtime.sampling]\nsamplers = [\"top_k\", \"top_l\"]\n"),
    ("a wrong count of layers", "{TARGET}[targets.runtime.placement]\ngpu_layers = { count = \"x\" }\n"),
    ("an address without a port", "public_bind = \"127.0.0.1\"\n{TARGET}"),
    ("a limit of nothing", "max_request_bytes = 0\n{TARGET}"),
    ("no room", "max_concurrent_requests = 0\n{TARGET}"),
    ("one address for both", "public_bind = \"127.0.0.1:9090\"\n{TARGET}"),
    ("an open address without tokens", "\npublic_bind = \"0.0.0.0:8080\"\n{TARGET}"),
    ("two targets of one name", "{TARGET}{TARGET}"),
    ("a name with a space around it", "[[targets]]\nname = \" demo\"\ntype = \"local\"\nmodel = \"model.gguf\"\n"),
    ("a missing model", "[[targets]]\nname = \"demo\"\ntype = \"local\"\nmodel = \"models/none.gguf\"\n"),
    ("a model that is a folder", "[[targets]]\nname = \"demo\"\ntype = \"local\"\nmodel = \".\"\n"),
    ("a model that is none", "[[targets]]\nname = \"demo\"\ntype = \"local\"\nmodel = \"notes.txt\"\n"),
    ("a wrong variable", "{TARGET}[[tokens]]\nenv = \"MY-TOKEN\"\ncaller = \"ann\"\n"),
    (
        "a token for an unknown target",
        "{TARGET}[[tokens]]\nenv = \"T\"\ncaller = \"ann\"\ntargets = [\"demo\", \"dmo\"]\n",
    ),
    (
        "a caller with two tokens",
        "{TARGET}[[tokens]]\nenv = \"T\"\ncaller = \"ann\"\n[[tokens]]\nenv = \"U\"\ncaller = \"ann\"\n",
    ),
    ("a network that is none", "network = { allow_private = [\"10.0.0.0/99\"] }\n{TARGET}"),
    ("a provider without a key", "[[targets]]\nname = \"a\"\ntype = \"openai\"\nmodel = \"m\"\n"),
    (
        "keys of another type",
        "{TARGET}base_url = \"https://a.example\"\n[[targets]]\nname = \"a\"\ntype = \"gateway\"\ntarget = \"t\"\n\
         base_url = \"https://a.example\"\napi_key_env = \"KEY\"\nruntime.context.n_ctx = 5\n",
    ),
    (
        "two credentials",
        "[[targets]]\nname = \"a\"\ntype = \"gateway\"\ntarget = \"t\"\nbase_url = \"https://a.example\"\n\
         token_env = \"TOKEN\"\nauth_header_env = \"MY-KEY\"\n",
    ),
    (
        "a component that is none",
        "[[targets]]\nname = \"a\"\ntype = \"provider\"\nprovider = \"acme\"\nmodel = \"m\"\ncomponent = \"notes.txt\"\n",
    ),
    (
        "an unknown key of timeouts",
        "[[targets]]\nname = \"a\"\ntype = \"anthropic\"\nmodel = \"m\"\napi_key_env = \"KEY\"\ntimeouts.idle = 5\n",
    ),
    ("a page that is not built", "{TARGET}[chat]\nassets = \"pages\"\n"),
    ("a page without its folder", "{TARGET}[chat]\npath = \"/chat\"\n"),
    ("an unknown key of the page", "{TARGET}[chat]\nassets = \"page\"\nmodel = \"model.gguf\"\n"),
    ("a page at no path", "{TARGET}[chat]\nassets = \"page\"\npath = \"chat/{here}\"\n"),
    ("a page at the root", "{TARGET}[chat]\nassets = \"page\"\npath = \"/\"\n"),
    ("a page in place of requests", "{TARGET}[chat]\nassets = \"page\"\npath = \"/v1/chat\"\n"),
    (
        "models that a page cannot offer",
        "{TARGET}[chat]\nassets = \"page\"\nmodels = [\"model.gguf\", \"none.gguf\", \"notes.txt\", \"page/models/model.gguf\"]\n",
    ),
    ("several at once", "drain_seconds = 5\n[[targets]]\nname = \"\"\ntype = \"local\"\nmodel = \"none.gguf\"\n"),
];

#[test]
fn every_wrong_file_is_refused_with_key_and_line() {
    let mut said = String::new();
    for (case, text) in WRONG {
        let error = load(&text.replace("{TARGET}", TARGET)).expect_err(case);
        writeln!(said, "# {case}\n{error}\n").unwrap();
    }
    insta::assert_snapshot!(said);
}
