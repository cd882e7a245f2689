// Conversations with tools or reasoning, through llama.cpp's own chat parser: how they are rendered, what constrains the
// answer, and how its text is taken apart.

#pragma once

#include "template.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sipp_chat;

// Whether a conversation without tools is just its rendering, and the answer just its text.
bool sipp_template_is_plain(const struct sipp_template * tmpl);

// Prepares a conversation, which is JSON:
//   messages:    as in OpenAI's chat format
//   tools:       as there; may be empty
//   tool_choice: "auto", "none" or "required"
//   json_schema: a schema as JSON text, or ""
// `facts` becomes JSON, to be freed with sipp_text_free:
//   prompt:    the rendering
//   stops:     texts that end the answer
//   preserved: tokens whose text the parser wants to see, though they are control tokens
// SIPP_REFUSED: the template refused it. SIPP_UNSUPPORTED: it takes no tools.
enum sipp_status sipp_chat_new(const struct sipp_template * tmpl, const struct llama_vocab * vocab, const char * request,
                               size_t size, struct sipp_chat ** out, char ** facts, struct sipp_error error);
void sipp_chat_free(struct sipp_chat * chat);

// The grammar that the answer must match: null where anything may be said.
enum sipp_status sipp_chat_grammar(const struct sipp_chat * chat, const struct llama_vocab * vocab,
                                   struct llama_sampler ** sampler, struct sipp_error error);

// Takes an answer apart, or its beginning if `is_partial`. `reading` becomes JSON, to be freed with sipp_text_free:
//   content, reasoning: texts
//   calls:              objects of id, name and arguments; the last may not be whole if `is_partial`
// SIPP_REFUSED: the text is no answer of this template.
enum sipp_status sipp_chat_read(const struct sipp_chat * chat, const char * text, size_t size, bool is_partial,
                                char ** reading, struct sipp_error error);

#ifdef __cplusplus
}
#endif
