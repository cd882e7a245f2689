//! Exchanges of a cassette, read from the text of `exchange.http`. The README of `cassettes/` says how it is written.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::Received;

/// The secret with which every request of a cassette authenticates.
pub const SECRET: &str = "sk-sipp-0123456789abcdef";

/// Begins the line before a request or a reply.
const MARK: &str = "### ";

/// A request, and what is replied to it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What must be asked.
    pub request: Expected,
    /// What is replied.
    pub reply: Reply,
}

/// What a request must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Headers that it must have. It may have others.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Value,
}

/// What is replied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Every byte that is sent.
    pub bytes: Vec<u8>,
    /// Whether the connection is closed then.
    pub closes: bool,
}

impl Exchange {
    /// Reads a cassette's exchanges.
    ///
    /// # Errors
    ///
    /// When the text is not as the README of `cassettes/` says.
    pub fn read_all(text: &str) -> Result<Vec<Self>> {
        let mut exchanges = Vec::new();
        let mut request = None;
        for (number, (words, text)) in sections(text)?.into_iter().enumerate() {
            let (what, words) = words.split_once(' ').unwrap_or((words, ""));
            let section = || format!("section {}, `{what}`", number + 1);
            match (what, request.take()) {
                ("request", None) => request = Some(Expected::read(text).with_context(section)?),
                ("reply", Some(request)) => {
                    exchanges.push(Self { request, reply: Reply::read(words, text).with_context(section)? });
                }
                _ => bail!("{}: a request has a reply, and each has its mark", section()),
            }
        }
        ensure!(request.is_none(), "the last request has no reply");
        Ok(exchanges)
    }
}

/// The words behind each mark, and the text up to the next.
fn sections(text: &str) -> Result<Vec<(&str, &str)>> {
    let mut sections = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let marked = rest.strip_prefix(MARK).context("a section begins with `### request` or `### reply`")?;
        let (words, text) = marked.split_once('\n').context("a mark stands on a line of its own")?;
        let end = if text.starts_with(MARK) { Some(0) } else { text.find(&format!("\n{MARK}")).map(|at| at + 1) };
        let (text, next) = text.split_at(end.unwrap_or(text.len()));
        sections.push((words, text));
        rest = next;
    }
    Ok(sections)
}

/// The lines of a head, and the body.
fn head_and_body(text: &str) -> Result<(Vec<&str>, &str)> {
    let (head, body) = text.split_once("\n\n").context("a head ends with an empty line")?;
    Ok((head.lines().collect(), body))
}

fn header(line: &str) -> Result<(String, String)> {
    let (name, value) = line.split_once(": ").with_context(|| format!("`{line}` is no header"))?;
    ensure!(name == name.to_ascii_lowercase(), "`{name}`: names are in lower case");
    Ok((name.to_owned(), value.to_owned()))
}

impl Expected {
    fn read(text: &str) -> Result<Self> {
        let (head, body) = head_and_body(text)?;
        let (line, headers) = head.split_first().context("the request has no line")?;
        let (method, path) = line.split_once(' ').with_context(|| format!("`{line}` is no method with a path"))?;
        Ok(Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: headers.iter().map(|line| header(line)).collect::<Result<_>>()?,
            body: serde_json::from_str(body).context("the body is no JSON")?,
        })
    }

    /// Everything in which a request differs from what it must be.
    #[must_use]
    pub fn differences(&self, got: &Received) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, expected: &str, got: &str| {
            if expected != got {
                found.push(format!("{what} is `{got}`, expected `{expected}`"));
            }
        };
        compare("method", &self.method, &got.method);
        compare("path", &self.path, &got.path);
        for (name, value) in &self.headers {
            compare(name, value, got.headers.get(name).map_or("", String::as_str));
        }
        if got.body.as_ref() != Some(&self.body) {
            let body = got.body.as_ref().map_or("no JSON".to_owned(), Value::to_string);
            compare("body", &self.body.to_string(), &body);
        }
        let placed = |name: &String| self.headers.iter().any(|(own, value)| own == name && value.contains(SECRET));
        let strays = got.headers.iter().filter(|(name, value)| value.contains(SECRET) && !placed(name));
        found.extend(strays.map(|(name, _)| format!("the credential stands in `{name}` too")));
        if got.path.contains(SECRET) || got.body.as_ref().is_some_and(|body| body.to_string().contains(SECRET)) {
            found.push("the credential stands in the path or the body".to_owned());
        }
        found
    }
}

/// How a reply differs from what is written down.
#[derive(Default)]
struct Manner {
    /// What ends the body's lines.
    line_end: Option<&'static str>,
    /// A byte order mark before the body.
    mark: bool,
    /// The connection is closed before the body's end was told.
    cut: bool,
}

impl Manner {
    fn read(words: &str) -> Result<Self> {
        let mut manner = Self::default();
        for word in words.split_whitespace() {
            match word {
                "crlf" => manner.line_end = Some("\r\n"),
                "cr" => manner.line_end = Some("\r"),
                "bom" => manner.mark = true,
                "cut" => manner.cut = true,
                other => bail!("`{other}` is no manner of reply"),
            }
        }
        Ok(manner)
    }
}

impl Reply {
    fn read(words: &str, text: &str) -> Result<Self> {
        if words == "none" {
            ensure!(text.trim().is_empty(), "a reply that is none has no text");
            return Ok(Self { bytes: Vec::new(), closes: true });
        }
        let manner = Manner::read(words)?;
        let (mut head, body) = head_and_body(text)?;
        let headers = head.get(1..).unwrap_or_default().iter().map(|line| header(line)).collect::<Result<Vec<_>>>()?;
        let has = |name: &str, value: &str| headers.iter().any(|own| own.0 == name && own.1 == value);
        let (chunked, closing) = (has("transfer-encoding", "chunked"), has("connection", "close"));
        let lines = lines(&manner, body);
        let length = format!("content-length: {}", lines.iter().map(Vec::len).sum::<usize>());
        if !chunked && !closing && !headers.iter().any(|(name, _)| name == "content-length") {
            head.push(&length);
        }
        let mut bytes = format!("{}\r\n\r\n", head.join("\r\n")).into_bytes();
        for line in lines {
            if chunked {
                bytes.extend(format!("{:x}\r\n", line.len()).bytes().chain(line).chain(*b"\r\n"));
            } else {
                bytes.extend(line);
            }
        }
        if chunked && !manner.cut {
            bytes.extend(b"0\r\n\r\n");
        }
        Ok(Self { bytes, closes: closing || manner.cut })
    }
}

/// The body's lines as they are sent, each with its end.
fn lines(manner: &Manner, body: &str) -> Vec<Vec<u8>> {
    let line_end = manner.line_end.unwrap_or("\n");
    let mark = manner.mark.then(|| "\u{feff}".as_bytes().to_vec());
    let lines = body.split_inclusive('\n').map(|line| line.replace('\n', line_end).into_bytes());
    mark.into_iter().chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "### request\nPOST /v1/x\nx-key: sk-sipp-0123456789abcdef\n\n{\"a\": 1}\n\
        ### reply crlf bom\nHTTP/1.1 200 OK\ntransfer-encoding: chunked\n\ndata: x\n\n\
        ### request\nPOST /v1/x\n\n{}\n### reply none\n\
        ### request\nPOST /v1/x\n\n{}\n### reply\nHTTP/1.1 204 No Content\n\n";

    #[test]
    fn replies_are_framed() {
        let exchanges = Exchange::read_all(TEXT).unwrap();
        let bytes: Vec<_> = exchanges.iter().map(|exchange| String::from_utf8_lossy(&exchange.reply.bytes)).collect();
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
            3\r\n\u{feff}\r\n9\r\ndata: x\r\n\r\n2\r\n\r\n\r\n0\r\n\r\n";
        assert_eq!(bytes, [chunked, "", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"]);
        assert_eq!(exchanges.iter().map(|exchange| exchange.reply.closes).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn every_difference_of_a_request_is_found() {
        let [expected, ..] = &Exchange::read_all(TEXT).unwrap()[..] else { panic!("there is no exchange") };
        let expected = &expected.request;
        let got = |path: &str, key: &str, other: &str, body: Value| Received {
            method: "POST".into(),
            path: path.into(),
            headers: [("x-key", key), ("x-other", other)].map(|(name, value)| (name.into(), value.into())).into(),
            body: Some(body),
        };
        let right = serde_json::json!({"a": 1});
        assert!(expected.differences(&got("/v1/x", SECRET, "", right.clone())).is_empty());
        for (got, words) in [
            (got("/v1/y", SECRET, "", right.clone()), "path is `/v1/y`"),
            (got("/v1/x", "other", "", right.clone()), "x-key is `other`"),
            (got("/v1/x", SECRET, "", serde_json::json!({"a": 2})), "body is"),
            (got("/v1/x", SECRET, SECRET, right), "`x-other` too"),
        ] {
            let found = expected.differences(&got);
            assert!(matches!(&found[..], [one] if one.contains(words)), "{found:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_cassette_is_refused() {
        for (text, words) in [
            ("POST /", "a section begins"),
            ("### reply\nHTTP/1.1 200 OK\n\n", "a request has a reply"),
            ("### request\nPOST /\n\n{}\n", "the last request has no reply"),
            ("### request\nPOST /\n\n{\n### reply none\n", "the body is no JSON"),
            ("### request\nPOST /\nX-Key: a\n\n{}\n### reply none\n", "lower case"),
            ("### request\nPOST /\n\n{}\n### reply odd\nHTTP/1.1 200 OK\n\n", "`odd` is no manner"),
        ] {
            let error = format!("{:#}", Exchange::read_all(text).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }
}
