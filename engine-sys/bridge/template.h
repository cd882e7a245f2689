// Chat templates, rendered by llama.cpp's own Jinja, so that every byte of the result is known to come from the
// template or from a message.

#pragma once

#include "guard.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sipp_template;
struct sipp_rendering;

struct sipp_message {
    const char * role;
    const char * content;
    size_t       content_size;
};

// A consecutive part of a rendering.
struct sipp_part {
    const char * text;
    size_t       size;
    // Whether the text comes from a message's content.
    bool is_input;
};

// Parses the model's chat template. SIPP_REFUSED: the template is malformed.
enum sipp_status sipp_template_new(const struct llama_model * model, struct sipp_template ** out, struct sipp_error error);
void sipp_template_free(struct sipp_template * tmpl);

// Whether the template renders the results of tool calls, and the calls themselves.
bool sipp_template_renders_tools(const struct sipp_template * tmpl);
bool sipp_template_renders_calls(const struct sipp_template * tmpl);

// Renders a conversation up to where the assistant speaks. SIPP_REFUSED: the template refused the messages.
enum sipp_status sipp_template_render(const struct sipp_template * tmpl, const struct sipp_message * messages, size_t count,
                                      struct sipp_rendering ** out, struct sipp_error error);
size_t sipp_rendering_size(const struct sipp_rendering * rendering);
struct sipp_part sipp_rendering_part(const struct sipp_rendering * rendering, size_t index);
void sipp_rendering_free(struct sipp_rendering * rendering);

#ifdef __cplusplus
}
#endif
