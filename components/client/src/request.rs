//! What a request may say, and to which kind of endpoint: from the client's requests to the one that endpoints answer.

use crate::bindings::exports::sipp::client::client::{ChatRequest, EmbedRequest, Kind, QueryRequest};
use crate::bindings::sipp::inference::types as inference;
use crate::bindings::sipp::inference::types::{
    Context, Error, Extension, Input, LocalOptions, Request, ResponseFormat, TextOptions, ToolChoice,
};
use crate::registry::kind_name;
use crate::sampling;

/// Fields of the gateway's profile that have a typed option of their own, which must not be gone around.
///
/// `provider_options` and `endpoint_options` are none: in a body they are for whom the gateway asks, and a caller has no
/// other way to say them.
const RESERVED: &[&str] = &[
    "model",
    "prompt",
    "messages",
    "input",
    "max_tokens",
    "temperature",
    "top_p",
    "stop",
    "stream",
    "tools",
    "tool_choice",
    "response_format",
    "logprobs",
    "deadline_ms",
    "context_key",
    "contextKey",
    "grammar",
    "json_schema",
    "jsonSchema",
    "sampling",
    "media",
    "normalize",
    "query",
    "local",
];

/// Most alternatives that `logprobs` may ask for.
const MOST_LOGPROBS: u32 = 20;

/// What `is_name` wants, in words.
const NAME: &str = "1 to 64 letters, digits, `_` or `-`";

/// Checks a query for an endpoint of `kind`.
pub(crate) fn query(kind: Kind, request: QueryRequest) -> Result<Request, Error> {
    text(
        kind,
        Text {
            input: Input::Prompt(request.prompt),
            options: request.options,
            local: request.local,
            extensions: Extensions { endpoint: request.endpoint_options, provider: request.provider_options },
            context: request.context,
        },
    )
}

/// Checks a chat for an endpoint of `kind`.
pub(crate) fn chat(kind: Kind, request: ChatRequest) -> Result<Request, Error> {
    if request.messages.is_empty() {
        return Err(invalid("messages must not be empty"));
    }
    text(
        kind,
        Text {
            input: Input::Messages(request.messages),
            options: request.options,
            local: request.local,
            extensions: Extensions { endpoint: request.endpoint_options, provider: request.provider_options },
            context: request.context,
        },
    )
}

/// Checks an embed for an endpoint of `kind`.
pub(crate) fn embed(kind: Kind, request: EmbedRequest) -> Result<inference::EmbedRequest, Error> {
    if request.inputs.is_empty() {
        return Err(invalid("inputs must not be empty"));
    }
    if let Some(position) = request.inputs.iter().position(String::is_empty) {
        return Err(invalid(format!("inputs[{position}] must not be empty")));
    }
    if request.local.is_some() {
        allow_local(kind)?;
    }
    let extensions = Extensions { endpoint: request.endpoint_options, provider: request.provider_options };
    check_context(&request.context)?;
    let (context_key, normalize, query) = match request.local {
        Some(local) => (local.context_key, local.normalize, local.query),
        None => (None, None, None),
    };
    check_context_key(context_key.as_deref())?;
    if query.as_ref().is_some_and(String::is_empty) {
        return Err(invalid("query must not be empty"));
    }
    Ok(inference::EmbedRequest {
        inputs: request.inputs,
        normalize,
        context_key,
        query,
        extensions: extensions.check(kind)?,
        context: request.context,
    })
}

struct Text {
    input: Input,
    options: TextOptions,
    local: Option<LocalOptions>,
    extensions: Extensions,
    context: Context,
}

fn text(kind: Kind, request: Text) -> Result<Request, Error> {
    check_options(kind, &request.options)?;
    if let Some(local) = &request.local {
        allow_local(kind)?;
        check_local(local, &request.options)?;
    }
    check_context(&request.context)?;
    Ok(Request {
        input: request.input,
        options: request.options,
        local: request.local,
        extensions: request.extensions.check(kind)?,
        context: request.context,
    })
}

fn check_options(kind: Kind, options: &TextOptions) -> Result<(), Error> {
    match options.max_tokens {
        Some(0) => return Err(invalid("max_tokens must be positive")),
        Some(tokens) if kind == Kind::Local && i32::try_from(tokens).is_err() => {
            return Err(invalid(format!("max_tokens must be at most {}", i32::MAX)));
        }
        Some(_) | None => {}
    }
    sampling::not_negative("temperature", options.temperature)?;
    sampling::share("top_p", options.top_p)?;
    if let Some(position) = options.stop.iter().position(String::is_empty) {
        return Err(invalid(format!("stop[{position}] must not be empty")));
    }
    if options.logprobs.is_some_and(|alternatives| alternatives > MOST_LOGPROBS) {
        return Err(invalid(format!("logprobs must be from 0 to {MOST_LOGPROBS}")));
    }
    if let Some(ResponseFormat::JsonSchema(format)) = &options.response_format
        && !is_name(&format.name)
    {
        return Err(invalid(format!("response_format.name must be {NAME}")));
    }
    check_tools(options)
}

fn check_tools(options: &TextOptions) -> Result<(), Error> {
    if let Some(position) = options.tools.iter().position(|tool| !is_name(&tool.name)) {
        return Err(invalid(format!("tools[{position}].name must be {NAME}")));
    }
    match &options.tool_choice {
        Some(ToolChoice::Tool(name)) if !options.tools.iter().any(|tool| tool.name == *name) => {
            Err(invalid(format!("tool_choice names `{name}`, which is not among the tools")))
        }
        Some(ToolChoice::Required) if options.tools.is_empty() => {
            Err(invalid("tool_choice requires a tool, and there are none"))
        }
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Tool(_)) | None => Ok(()),
    }
}

/// Whether every provider takes a text as the name of a tool or a schema.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn check_local(local: &LocalOptions, options: &TextOptions) -> Result<(), Error> {
    check_context_key(local.context_key.as_deref())?;
    if local.grammar.is_some() && local.json_schema.is_some() {
        return Err(invalid("grammar and json_schema exclude each other"));
    }
    if let Some(sampling) = &local.sampling {
        sampling::check(sampling)?;
        agree("temperature", options.temperature, sampling.temperature)?;
        agree("top_p", options.top_p, sampling.top_p)?;
    }
    Ok(())
}

/// The same option may be given in two places, but not with two values.
fn agree(name: &str, option: Option<f32>, sampling: Option<f32>) -> Result<(), Error> {
    match (option, sampling) {
        (Some(option), Some(sampling)) if option != sampling => {
            Err(invalid(format!("{name} has one value in options and another in sampling; give it once")))
        }
        _ => Ok(()),
    }
}

fn check_context(context: &Context) -> Result<(), Error> {
    if context.deadline == Some(0) {
        return Err(invalid("deadline must be positive"));
    }
    Ok(())
}

fn check_context_key(key: Option<&str>) -> Result<(), Error> {
    if key == Some("") {
        return Err(invalid("context_key must not be empty"));
    }
    Ok(())
}

/// Options of local models go to those, and to gateways, behind which there may be some.
fn allow_local(kind: Kind) -> Result<(), Error> {
    match kind {
        Kind::Local | Kind::Gateway => Ok(()),
        Kind::Provider => Err(invalid("local options are not valid for provider endpoints")),
    }
}

/// The caller's own fields, by whom they are for.
struct Extensions {
    endpoint: Vec<Extension>,
    provider: Vec<Extension>,
}

impl Extensions {
    /// The fields that go to an endpoint of `kind`; those for another kind are refused.
    fn check(self, kind: Kind) -> Result<Vec<Extension>, Error> {
        if !self.endpoint.is_empty() && kind != Kind::Gateway {
            return Err(invalid(format!("endpoint_options are not valid for {} endpoints", kind_name(kind))));
        }
        if !self.provider.is_empty() && kind != Kind::Provider {
            return Err(invalid(format!("provider_options are not valid for {} endpoints", kind_name(kind))));
        }
        check_unreserved("endpoint_options", &self.endpoint)?;
        // What a provider's own fields may not say is its adapter's to know.
        Ok(if kind == Kind::Provider { self.provider } else { self.endpoint })
    }
}

/// Checks a caller's own fields for a gateway: none may stand for a typed option.
pub(crate) fn check_unreserved(name: &str, fields: &[Extension]) -> Result<(), Error> {
    match fields.iter().find(|field| RESERVED.contains(&field.name.as_str())) {
        Some(field) => Err(invalid(format!("{name} must not contain `{}`; it has a typed option", field.name))),
        None => Ok(()),
    }
}

/// A refusal in the caller's words.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::InvalidRequest(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::exports::sipp::client::client::LocalEmbedOptions;
    use crate::bindings::sipp::inference::types::{JsonSchemaFormat, Message, Part, Role, Sampling, Tool};

    fn question() -> ChatRequest {
        ChatRequest {
            endpoint: None,
            messages: vec![Message { role: Role::User, content: vec![Part::Text("hi".into())] }],
            options: TextOptions {
                max_tokens: None,
                temperature: None,
                top_p: None,
                stop: vec![],
                stream: None,
                tools: vec![],
                tool_choice: None,
                response_format: None,
                logprobs: None,
            },
            local: None,
            endpoint_options: vec![],
            provider_options: vec![],
            context: Context { request_id: None, principal: None, deadline: None, call: None },
        }
    }

    fn refusal(kind: Kind, request: ChatRequest) -> String {
        match chat(kind, request) {
            Err(Error::InvalidRequest(text)) => text,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn options_have_ranges() {
        let with = |edit: fn(&mut TextOptions)| {
            let mut request = question();
            edit(&mut request.options);
            refusal(Kind::Provider, request)
        };
        assert_eq!(with(|options| options.max_tokens = Some(0)), "max_tokens must be positive");
        assert_eq!(
            with(|options| options.temperature = Some(f32::NAN)),
            "temperature must be a finite number, at least 0"
        );
        assert_eq!(with(|options| options.temperature = Some(-0.5)), "temperature must be a finite number, at least 0");
        assert_eq!(with(|options| options.top_p = Some(1.5)), "top_p must be a number from 0 to 1");
        assert_eq!(with(|options| options.stop = vec!["a".into(), String::new()]), "stop[1] must not be empty");
        assert_eq!(with(|options| options.logprobs = Some(21)), "logprobs must be from 0 to 20");
    }

    #[test]
    fn tools_and_formats_have_names() {
        let tool = |name: &str| Tool { name: name.into(), description: None, parameters: None, strict: None };
        let with = |tools: Vec<Tool>, tool_choice| {
            let mut request = question();
            request.options.tools = tools;
            request.options.tool_choice = tool_choice;
            chat(Kind::Provider, request)
        };
        assert!(with(vec![tool("get_weather-2")], Some(ToolChoice::Tool("get_weather-2".into()))).is_ok());
        assert!(with(vec![], Some(ToolChoice::None)).is_ok());
        for (tools, choice, words) in [
            (vec![tool("a"), tool("b c")], None, "tools[1].name must be"),
            (vec![tool("")], None, "tools[0].name must be"),
            (vec![tool("a")], Some(ToolChoice::Tool("b".into())), "tool_choice names `b`"),
            (vec![], Some(ToolChoice::Required), "tool_choice requires a tool"),
        ] {
            let refused = with(tools, choice);
            assert!(matches!(&refused, Err(Error::InvalidRequest(text)) if text.starts_with(words)), "{refused:?}");
        }
        let format =
            JsonSchemaFormat { name: "an answer".into(), description: None, schema: "{}".into(), strict: None };
        let mut request = question();
        request.options.response_format = Some(ResponseFormat::JsonSchema(format));
        assert!(refusal(Kind::Gateway, request).starts_with("response_format.name must be"));
    }

    #[test]
    fn an_empty_conversation_is_refused() {
        let request = ChatRequest { messages: vec![], ..question() };
        assert_eq!(refusal(Kind::Local, request), "messages must not be empty");
    }

    #[test]
    fn each_kind_refuses_the_others_options() {
        let endpoint = || ChatRequest { endpoint_options: vec![field("route")], ..question() };
        let provider = || ChatRequest { provider_options: vec![field("route")], ..question() };
        assert!(chat(Kind::Gateway, endpoint()).is_ok());
        assert!(chat(Kind::Provider, provider()).is_ok());
        assert_eq!(refusal(Kind::Local, endpoint()), "endpoint_options are not valid for local endpoints");
        assert_eq!(refusal(Kind::Provider, endpoint()), "endpoint_options are not valid for provider endpoints");
        assert_eq!(refusal(Kind::Gateway, provider()), "provider_options are not valid for gateway endpoints");
        let local = || ChatRequest { local: Some(local_options()), ..question() };
        assert!(chat(Kind::Local, local()).is_ok() && chat(Kind::Gateway, local()).is_ok());
        assert_eq!(refusal(Kind::Provider, local()), "local options are not valid for provider endpoints");
    }

    #[test]
    fn local_options_have_the_same_rules_behind_a_gateway() {
        let with = |local: LocalOptions| refusal(Kind::Gateway, ChatRequest { local: Some(local), ..question() });
        let text = || Some(String::from("x"));
        let sampling = Sampling { top_p: Some(1.5), ..crate::sampling::tests::unset() };
        assert_eq!(
            with(LocalOptions { sampling: Some(sampling), ..local_options() }),
            "top_p must be a number from 0 to 1"
        );
        assert_eq!(
            with(LocalOptions { grammar: text(), json_schema: text(), ..local_options() }),
            "grammar and json_schema exclude each other"
        );
        assert_eq!(
            with(LocalOptions { context_key: Some(String::new()), ..local_options() }),
            "context_key must not be empty"
        );
    }

    #[test]
    fn options_of_embed_reach_local_models_and_gateways() {
        let with = |kind| {
            let (context_key, query) = (Some("k".into()), Some("q".into()));
            let local = LocalEmbedOptions { context_key, normalize: Some(false), query };
            let inputs = vec!["hi".into()];
            let (endpoint, context) = (None, question().context);
            let (endpoint_options, provider_options) = (vec![], vec![]);
            embed(
                kind,
                EmbedRequest { endpoint, inputs, local: Some(local), endpoint_options, provider_options, context },
            )
        };
        for kind in [Kind::Local, Kind::Gateway] {
            let request = with(kind).unwrap();
            let (key, query) = (request.context_key.as_deref(), request.query.as_deref());
            assert_eq!((key, request.normalize, query), (Some("k"), Some(false), Some("q")));
        }
        assert!(
            matches!(with(Kind::Provider), Err(Error::InvalidRequest(text)) if text == "local options are not valid for provider endpoints")
        );
    }

    #[test]
    fn extensions_do_not_stand_for_typed_options() {
        let endpoint = |name: &str| ChatRequest { endpoint_options: vec![field(name)], ..question() };
        assert!(refusal(Kind::Gateway, endpoint("grammar")).contains("`grammar`"));
        assert!(chat(Kind::Gateway, endpoint("provider_options")).is_ok());
        let request = chat(Kind::Gateway, endpoint("route")).unwrap();
        assert_eq!(request.extensions[0].value, "true");
    }

    fn field(name: &str) -> Extension {
        Extension { name: name.into(), value: "true".into() }
    }

    #[test]
    fn one_option_has_one_value() {
        let mut request = question();
        request.options.temperature = Some(0.5);
        let sampling = Sampling { temperature: Some(0.7), ..crate::sampling::tests::unset() };
        request.local = Some(LocalOptions { sampling: Some(sampling), ..local_options() });
        assert!(refusal(Kind::Local, request).starts_with("temperature has one value in options"));
    }

    #[test]
    fn max_tokens_of_local_models_fit_their_positions() {
        let mut request = question();
        request.options.max_tokens = Some(u32::MAX);
        assert!(chat(Kind::Gateway, question()).is_ok());
        assert!(refusal(Kind::Local, request).starts_with("max_tokens must be at most"));
    }

    fn local_options() -> LocalOptions {
        LocalOptions { context_key: None, grammar: None, json_schema: None, sampling: None, media: vec![] }
    }
}
