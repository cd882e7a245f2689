//! How likely tokens were: chats and completions say it in two forms.

use provider::{Alternative, TokenLogprob};

use crate::wire::{Logprobs, Token};

/// The tokens in the order of the answer, each with `most` alternatives at most: some servers add the token itself.
pub(super) fn tokens(logprobs: Logprobs, most: usize) -> Vec<TokenLogprob> {
    let Logprobs { content, refusal, tokens, token_logprobs, top_logprobs } = logprobs;
    let of_chat = content.into_iter().chain(refusal).flatten().map(|Token { token, logprob, top_logprobs }| {
        let top = top_logprobs.unwrap_or_default().into_iter();
        let top = top.map(|Token { token, logprob, .. }| Alternative { token, logprob });
        TokenLogprob { token, logprob, top: likeliest(top.collect(), most) }
    });
    let mut tops = top_logprobs.unwrap_or_default().into_iter();
    let of_completion = tokens.unwrap_or_default().into_iter().zip(token_logprobs.unwrap_or_default());
    let of_completion = of_completion.filter_map(move |(token, logprob)| {
        let top = tops.next().flatten().unwrap_or_default().into_iter();
        let top = top.map(|(token, logprob)| Alternative { token, logprob });
        Some(TokenLogprob { token, logprob: logprob?, top: likeliest(top.collect(), most) })
    });
    of_chat.chain(of_completion).collect()
}

fn likeliest(mut top: Vec<Alternative>, most: usize) -> Vec<Alternative> {
    top.sort_by(|one, other| other.logprob.total_cmp(&one.logprob));
    top.truncate(most);
    top
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(logprobs: Value, most: usize) -> Vec<(String, f32, Vec<String>)> {
        let all = tokens(serde_json::from_value(logprobs).unwrap(), most);
        all.into_iter()
            .map(|one| (one.token, one.logprob, one.top.into_iter().map(|other| other.token).collect()))
            .collect()
    }

    #[test]
    fn of_a_chat() {
        let alternatives = json!([
            {"token": "Hello", "logprob": -1.5, "bytes": [72]},
            {"token": "Hi", "logprob": -0.25, "bytes": null},
            {"token": "Ho", "logprob": -4.0},
        ]);
        let content = json!([
            {"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": alternatives},
            {"token": "!", "logprob": -9999.0, "bytes": [33], "top_logprobs": []},
        ]);
        let expected =
            [("Hi".to_owned(), -0.25, vec!["Hi".to_owned(), "Hello".to_owned()]), ("!".to_owned(), -9999.0, vec![])];
        assert_eq!(read(json!({"content": content, "refusal": null}), 2), expected);
        assert_eq!(read(json!({"content": null, "refusal": content}), 2), expected);
        assert_eq!(read(json!({"content": content}), 0)[0].2, Vec::<String>::new());
    }

    #[test]
    fn of_a_completion() {
        let logprobs = json!({
            "tokens": ["the", " cat", " sat"], "token_logprobs": [null, -0.5, -1.0], "text_offset": [0, 3, 7],
            "top_logprobs": [null, {" dog": -2.0, " cat": -0.5, " cow": -3.0}, {" sat": -1.0}],
        });
        assert_eq!(
            read(logprobs, 2),
            [
                (" cat".to_owned(), -0.5, vec![" cat".to_owned(), " dog".to_owned()]),
                (" sat".to_owned(), -1.0, vec![" sat".to_owned()]),
            ]
        );
        let without = json!({"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": null});
        assert_eq!(read(without, 0), [("a".to_owned(), -0.5, vec![])]);
    }
}
