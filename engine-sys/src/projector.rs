//! A projector: what turns images into vectors in the place of tokens.

use std::ffi::{CString, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use image::RgbImage;

use crate::config::MultimodalConfig;
use crate::error::{Error, ModelFault};
use crate::gguf;
use crate::log;
use crate::model::Model;
use crate::plan::Plan;
use crate::sys;
use crate::vocab::Token;

/// One piece of an image.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    /// Tokens of the model's own, such as those around an image.
    Tokens(Vec<Token>),
    /// What is computed in the place of tokens.
    Vectors(Vectors),
}

/// Vectors in the place of tokens.
#[derive(Debug, PartialEq)]
pub(crate) struct Vectors {
    /// All of them, one after the other.
    pub(crate) values: Vec<f32>,
    pub(crate) count: usize,
    /// Positions that they take. Fewer than `count` where a position has a place in a grid too.
    pub(crate) positions: usize,
    /// Whether each is computed in sight of all of them, and so all at once.
    pub(crate) is_mutual: bool,
    grid: Option<Grid>,
}

/// The four numbers of each vector's position, when the first is 0 and when it is 1: some grow with it, others do not.
#[derive(Debug, PartialEq)]
struct Grid {
    at_0: Vec<[i32; 4]>,
    at_1: Vec<[i32; 4]>,
}

impl Vectors {
    /// Vectors whose positions follow each other.
    #[cfg(test)]
    pub(crate) fn new(values: Vec<f32>, count: usize, positions: usize, is_mutual: bool) -> Self {
        Self { values, count, positions, is_mutual, grid: None }
    }

    /// The positions of `count` vectors from the one at `from`, in llama.cpp's order, when the first of all is at `start`.
    pub(crate) fn positions_of(&self, from: usize, count: usize, start: usize) -> Vec<i32> {
        let number = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
        let Some(Grid { at_0, at_1 }) = &self.grid else {
            return (0..count).map(|index| number(start + from + index)).collect();
        };
        let start = number(start);
        let places = at_0.iter().zip(at_1).skip(from).take(count);
        let part = |part: usize| {
            places.clone().map(move |(at_0, at_1)| {
                let (at_0, at_1) = (at_0.get(part).copied().unwrap_or(0), at_1.get(part).copied().unwrap_or(0));
                at_0 + (at_1 - at_0) * start
            })
        };
        (0..4).flat_map(part).collect()
    }
}

/// A loaded projector.
pub(crate) struct Projector {
    raw: NonNull<sys::Projector>,
    /// Numbers in one vector of the model.
    length: usize,
    has_grid: bool,
    /// Whose cancelling ends the encoding that runs. llama.cpp reads it through a pointer, so it keeps its place.
    cancelled: Box<Option<Arc<AtomicBool>>>,
}

// SAFETY: it belongs to no thread, and everything that changes it borrows it mutably. Of the model it reads the
// vocabulary and lengths only, which never change.
unsafe impl Send for Projector {}

unsafe extern "C" fn goes_on(data: *mut c_void) -> bool {
    // SAFETY: `data` is the `cancelled` of a living projector, which changes only while nothing is encoded.
    let cancelled = unsafe { &*data.cast::<Option<Arc<AtomicBool>>>() };
    !cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
}

impl Projector {
    /// Loads a projector for a model, which must outlive it, and which has a GPU or not.
    ///
    /// # Errors
    /// `Model` when it cannot be read, does not fit the model or takes no images.
    pub(crate) fn load(
        path: &Path,
        config: &MultimodalConfig,
        model: &Model,
        plan: &Plan,
        has_gpu: bool,
    ) -> Result<Self, Error> {
        let name = path.display();
        let header = gguf::check(path)?;
        if header.architecture != "clip" {
            return Err(Error::configuration(format!(
                "{name} is no projector but a model of the architecture `{}`; give the projector that belongs to the model",
                header.architecture
            )));
        }
        let c_path = path
            .to_str()
            .and_then(|path| CString::new(path).ok())
            .ok_or_else(|| Error::configuration(format!("the path {name} is not valid UTF-8")))?;
        let mut cancelled = Box::new(None);
        let number = |count: Option<u32>| count.map_or(-1, |count| i32::try_from(count).unwrap_or(i32::MAX));
        let options = sys::ProjectorOptions {
            use_gpu: has_gpu && config.use_gpu.unwrap_or(true),
            flash_attention: plan.flash_attention_type(),
            threads: plan.threads(),
            fewest: number(config.image_min_tokens),
            most: number(config.image_max_tokens),
            goes_on,
            data: std::ptr::from_mut(&mut *cancelled).cast(),
        };
        let mut raw = std::ptr::null_mut();
        log::clear();
        let made = sys::call(|error| {
            // SAFETY: path and options live during the call, and what they point to as long as the projector.
            unsafe { sys::sipp_projector_new(c_path.as_ptr(), model.raw(), &options, &mut raw, error) }
        });
        let message = made.err().map(|failure| failure.message).unwrap_or_default();
        let raw = NonNull::new(raw).ok_or_else(|| {
            let reason = log::explain(&message);
            if reason.contains("mismatch between text model") {
                let message = format!("the projector {name} belongs to another model: its vectors have another length");
                return Error::configuration(message);
            }
            Error::model(ModelFault::Corrupt, format!("the projector {name} cannot be loaded: {reason}"))
        })?;
        // SAFETY: the projector was just made.
        let (sees, has_grid) =
            unsafe { (sys::sipp_projector_sees(raw.as_ptr()), sys::sipp_projector_has_grid(raw.as_ptr())) };
        let projector = Self { raw, length: model.input_length() as usize, has_grid, cancelled };
        if sees { Ok(projector) } else { Err(Error::configuration(format!("the projector {name} takes no images"))) }
    }

    /// Turns an image into pieces. Ends with `Cancelled` soon after `cancelled` is set.
    ///
    /// # Errors
    /// `InvalidRequest` for an image that the projector does not take, `Internal` when it fails.
    pub(crate) fn encode(&mut self, pixels: &RgbImage, cancelled: &Arc<AtomicBool>) -> Result<Vec<Piece>, Error> {
        let image = self.cut(pixels)?;
        *self.cancelled = Some(Arc::clone(cancelled));
        // SAFETY: the image is whole, here and below.
        let count = unsafe { sys::sipp_image_pieces(image.0.as_ptr()) };
        let pieces = (0..count).map(|index| self.piece(&image, index)).collect();
        *self.cancelled = None;
        pieces
    }

    fn cut(&self, pixels: &RgbImage) -> Result<Image, Error> {
        let mut raw = std::ptr::null_mut();
        log::clear();
        sys::call(|error| {
            let (width, height) = pixels.dimensions();
            // SAFETY: there are three bytes for each pixel, and they live during the call.
            unsafe { sys::sipp_image_new(self.raw.as_ptr(), width, height, pixels.as_raw().as_ptr(), &mut raw, error) }
        })
        .map_err(|failure| {
            Error::InvalidRequest(format!("the model does not take an image: {}", log::explain(&failure.message)))
        })?;
        NonNull::new(raw).map(Image).ok_or_else(|| Error::Internal("there is no image".to_owned()))
    }

    fn piece(&mut self, image: &Image, index: usize) -> Result<Piece, Error> {
        // SAFETY: the index is below the number of pieces; a text's tokens live as long as the image.
        let (piece, tokens) = unsafe {
            let piece = sys::sipp_image_piece(self.raw.as_ptr(), image.0.as_ptr(), index);
            let is_text = !piece.tokens.is_null();
            let tokens = is_text.then(|| std::slice::from_raw_parts(piece.tokens, piece.count).to_vec());
            (piece, tokens)
        };
        if let Some(tokens) = tokens {
            return Ok(Piece::Tokens(tokens));
        }
        let mut values = vec![0f32; piece.count.saturating_mul(self.length)];
        let mut ended = false;
        log::clear();
        sys::call(|error| {
            // SAFETY: as above. The model takes vectors of `length` numbers, which was checked when the projector was
            // loaded, and there is room for `count` of them.
            unsafe {
                sys::sipp_image_encode(
                    self.raw.as_ptr(),
                    image.0.as_ptr(),
                    index,
                    values.as_mut_ptr(),
                    values.len(),
                    &mut ended,
                    error,
                )
            }
        })
        .map_err(|failure| {
            Error::Internal(format!("an image cannot be encoded: {}", log::explain(&failure.message)))
        })?;
        if ended {
            return Err(Error::Cancelled);
        }
        let grid = self.has_grid.then(|| Grid {
            at_0: image.positions(index, piece.count, 0),
            at_1: image.positions(index, piece.count, 1),
        });
        Ok(Piece::Vectors(Vectors {
            values,
            count: piece.count,
            positions: piece.positions,
            is_mutual: piece.is_mutual,
            grid,
        }))
    }
}

impl Drop for Projector {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nothing uses it afterwards.
        unsafe { sys::sipp_projector_free(self.raw.as_ptr()) }
    }
}

/// An image that is cut to pieces.
struct Image(NonNull<sys::Image>);

impl Image {
    fn positions(&self, index: usize, count: usize, start: i32) -> Vec<[i32; 4]> {
        (0..count)
            .map(|vector| {
                let mut position = [0; 4];
                // SAFETY: the piece is one of vectors, of which there are `count`; four numbers are written.
                unsafe { sys::sipp_image_position(self.0.as_ptr(), index, vector, start, position.as_mut_ptr()) };
                position
            })
            .collect()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nothing uses it afterwards.
        unsafe { sys::sipp_image_free(self.0.as_ptr()) }
    }
}
