//! Chat templates, and who wrote which part of a rendered prompt.

use std::ffi::CStr;
use std::ptr::NonNull;

use crate::error::Error;
use crate::model::Model;
use crate::request::{ChatMessage, Role};
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

    /// Renders a conversation, up to where the assistant speaks.
    pub(crate) fn render(&self, messages: &[ChatMessage]) -> Result<Vec<Part>, Error> {
        // SAFETY: the template is valid for as long as `self`.
        let renders_tools = unsafe { sys::sipp_template_renders_tools(self.raw.as_ptr()) };
        if !renders_tools && messages.iter().any(|message| message.role == Role::Tool) {
            return Err(Error::Unsupported(
                "this model's chat template has no place for tool results; put them into a user message".to_owned(),
            ));
        }
        let messages: Vec<sys::Message> = messages
            .iter()
            .map(|message| sys::Message {
                role: role_name(message.role).as_ptr(),
                content: message.content.as_ptr().cast(),
                content_size: message.content.len(),
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

fn role_name(role: Role) -> &'static CStr {
    match role {
        Role::System => c"system",
        Role::User => c"user",
        Role::Assistant => c"assistant",
        Role::Tool => c"tool",
    }
}
