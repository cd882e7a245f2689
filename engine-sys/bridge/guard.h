// Calls into llama.cpp that can throw, for Rust, where an exception must not arrive.
//
// Each function returns a status and, when it is SIPP_FAILED, leaves what llama.cpp said in `error`.

#pragma once

#include "llama.h"

#ifdef __cplusplus
extern "C" {
#endif

enum sipp_status {
    SIPP_OK = 0,
    // llama.cpp threw or reported a failure.
    SIPP_FAILED = 1,
    // The caller's text or template was refused.
    SIPP_REFUSED = 2,
    // A grammar or a bias left no token to choose from.
    SIPP_NO_CANDIDATE = 3,
    // The model cannot do it.
    SIPP_UNSUPPORTED = 4,
};

// Where a failed call leaves its message, cut to `size - 1` bytes and ended by a zero byte.
struct sipp_error {
    char * text;
    size_t size;
};

enum sipp_status sipp_model_load(const char * path, const struct llama_model_params * params, struct llama_model ** model,
                                 struct sipp_error error);

enum sipp_status sipp_context_new(struct llama_model * model, const struct llama_context_params * params,
                                  struct llama_context ** context, struct sipp_error error);

// `count` becomes the number of tokens, or its negative if `capacity` was too small.
enum sipp_status sipp_tokenize(const struct llama_vocab * vocab, const char * text, int32_t size, bool add_special,
                               bool parse_special, llama_token * tokens, int32_t capacity, int32_t * count,
                               struct sipp_error error);

// Computes a batch: llama_decode where it follows what a memory holds, else llama_encode. `code` becomes what that returned.
enum sipp_status sipp_compute(struct llama_context * context, const struct llama_batch * batch, bool decodes, int32_t * code,
                              struct sipp_error error);

// The first computation of a context, on the calling thread alone, where a failed assertion can leave it: what a bad file
// holds fails here, and not where it would end the process. After a failure the context can only be freed.
enum sipp_status sipp_probe(struct llama_context * context, const struct llama_batch * batch, bool decodes, int32_t * code,
                            struct sipp_error error);

// Turns a JSON schema into a GBNF grammar. `grammar` is freed with sipp_text_free.
enum sipp_status sipp_schema_to_grammar(const char * schema, size_t size, char ** grammar, struct sipp_error error);
void sipp_text_free(char * text);

// Parses a GBNF grammar whose start symbol is `root` into a sampler.
enum sipp_status sipp_grammar_new(const struct llama_vocab * vocab, const char * grammar, struct llama_sampler ** sampler,
                                  struct sipp_error error);

// A chain of samplers in two parts: constraints, which forbid tokens, and the rest, which chooses one.
struct sipp_sampler;

// Takes both chains over, also when it fails.
enum sipp_status sipp_sampler_new(struct llama_sampler * constraints, struct llama_sampler * choice, int32_t vocabulary,
                                  struct sipp_sampler ** sampler, struct sipp_error error);
void sipp_sampler_free(struct sipp_sampler * sampler);

// Tells the choosing samplers of a token of the prompt, for the penalties that look back on it.
enum sipp_status sipp_sampler_observe(struct sipp_sampler * sampler, llama_token token, struct sipp_error error);

// Chooses a token from output `index` of the last decode and tells all samplers of it.
enum sipp_status sipp_sampler_sample(struct sipp_sampler * sampler, struct llama_context * context, int32_t index,
                                     llama_token * token, struct sipp_error error);

// Cores that compute independently of each other.
int32_t sipp_physical_cores(void);

// Starts llama.cpp, once for the process: failed assertions become errors where they can, and the log of llama.cpp's
// `common` library, which has one of its own that writes to stderr, is silent.
void sipp_start(void);

#ifdef __cplusplus
}
#endif
