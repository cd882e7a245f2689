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
    let cpu = &model["memory"][0];
    assert_eq!(cpu["type"], "cpu", "{model}");
    for field in ["weight_bytes", "mapped_bytes", "context_bytes", "compute_bytes", "needed_bytes", "free_bytes"] {
        assert!(cpu[field].as_u64().unwrap() > 0, "{field}: {model}");
    }
    let can = serde_json::json!({"class": "decoder_only", "query": true, "chat": true, "embed": true});
    assert_eq!(model["capabilities"], can);
    let template = run(&["inspect", "DEMO", "--template"]);
    assert_eq!(template.answer().trim_end(), model["chat_template"].as_str().unwrap().trim_end());
}

#[test]
fn devices_need_no_model() {
    let ended = run(&["inspect", "--devices", "--json"]);
    let machine: Value = serde_json::from_str(ended.answer()).unwrap();
    assert!(machine["backends"].as_array().unwrap().contains(&"CPU".into()), "{machine}");
    let cpu = machine["devices"].as_array().unwrap().iter().find(|device| device["type"] == "cpu").unwrap();
    let [free, total] = ["memory_free_bytes", "memory_total_bytes"].map(|field| cpu[field].as_u64().unwrap());
    assert!(0 < free && free <= total, "{machine}");
    let table = run(&["inspect", "--devices"]);
    // The processor's name is the machine's own.
    let table = table.answer().replace(cpu["description"].as_str().unwrap(), "PROCESSOR");
    if machine["devices"].as_array().unwrap().len() == 1 {
        insta::assert_snapshot!(redact(&table));
    }
}
