// Images for a language model, through llama.cpp's mtmd library.
//
// A projector turns an image into vectors of the model's own length, which are computed in the place of tokens.

#pragma once

#include "guard.h"

#ifdef __cplusplus
extern "C" {
#endif

// A projector, loaded for one model. Used by one thread at a time; the model must outlive it.
struct sipp_projector;

struct sipp_projector_options {
    bool use_gpu;
    enum llama_flash_attn_type flash_attention;
    int32_t threads;
    // Fewest and most vectors of one image, or -1 for the projector's own numbers.
    int32_t fewest;
    int32_t most;
    // Asked from time to time while an image is encoded; false ends it.
    bool (*goes_on)(void * data);
    void * data;
};

enum sipp_status sipp_projector_new(const char * path, const struct llama_model * model,
                                    const struct sipp_projector_options * options, struct sipp_projector ** projector,
                                    struct sipp_error error);
void sipp_projector_free(struct sipp_projector * projector);

// Whether it takes images; some take sounds only.
bool sipp_projector_sees(const struct sipp_projector * projector);

// Whether positions of vectors have four numbers each, as in M-RoPE. Else they have one.
bool sipp_projector_has_grid(const struct sipp_projector * projector);

// An image as the projector cuts it: texts of the model's and pieces that become vectors, in order.
struct sipp_image;

// `pixels` are red, green and blue, row by row.
enum sipp_status sipp_image_new(const struct sipp_projector * projector, uint32_t width, uint32_t height,
                                const uint8_t * pixels, struct sipp_image ** image, struct sipp_error error);
void sipp_image_free(struct sipp_image * image);

struct sipp_piece {
    // The tokens of a text; null for what becomes vectors.
    const llama_token * tokens;
    // Tokens or vectors.
    size_t count;
    // Positions that they take.
    size_t positions;
    // Whether each of its vectors is computed in sight of all of them.
    bool is_mutual;
};

size_t sipp_image_pieces(const struct sipp_image * image);
struct sipp_piece sipp_image_piece(const struct sipp_projector * projector, const struct sipp_image * image, size_t index);

// The four numbers of a vector's position when the piece begins at position `start`.
void sipp_image_position(const struct sipp_image * image, size_t index, size_t vector, int32_t start, int32_t position[4]);

// Writes the vectors of a piece, `size` floats in all. `ended` becomes whether `goes_on` ended it.
enum sipp_status sipp_image_encode(struct sipp_projector * projector, const struct sipp_image * image, size_t index,
                                   float * vectors, size_t size, bool * ended, struct sipp_error error);

#ifdef __cplusplus
}
#endif
