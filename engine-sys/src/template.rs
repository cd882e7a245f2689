//! Chat templates, and who wrote which part of a rendered prompt.

use std::ffi::CString;
use std::ptr::NonNull;

use crate::conversation::{Turn, role_name};
use crate::error::Error;
use crate::model::Model;
use crate::request::{ChatMessage, Part as MessagePart, Role};
use crate::sys;

/// A consecutive part of a rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) text: Vec<u8>,
    /// Whether the text is a message's content; otherwise it is the template's own.
    pub(crate) is_input: bool,
}

/// The chat template of a model.
pub(crate) struct Template {
    raw: NonNull<sys::Template>,
}

impl Template {
    /// Parses the template that the model file holds.
    pub(crate) fn new(model: &Model) -> Result<Self, String> {
        let mut raw = std::ptr::null_mut();
        sys::call(|error| {
            // SAFETY: the model is loaded; nothing of it is kept.
            unsafe { sys::sipp_template_new(model.raw(), &mut raw, error) }
        })
        .map_err(|failure| failure.message)?;
        NonNull::new(raw).map(|raw| Self { raw }).ok_or_else(String::new)
    }

    pub(crate) fn raw(&self) -> *const sys::Template {
        self.raw.as_ptr()
    }

    /// Whether a conversation without tools is just its rendering, and the answer just its text.
    pub(crate) fn is_plain(&self) -> bool {
        // SAFETY: the template is valid for as long as `self`.
        unsafe { sys::sipp_template_is_plain(self.raw.as_ptr()) }
    }

    /// Refuses tool calls and their results where the template would drop them.
    pub(crate) fn check_takes(&self, messages: &[ChatMessage]) -> Result<(), Error> {
        // SAFETY: the template is valid for as long as `self`.
        let (results, calls) = unsafe {
            (sys::sipp_template_renders_tools(self.raw.as_ptr()), sys::sipp_template_renders_calls(self.raw.as_ptr()))
        };
        let is_result = |message: &ChatMessage| {
            message.role == Role::Tool || message.content.iter().any(|part| matches!(part, MessagePart::ToolResult(_)))
        };
        let is_call =
            |message: &ChatMessage| message.content.iter().any(|part| matches!(part, MessagePart::ToolCall(_)));
        if !results && messages.iter().any(is_result) {
            return Err(Error::Unsupported(
                "this model's chat template has no place for tool results; put them into a user message".to_owned(),
            ));
        }
        if !calls && messages.iter().any(is_call) {
            return Err(Error::Unsupported(
                "this model's chat template has no place for tool calls; leave them out".to_owned(),
            ));
        }
        Ok(())
    }

    /// Renders a conversation, up to where the assistant speaks.
    pub(crate) fn render(&self, turns: &[Turn]) -> Result<Vec<Part>, Error> {
        let roles: Vec<CString> = turns.iter().filter_map(|turn| CString::new(role_name(turn.role)).ok()).collect();
        let messages: Vec<sys::Message> = turns
            .iter()
            .zip(&roles)
            .map(|(turn, role)| sys::Message {
                role: role.as_ptr(),
                content: turn.text.as_ptr().cast(),
                content_size: turn.text.len(),
            })
            .collect();
        let mut raw = std::ptr::null_mut();
        sys::call(|error| {
            // SAFETY: the template and the messages' texts live during the call.
            unsafe { sys::sipp_template_render(self.raw.as_ptr(), messages.as_ptr(), messages.len(), &mut raw, error) }
        })
        .map_err(|failure| {
            Error::InvalidRequest(format!("the model's chat template refuses the messages: {}", failure.message))
        })?;
        let rendering =
            NonNull::new(raw).ok_or_else(|| Error::Internal("the chat template rendered nothing".to_owned()))?;
        Ok(Rendering(rendering).parts())
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        // SAFETY: the template is ours and not used afterwards.
        unsafe { sys::sipp_template_free(self.raw.as_ptr()) }
    }
}

struct Rendering(NonNull<sys::Rendering>);

impl Rendering {
    fn parts(&self) -> Vec<Part> {
        let raw = self.0.as_ptr();
        // SAFETY: the rendering is ours; the index is below its size; a part's text has `size` bytes and lives as long
        // as the rendering.
        unsafe {
            (0..sys::sipp_rendering_size(raw))
                .map(|index| sys::sipp_rendering_part(raw, index))
                .filter(|part| part.size > 0)
                .map(|part| Part {
                    text: std::slice::from_raw_parts(part.text.cast::<u8>(), part.size).to_vec(),
                    is_input: part.is_input,
                })
                .collect()
        }
    }
}

impl Drop for Rendering {
    fn drop(&mut self) {
        // SAFETY: the rendering is ours and not used afterwards.
        unsafe { sys::sipp_rendering_free(self.0.as_ptr()) }
    }
}
