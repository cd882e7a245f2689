//! Encoded images to pixels, in Rust: what callers send is read by nothing that could break.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder as _, ImageReader, Limits, RgbImage};

use crate::error::Error;

/// Most pixels of an image: 8192 by 5000 of them.
const MOST_PIXELS: u64 = 40_960_000;
/// Most pixels in a row or a column.
const LONGEST_SIDE: u32 = 16_384;
/// Most bytes that reading one may take, above those of its pixels.
const MOST_BYTES: u64 = 512 << 20;

/// Reads a PNG, JPEG, WebP or GIF, of which the first picture, and turns it as its orientation says. What is transparent
/// becomes white.
///
/// # Errors
/// `InvalidRequest` when it is none of these, is damaged or too large.
pub(crate) fn read(bytes: &[u8]) -> Result<RgbImage, Error> {
    let refused = |error: image::ImageError| Error::InvalidRequest(format!("an image cannot be read: {error}"));
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_BYTES);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| refused(e.into()))?;
    if reader.format().is_none() {
        return Err(Error::invalid("an image is no PNG, JPEG, WebP or GIF; send one of these"));
    }
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(Error::InvalidRequest(format!(
            "an image has {width} by {height} pixels; {MOST_PIXELS} in all is the most"
        )));
    }
    let orientation = decoder.orientation().map_err(refused)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(refused)?;
    image.apply_orientation(orientation);
    Ok(if image.color().has_alpha() { on_white(&image) } else { image.into_rgb8() })
}

fn on_white(image: &DynamicImage) -> RgbImage {
    let image = image.to_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0;
        let over = |colour: u8| {
            let (colour, alpha) = (u32::from(colour), u32::from(alpha));
            u8::try_from((colour * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(255)
        };
        image::Rgb([over(red), over(green), over(blue)])
    })
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgba, RgbaImage};

    use super::*;

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).expect("it is written");
        bytes.into_inner()
    }

    #[test]
    fn every_format_becomes_the_same_pixels() {
        let image = RgbImage::from_pixel(9, 5, image::Rgb([250, 10, 20]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
            let read = read(&encoded(image.clone(), format)).unwrap();
            assert_eq!(read.dimensions(), (9, 5), "{format:?}");
            let far = read.pixels().flat_map(|pixel| pixel.0).zip(image.pixels().flat_map(|pixel| pixel.0));
            assert!(far.clone().all(|(a, b)| a.abs_diff(b) < 6), "{format:?}: {:?}", far.collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_transparent_is_white() {
        let mut image = RgbaImage::from_pixel(2, 1, Rgba([0, 0, 0, 0]));
        image.put_pixel(1, 0, Rgba([0, 100, 255, 128]));
        let read = read(&encoded(image, ImageFormat::Png)).unwrap();
        assert_eq!((read.get_pixel(0, 0).0, read.get_pixel(1, 0).0), ([255; 3], [127, 177, 255]));
    }

    #[test]
    fn what_is_no_image_or_too_large_is_refused() {
        let png = encoded(RgbImage::new(64, 64), ImageFormat::Png);
        // The header claims sides that the rest does not have.
        let mut wide = png.clone();
        wide[16..24].copy_from_slice(&[0, 0, 0x80, 0, 0, 0, 0x80, 0]);
        let mut many = png.clone();
        many[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
        for bytes in [&b""[..], b"no image", &png[..png.len() / 2], &wide, &many] {
            assert!(matches!(read(bytes), Err(Error::InvalidRequest(_))), "{:?}", read(bytes));
        }
    }
}
