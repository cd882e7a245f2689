//! `inspect`.

use serde_json::Value;

use crate::sipp::{demo, redact, run};

#[test]
fn people_get_a_table() {
    let ended = run(&["inspect", "DEMO"]);
    let table = ended.answer().replace(demo().to_str().unwrap(), "DEMO");
    insta::assert_snapshot!(redact(&table));
}

#[test]
fn programs_get_json() {
    let ended = run(&["inspect", "DEMO", "--json"]);
    let model: Value = serde_json::from_str(ended.answer()).unwrap();
    assert_eq!(model["architecture"], "llama");
    for field in
        ["file_bytes", "parameters", "weight_bytes", "context_length", "embedding_length", "layers", "vocabulary"]
    {
        assert!(model[field].as_u64().unwrap() > 0, "{field}: {model}");
    }
    let can = serde_json::json!({"class": "decoder_only", "query": true, "chat": true, "embed": true});
    assert_eq!(model["capabilities"], can);
    let template = run(&["inspect", "DEMO", "--template"]);
    assert_eq!(template.answer().trim_end(), model["chat_template"].as_str().unwrap().trim_end());
}
