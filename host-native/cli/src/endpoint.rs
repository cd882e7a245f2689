//! Who answers: a model of this machine, or an endpoint elsewhere.

use std::path::Path;

use sipp::{
    ChatRequest, EndpointRef, Kind, LocalOptions, Media, MediaSource, Message, Part, QueryRequest, SippClient, TextRun,
};

use crate::args::{ModelArgs, TextArgs, TextSettings};
use crate::exit::Failure;
use crate::load;
use crate::remote::{Foreign, RemoteArgs};

/// An endpoint for text, and what is asked of it each time.
pub(crate) struct Endpoint {
    client: SippClient,
    reference: EndpointRef,
    settings: TextSettings,
    foreign: Foreign,
}

impl Endpoint {
    /// Opens what the command line names: the model's file, or else the endpoint elsewhere.
    pub(crate) async fn open(
        model: Option<String>,
        load: &ModelArgs,
        remote: RemoteArgs,
        text: TextArgs,
        quiet: bool,
    ) -> Result<Self, Failure> {
        if let Some(model) = model {
            let descriptor = text.describe(load.descriptor(Path::new(&model)));
            let settings = text.settings()?;
            let (client, reference) = load::model(descriptor, quiet).await?;
            return Ok(Self { client, reference, settings, foreign: Foreign::default() });
        }
        let settings = text.remote_settings()?;
        let (client, reference, foreign) = remote.open().await?;
        Ok(Self { client, reference, settings, foreign })
    }

    /// What a note says of an answer that met a limit which nobody set.
    pub(crate) fn limit(&self) -> Option<&'static str> {
        match (self.settings.options.max_tokens, self.reference.kind) {
            (Some(_), _) => None,
            (None, Kind::Local) => Some("the context is full; raise --ctx-size for a longer one"),
            (None, Kind::Gateway | Kind::Provider) => {
                Some("it met the endpoint's own limit; --max-tokens sets another")
            }
        }
    }

    /// The images that the command line names, as parts of a message; once.
    pub(crate) fn take_images(&mut self) -> Vec<Part> {
        let images = std::mem::take(&mut self.settings.images).into_iter();
        images
            .map(|bytes| {
                Part::Media(Media { mime_type: mime_type(&bytes).to_owned(), source: MediaSource::Bytes(bytes) })
            })
            .collect()
    }

    /// Continues a prompt.
    pub(crate) fn query(self, prompt: String) -> TextRun {
        let TextSettings { options, local, images: media, context } = self.settings;
        let local = if media.is_empty() { local } else { Some(LocalOptions { media, ..local.unwrap_or_default() }) };
        let Foreign { endpoint_options, provider_options } = self.foreign;
        let endpoint = Some(self.reference);
        self.client.query(QueryRequest {
            endpoint,
            prompt,
            options,
            local,
            endpoint_options,
            provider_options,
            context,
        })
    }

    /// Answers a conversation.
    pub(crate) fn chat(&self, messages: Vec<Message>) -> TextRun {
        let TextSettings { options, local, images: _, context } = self.settings.clone();
        let Foreign { endpoint_options, provider_options } = self.foreign.clone();
        let endpoint = Some(self.reference.clone());
        self.client.chat(ChatRequest {
            endpoint,
            messages,
            options,
            local,
            endpoint_options,
            provider_options,
            context,
        })
    }
}

/// What an image is, by how it begins. Whoever reads it refuses what it does not know.
fn mime_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        _ => "application/octet-stream",
    }
}
