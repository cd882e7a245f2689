//! Images of requests: read, turned into vectors, and kept for the next turn of a conversation.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::pixels;
use crate::projector::{self, Projector, Vectors};
use crate::request::{Input, Media, Part, TextRequest};
use crate::slot::Job;
use crate::vocab::Token;

/// Most bytes of vectors that are kept. The vectors of the last image are kept whatever they take.
const MOST_KEPT: usize = 128 << 20;

/// An image as the model takes it.
#[derive(Debug)]
pub(crate) struct Image {
    digest: [u8; 32],
    pieces: Vec<Piece>,
}

/// One piece of an image.
#[derive(Debug)]
pub(crate) enum Piece {
    Tokens(Vec<Token>),
    /// Vectors, and what stands for them where tokens are compared: a negative number that nothing else has.
    Vectors(Token, Arc<Vectors>),
}

/// Vectors at their place in a prompt.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    /// Position of the first of them.
    pub(crate) at: usize,
    pub(crate) vectors: Arc<Vectors>,
}

impl Placed {
    /// The position after them.
    pub(crate) fn end(&self) -> usize {
        self.at + self.vectors.positions
    }

    /// Places that they take in the memory besides their positions.
    pub(crate) fn surplus(&self) -> usize {
        self.vectors.count.saturating_sub(self.vectors.positions)
    }
}

impl Image {
    /// Appends it to a prompt.
    pub(crate) fn append(&self, tokens: &mut Vec<Token>, placed: &mut Vec<Placed>) {
        for piece in &self.pieces {
            match piece {
                Piece::Tokens(own) => tokens.extend(own),
                Piece::Vectors(stand_in, vectors) => {
                    placed.push(Placed { at: tokens.len(), vectors: Arc::clone(vectors) });
                    tokens.extend(std::iter::repeat_n(*stand_in, vectors.positions));
                }
            }
        }
    }

    fn bytes(&self) -> usize {
        let bytes = |piece: &Piece| match piece {
            Piece::Tokens(_) => 0,
            Piece::Vectors(_, vectors) => size_of_val(vectors.values.as_slice()),
        };
        self.pieces.iter().map(bytes).sum()
    }
}

/// Looks at images.
pub(crate) struct Vision {
    projector: Projector,
    /// Images that were looked at, the last one last.
    kept: VecDeque<Arc<Image>>,
    bytes: usize,
    stand_in: Token,
}

impl Vision {
    pub(crate) fn new(projector: Projector) -> Self {
        Self { projector, kept: VecDeque::new(), bytes: 0, stand_in: 0 }
    }

    /// Looks at the images of a request and takes them out of it.
    ///
    /// # Errors
    /// `InvalidRequest` when one cannot be read, `Cancelled` when the request is.
    pub(crate) fn look(&mut self, job: &mut Job) -> Result<(), Error> {
        for media in take_media(&mut job.request) {
            if job.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let image = self.image(&media, &job.cancelled)?;
            job.images.push(image);
        }
        Ok(())
    }

    fn image(&mut self, bytes: &[u8], cancelled: &Arc<AtomicBool>) -> Result<Arc<Image>, Error> {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let known = self.kept.iter().position(|image| image.digest == digest);
        if let Some(image) = known.and_then(|index| self.kept.remove(index)) {
            self.kept.push_back(Arc::clone(&image));
            return Ok(image);
        }
        let pieces = self.projector.encode(&pixels::read(bytes)?, cancelled)?;
        let pieces = pieces.into_iter().map(|piece| self.piece(piece)).collect();
        let image = Arc::new(Image { digest, pieces });
        self.bytes += image.bytes();
        while self.bytes > MOST_KEPT {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
        self.kept.push_back(Arc::clone(&image));
        Ok(image)
    }

    fn piece(&mut self, piece: projector::Piece) -> Piece {
        match piece {
            projector::Piece::Tokens(tokens) => Piece::Tokens(tokens),
            projector::Piece::Vectors(vectors) => {
                // After 2^31 pieces it would begin anew, with numbers that nothing remembers any more.
                self.stand_in = if self.stand_in == Token::MIN { -1 } else { self.stand_in - 1 };
                Piece::Vectors(self.stand_in, Arc::new(vectors))
            }
        }
    }
}

/// Whether a request has images.
pub(crate) fn has_media(request: &TextRequest) -> bool {
    let in_messages = match &request.input {
        Input::Prompt(_) => false,
        Input::Chat(messages) => {
            messages.iter().flat_map(|message| &message.content).any(|part| matches!(part, Part::Media(_)))
        }
    };
    in_messages || !request.media.is_empty()
}

/// The images of a request, in order. Where they stand in a conversation, parts without bytes stay.
fn take_media(request: &mut TextRequest) -> Vec<Vec<u8>> {
    let mut all = std::mem::take(&mut request.media);
    if let Input::Chat(messages) = &mut request.input {
        for part in messages.iter_mut().flat_map(|message| &mut message.content) {
            if let Part::Media(Media::Bytes(bytes)) = part {
                all.push(std::mem::take(bytes));
            }
        }
    }
    all
}
