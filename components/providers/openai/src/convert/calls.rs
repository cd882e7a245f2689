//! Tool calls, which a stream gives in fragments.

use provider::{Fault, Piece, ToolCall};
use serde::de::IgnoredAny;

use crate::wire::{self, CalledFunction};

/// Most that all calls of an answer may take up, in bytes: an upstream is not trusted to end.
const MOST: usize = 16 << 20;

/// The calls of an answer so far.
#[derive(Default)]
pub(super) struct Calls {
    calls: Vec<Growing>,
    /// Bytes that they take up.
    size: usize,
}

/// A call, with the arguments so far.
struct Growing {
    index: Option<usize>,
    id: String,
    name: String,
    arguments: String,
}

impl Calls {
    /// Takes in a fragment of a call: the beginning of another one, or more of one that is there.
    ///
    /// # Errors
    ///
    /// [`Fault::Broken`] when the calls become too long.
    pub(super) fn add(&mut self, fragment: wire::ToolCall) -> Result<(), Fault> {
        let wire::ToolCall { index, id, function } = fragment;
        let CalledFunction { name, arguments } = function.unwrap_or_default();
        let (id, name, arguments) = (id.unwrap_or_default(), name.unwrap_or_default(), arguments.unwrap_or_default());
        self.size += id.len() + name.len() + arguments.len();
        // Some servers give all calls the same index, or none: those are told apart by their ids.
        let is_same =
            |call: &&mut Growing| call.index == index && (id.is_empty() || call.id.is_empty() || call.id == id);
        if let Some(call) = self.calls.iter_mut().rev().find(is_same) {
            call.arguments.push_str(&arguments);
            // Some say the id or the name again with every fragment.
            if call.id.is_empty() {
                call.id = id;
            }
            if call.name.is_empty() {
                call.name = name;
            }
        } else {
            self.size += size_of::<Growing>();
            self.calls.push(Growing { index, id, name, arguments });
        }
        if self.size > MOST {
            return Err(Fault::Broken(format!("the tool calls are longer than {} MiB", MOST >> 20)));
        }
        Ok(())
    }

    /// The whole calls, in order. `is_cut` says that the answer was cut off, and with it perhaps the last of them.
    ///
    /// # Errors
    ///
    /// [`Fault::Broken`] when one has no name, or arguments that are not JSON.
    pub(super) fn end(mut self, is_cut: bool) -> Result<Vec<Piece>, Fault> {
        self.calls.sort_by_key(|call| call.index);
        let mut pieces = Vec::with_capacity(self.calls.len());
        for (place, Growing { mut id, name, mut arguments, .. }) in self.calls.into_iter().enumerate() {
            let is_json = serde_json::from_slice::<IgnoredAny>(arguments.as_bytes()).is_ok();
            if is_cut && (name.is_empty() || !is_json) {
                continue;
            }
            if name.is_empty() {
                return Err(Fault::Broken("a tool call has no name".to_owned()));
            }
            // A tool without parameters is called without arguments.
            if arguments.trim().is_empty() {
                arguments = "{}".to_owned();
            } else if !is_json {
                return Err(Fault::Broken(format!("the arguments of the call of tool `{name}` are not JSON")));
            }
            // A result has to refer to it.
            if id.is_empty() {
                id = format!("call_{place}");
            }
            pieces.push(Piece::tool_call(ToolCall { id, name, arguments }));
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use provider::Delta;
    use serde_json::{Value, json};

    use super::*;

    fn calls(fragments: Value) -> Calls {
        let mut calls = Calls::default();
        for fragment in serde_json::from_value::<Vec<wire::ToolCall>>(fragments).unwrap() {
            calls.add(fragment).unwrap();
        }
        calls
    }

    fn read(fragments: Value, is_cut: bool) -> Result<Vec<[String; 3]>, Fault> {
        let whole = calls(fragments).end(is_cut)?.into_iter().map(|piece| match piece.delta {
            Delta::ToolCall(ToolCall { id, name, arguments }) => [id, name, arguments],
            other @ (Delta::Text(_) | Delta::Reasoning(_)) => panic!("expected a tool call, got {other:?}"),
        });
        Ok(whole.collect())
    }

    #[test]
    fn fragments_are_put_together() {
        let a = |index: Value| json!({"index": index, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}});
        let more = |index: Value, text: &str| json!({"index": index, "function": {"arguments": text}});
        let expected = [["a", "f", r#"{"x":1}"#], ["b", "g", "{}"]];
        for (what, fragments) in [
            (
                "as OpenAI does",
                json!([a(json!(0)), more(json!(0), r#"{"x""#), more(json!(0), ":1}"),
                    {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}]),
            ),
            (
                "in turns and out of order",
                json!([{"index": 1, "id": "b", "function": {"name": "g"}}, a(json!(0)), more(json!(1), "{"),
                    more(json!(0), r#"{"x":1}"#), more(json!(1), "}")]),
            ),
            (
                "one index for all",
                json!([a(json!(0)), more(json!(0), r#"{"x":1}"#),
                    {"index": 0, "id": "b", "function": {"name": "g", "arguments": ""}}]),
            ),
            (
                "no index",
                json!([{"id": "a", "function": {"name": "f", "arguments": r#"{"x":1}"#}},
                    {"id": "b", "function": {"name": "g", "arguments": null}}]),
            ),
            (
                "id and name each time",
                json!([{"index": 0, "id": "a", "function": {"name": "f", "arguments": r#"{"x""#}},
                    {"index": 0, "id": "a", "function": {"name": "f", "arguments": ":1}"}},
                    {"index": 1, "id": "b", "function": {"name": "g"}}]),
            ),
            (
                "id late",
                json!([{"index": 0, "id": "", "function": {"name": "f"}}, a(json!(0)), more(json!(0), r#"{"x":1}"#),
                    {"index": 1, "id": "b", "function": {"name": "g"}}]),
            ),
        ] {
            assert_eq!(read(fragments, false).unwrap(), expected, "{what}");
        }
    }

    #[test]
    fn calls_without_an_id_get_one() {
        let fragments = json!([
            {"index": 0, "function": {"name": "f", "arguments": "{}"}},
            {"index": 1, "id": null, "function": {"name": "g", "arguments": "{}"}},
        ]);
        assert_eq!(read(fragments, false).unwrap(), [["call_0", "f", "{}"], ["call_1", "g", "{}"]]);
    }

    #[test]
    fn what_is_cut_off_is_no_call() {
        let fragments = json!([
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
            {"index": 1, "id": "b", "function": {"name": "g", "arguments": r#"{"x"#}},
        ]);
        assert_eq!(read(fragments.clone(), true).unwrap(), [["a", "f", "{}"]]);
        assert!(matches!(read(fragments, false), Err(Fault::Broken(text)) if text.contains("`g`")));
        let begun = json!([{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]);
        assert_eq!(read(begun, true), Ok(vec![]));
        assert!(
            matches!(read(json!([{"id": "a", "function": null}]), false), Err(Fault::Broken(text)) if text.contains("no name"))
        );
    }

    #[test]
    fn calls_have_a_bound() {
        let mut calls = Calls::default();
        let long = "x".repeat(1 << 20);
        let added = (0..17).try_for_each(|_| {
            let function = CalledFunction { name: None, arguments: Some(long.clone()) };
            calls.add(wire::ToolCall { index: Some(0), id: None, function: Some(function) })
        });
        assert!(matches!(added, Err(Fault::Broken(text)) if text.contains("16 MiB")));
    }
}
