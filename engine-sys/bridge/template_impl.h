// What a template is inside the bridge.

#pragma once

#include "guarded.h"
#include "template.h"

#include "chat.h"

#include <string>

struct sipp_template {
    // Freed by itself; llama.cpp's own view of the same template.
    common_chat_templates_ptr templates;
    common_chat_template parsed;
    // The texts that the tokeniser adds by itself, and that a template may add too.
    std::string added_start;
    std::string added_end;
    bool renders_tools = false;
    bool is_plain = true;
};

namespace sipp {

// llama.cpp wraps what a template raises in the position and the source around it; the caller wants the reason.
sipp_status refuse(sipp_error error, const std::string & text);

} // namespace sipp
