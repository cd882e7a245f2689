//! What bad input gets: an exit code that tells its kind, and a text that says what to do.

use std::fmt::Write;
use std::fs;

use serde_json::Value;

use crate::sipp::{demo, run, run_with_input, said};

#[test]
fn a_bad_model_exits_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.gguf");
    let text = folder.path().join("notes.txt");
    fs::write(&text, "not a model\n").unwrap();
    let mut all = String::new();
    for path in [missing.as_path(), folder.path(), &text] {
        for arguments in [vec!["chat", path.to_str().unwrap(), "Hello"], vec!["inspect", path.to_str().unwrap()]] {
            let ended = run(&arguments);
            assert_eq!((ended.code, ended.stdout.as_str()), (3, ""), "{ended:?}");
            all += &said(&arguments, &ended);
        }
    }
    insta::assert_snapshot!(all.replace(folder.path().to_str().unwrap(), "FOLDER"));
}

#[test]
fn half_a_model_exits_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let half = folder.path().join("half.gguf");
    let whole = fs::read(demo()).unwrap();
    fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    for arguments in [&["query", half.to_str().unwrap(), "Hello"][..], &["inspect", half.to_str().unwrap()]] {
        let ended = run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (3, ""), "{ended:?}");
        assert!(ended.stderr.contains("half.gguf is damaged"), "{ended:?}");
    }
}

#[test]
fn a_bad_command_line_exits_with_2() {
    let mut all = String::new();
    for arguments in [
        &["chat", "DEMO", "Hello", "--top-p", "1.5"][..],
        &["chat", "DEMO", "Hello", "--temperature", "NaN"],
        &["chat", "DEMO", "Hello", "--temperature", "-1"],
        &["chat", "DEMO", "Hello", "--max-tokens", "0"],
        &["chat", "DEMO", "Hello", "--max-tokens", "many"],
        &["chat", "DEMO", "Hello", "--samplers", "top_k,tpo_p"],
        &["chat", "DEMO", "Hello", "--samplers", "top_k", "--min-p", "0.1"],
        &["chat", "DEMO", "Hello", "--ctx-size", "1000000"],
        &["chat", "DEMO", "Hello", "--gpu-layers", "some"],
        &["chat", "DEMO", "Hello", "--logit-bias", "5"],
        &["chat", "DEMO", "Hello", "--deadline", "soon"],
        &["chat", "DEMO", "Hello", "--deadline", "0s"],
        &["chat", "DEMO", "Hello", "--grammar", "missing.gbnf"],
        &["chat", "DEMO"],
        &["embed", "DEMO", ""],
        &["embed", "DEMO"],
        &["talk"],
    ] {
        let ended = run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}: {ended:?}");
        all += &said(arguments, &ended);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_model_that_cannot_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain.gguf");
    let mut model = fs::read(demo()).unwrap();
    // Under another name of the same length, the template is there for nobody.
    let key = b"tokenizer.chat_template";
    let place = model.windows(key.len()).position(|window| window == key).unwrap();
    model[place] = b'T';
    fs::write(&plain, model).unwrap();
    let ended = run(&["chat", plain.to_str().unwrap(), "Hello"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    assert!(ended.stderr.contains("cannot chat: the model has no chat template; use query"), "{ended:?}");
    let ended = run(&["chat", plain.to_str().unwrap(), "Hello", "--json"]);
    assert_eq!(ended.events()[0]["code"], "unsupported");
}

#[test]
fn other_failures_exit_with_1() {
    let long = "word ".repeat(1000);
    let ended = run_with_input(&["chat", "DEMO", "--ctx-size", "64"], long.as_bytes());
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    assert!(ended.stderr.contains("the context holds 64") && ended.stderr.contains("hint: --ctx-size"), "{ended:?}");
    let ended = run_with_input(&["chat", "DEMO"], b"\xff\xfe");
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    insta::assert_snapshot!(ended.stderr);
}

#[test]
fn json_errors_are_the_last_line() {
    let mut all = String::new();
    for arguments in [
        &["chat", "missing.gguf", "Hello", "--json"][..],
        &["query", "DEMO", "Hello", "--json", "--top-p", "1.5"],
        &["chat", "DEMO", "--json"],
        &["inspect", "missing.gguf", "--json"],
    ] {
        let ended = run(arguments);
        assert_eq!(ended.stderr, "", "{ended:?}");
        let [error] = ended.events().try_into().unwrap();
        assert_eq!(error["type"], Value::from("error"));
        writeln!(all, "{error} exit {}", ended.code).unwrap();
    }
    insta::assert_snapshot!(all);
}
