#include "vision.h"

#include "guarded.h"

#include "ggml-backend.h"
#include "mtmd.h"

#include <memory>
#include <string>

using sipp::guarded;
using sipp::guarded_computation;
using sipp::report;

// How many operations of the graph go by between two questions whether to go on: each question waits for what is computed.
static constexpr size_t OPERATIONS = 64;

struct mtmd_deleter {
    void operator()(mtmd_context * context) const {
        mtmd_free(context);
    }
};

struct sipp_projector {
    sipp_projector_options options;
    std::unique_ptr<mtmd_context, mtmd_deleter> context;
    size_t asked = 0;
    bool ended = false;
};

struct sipp_image {
    mtmd_input_chunks * chunks = mtmd_input_chunks_init();

    sipp_image() = default;
    sipp_image(const sipp_image &) = delete;
    sipp_image & operator=(const sipp_image &) = delete;
    ~sipp_image() {
        mtmd_input_chunks_free(chunks);
    }
};

struct bitmap_deleter {
    void operator()(mtmd_bitmap * bitmap) const {
        mtmd_bitmap_free(bitmap);
    }
};

static bool on_operation(ggml_tensor *, bool asks, void * data) {
    auto * projector = static_cast<sipp_projector *>(data);
    if (asks) {
        return ++projector->asked % OPERATIONS == 0;
    }
    projector->ended = projector->ended || !projector->options.goes_on(projector->options.data);
    return !projector->ended;
}

sipp_status sipp_projector_new(const char * path, const llama_model * model, const sipp_projector_options * options,
                               sipp_projector ** projector, sipp_error error) {
    return guarded(error, SIPP_FAILED, [&] {
        ggml_log_callback log = nullptr;
        void * log_data = nullptr;
        llama_log_get(&log, &log_data);
        mtmd_log_set(log, log_data);
        auto made = std::make_unique<sipp_projector>();
        made->options = *options;
        mtmd_context_params params = mtmd_context_params_default();
        params.use_gpu = options->use_gpu;
        params.print_timings = false;
        params.n_threads = options->threads;
        params.flash_attn_type = options->flash_attention;
        // It would reserve what a first image needs, and asserts what fits it: here, where an assertion is an error.
        params.warmup = true;
        params.image_min_tokens = options->fewest;
        params.image_max_tokens = options->most;
        params.cb_eval = on_operation;
        params.cb_eval_user_data = made.get();
        made->context.reset(mtmd_init_from_file(path, model, params));
        if (!made->context) {
            return report(error, SIPP_FAILED, "");
        }
        *projector = made.release();
        return SIPP_OK;
    });
}

void sipp_projector_free(sipp_projector * projector) {
    delete projector;
}

bool sipp_projector_sees(const sipp_projector * projector) {
    return mtmd_support_vision(projector->context.get());
}

bool sipp_projector_has_grid(const sipp_projector * projector) {
    return mtmd_decode_use_mrope(projector->context.get());
}

sipp_status sipp_image_new(const sipp_projector * projector, uint32_t width, uint32_t height, const uint8_t * pixels,
                           sipp_image ** image, sipp_error error) {
    return guarded(error, SIPP_FAILED, [&] {
        const std::unique_ptr<mtmd_bitmap, bitmap_deleter> bitmap(mtmd_bitmap_init(width, height, pixels));
        const mtmd_input_part part = { nullptr, bitmap.get() };
        const mtmd_input_part * parts = &part;
        auto made = std::make_unique<sipp_image>();
        if (mtmd_tokenize_from_parts(projector->context.get(), made->chunks, &parts, 1, false) != 0) {
            return report(error, SIPP_FAILED, "");
        }
        *image = made.release();
        return SIPP_OK;
    });
}

void sipp_image_free(sipp_image * image) {
    delete image;
}

size_t sipp_image_pieces(const sipp_image * image) {
    return mtmd_input_chunks_size(image->chunks);
}

sipp_piece sipp_image_piece(const sipp_projector * projector, const sipp_image * image, size_t index) {
    const mtmd_input_chunk * chunk = mtmd_input_chunks_get(image->chunks, index);
    sipp_piece piece = {};
    if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT) {
        piece.tokens = mtmd_input_chunk_get_tokens_text(chunk, &piece.count);
        piece.positions = piece.count;
        return piece;
    }
    piece.count = mtmd_input_chunk_get_n_tokens(chunk);
    piece.positions = static_cast<size_t>(mtmd_input_chunk_get_n_pos(chunk));
    piece.is_mutual = mtmd_decode_use_non_causal(projector->context.get(), chunk);
    return piece;
}

void sipp_image_position(const sipp_image * image, size_t index, size_t vector, int32_t start, int32_t position[4]) {
    const mtmd_image_tokens * tokens = mtmd_input_chunk_get_tokens_image(mtmd_input_chunks_get(image->chunks, index));
    const mtmd_decoder_pos place = mtmd_image_tokens_get_decoder_pos(tokens, start, vector);
    position[0] = static_cast<int32_t>(place.t);
    position[1] = static_cast<int32_t>(place.y);
    position[2] = static_cast<int32_t>(place.x);
    position[3] = static_cast<int32_t>(place.z);
}

sipp_status sipp_image_encode(sipp_projector * projector, const sipp_image * image, size_t index, float * vectors,
                              size_t size, bool * ended, sipp_error error) {
    return guarded_computation(error, [&] {
        projector->ended = false;
        const mtmd_input_chunk * chunk = mtmd_input_chunks_get(image->chunks, index);
        const int32_t code = mtmd_encode_chunk(projector->context.get(), chunk);
        *ended = projector->ended;
        if (projector->ended) {
            return SIPP_OK;
        }
        if (code != 0) {
            return report(error, SIPP_FAILED, "");
        }
        // The library has no function that tells how many floats there are; it fills what the chunk and the model claim.
        std::memcpy(vectors, mtmd_get_output_embd(projector->context.get()), size * sizeof(float));
        return SIPP_OK;
    });
}
