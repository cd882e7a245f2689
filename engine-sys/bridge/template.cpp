#include "template_impl.h"

#include "common.h"
#include "json.h"

#include <ctime>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using sipp::guarded;

struct sipp_rendering {
    std::vector<jinja::string_part> parts;
};

static std::string piece(const llama_vocab * vocab, llama_token token) {
    return token == LLAMA_TOKEN_NULL ? std::string() : common_token_to_piece(vocab, token, true);
}

// Some templates take a content only as a list of typed parts.
static common_json content_json(const jinja::caps & caps, const std::string & text) {
    if (caps.supports_typed_content && !caps.supports_string_content) {
        return common_json::array({ common_json{ { "type", "text" }, { "text", text } } });
    }
    return common_json::make(text);
}

// A template without a system role gets the instructions at the start of the next message, as in llama.cpp's own
// `system_message_not_supported`. That one drops them when there is no next message; here that is an error.
static std::vector<std::pair<std::string, std::string>> merge_system(const jinja::caps & caps, const sipp_message * messages,
                                                                     size_t count) {
    std::vector<std::pair<std::string, std::string>> merged;
    for (size_t i = 0; i < count; i++) {
        merged.emplace_back(messages[i].role, std::string(messages[i].content, messages[i].content_size));
    }
    if (!caps.supports_system_role && !merged.empty() && merged[0].first == "system") {
        if (merged.size() == 1) {
            throw std::invalid_argument("this model's template has no system role; add a user message");
        }
        merged[1].second = merged[0].second + "\n" + merged[1].second;
        merged.erase(merged.begin());
    }
    return merged;
}

static std::string today(const char * format) {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
#ifdef _WIN32
    localtime_s(&local, &now);
#else
    localtime_r(&now, &local);
#endif
    char text[64];
    return std::string(text, std::strftime(text, sizeof(text), format, &local));
}

// Marks the contents, and only them: templates build tokens such as '<|im_start|>' + message.role from the rest.
static void mark_contents(jinja::context & context) {
    const jinja::value messages = context.get_val("messages");
    for (const jinja::value & message : messages->as_array()) {
        const jinja::value content = message->at("content");
        if (jinja::is_val<jinja::value_string>(content)) {
            content->val_str.mark_input();
            continue;
        }
        for (const jinja::value & part : content->as_array()) {
            part->at("text")->val_str.mark_input();
        }
    }
}

static std::vector<jinja::string_part> render(const sipp_template & tmpl, const sipp_message * messages, size_t count) {
    const jinja::caps caps = tmpl.parsed.original_caps();
    common_json list = common_json::array();
    for (const auto & [role, content] : merge_system(caps, messages, count)) {
        common_json message = common_json::object();
        message["role"] = role;
        message["content"] = content_json(caps, content);
        list.push_back(std::move(message));
    }
    common_json input = common_json::object();
    input["messages"] = std::move(list);
    input["bos_token"] = tmpl.parsed.bos_token();
    input["eos_token"] = tmpl.parsed.eos_token();
    input["enable_thinking"] = true;
    input["add_generation_prompt"] = true;
    input["datetime"] = today("%b %d %Y");
    input["date_string"] = today("%d %b %Y");

    jinja::context context(tmpl.parsed.source());
    jinja::global_from_json(context, input, false);
    mark_contents(context);
    jinja::runtime runtime(context);
    return jinja::runtime::gather_string_parts(runtime.execute(tmpl.parsed.prog))->val_str.parts;
}

static bool ends_with(const std::string & text, const std::string & end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// The tokeniser adds these itself; with both, a prompt would start with two.
static void strip_added(const sipp_template & tmpl, std::vector<jinja::string_part> & parts) {
    if (!parts.empty() && !parts.front().is_input && parts.front().val.rfind(tmpl.added_start, 0) == 0) {
        parts.front().val.erase(0, tmpl.added_start.size());
    }
    if (!parts.empty() && !parts.back().is_input && ends_with(parts.back().val, tmpl.added_end)) {
        parts.back().val.erase(parts.back().val.size() - tmpl.added_end.size());
    }
}

// Some templates drop the results of tool calls silently, some refuse them; a rendering with a marker tells.
static bool renders_tools(const sipp_template & tmpl) {
    const std::string marker = "sipp-tool-result";
    const sipp_message messages[] = { { "user", "x", 1 }, { "assistant", "y", 1 }, { "tool", marker.data(), marker.size() } };
    try {
        for (const auto & part : render(tmpl, messages, 3)) {
            if (part.val.find(marker) != std::string::npos) {
                return true;
            }
        }
    } catch (const std::exception &) {
        return false;
    }
    return false;
}

sipp_status sipp::refuse(sipp_error error, const std::string & text) {
    const std::string marks[] = { "Jinja Exception: ", "Error: " };
    for (const std::string & mark : marks) {
        const size_t at = text.rfind(mark);
        if (at != std::string::npos) {
            return sipp::report(error, SIPP_REFUSED, text.substr(at + mark.size()));
        }
    }
    return sipp::report(error, SIPP_REFUSED, text);
}

// Whether llama.cpp does nothing to a conversation but render it, and would not take its answer apart.
static bool is_plain(const sipp_template & tmpl) {
    try {
        common_chat_templates_inputs inputs;
        common_chat_msg question;
        question.role = "user";
        question.content = "x";
        inputs.messages = { question };
        inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
        const common_chat_params applied = common_chat_templates_apply(tmpl.templates.get(), inputs);
        const sipp_message message = { "user", "x", 1 };
        std::string rendered;
        auto parts = render(tmpl, &message, 1);
        strip_added(tmpl, parts);
        for (const auto & part : parts) {
            rendered += part.val;
        }
        return !applied.supports_thinking && applied.additional_stops.empty() && applied.prompt == rendered;
    } catch (const std::exception &) {
        // What llama.cpp cannot take apart is text.
        return true;
    }
}

sipp_status sipp_template_new(const llama_model * model, sipp_template ** out, sipp_error error) {
    return guarded(error, SIPP_REFUSED, [&] {
        // Through common_chat_templates_init, because it repairs two families of templates.
        common_chat_templates_ptr templates = common_chat_templates_init(model, "");
        const std::string source = common_chat_templates_source(templates.get());
        const llama_vocab * vocab = llama_model_get_vocab(model);
        const std::string start = piece(vocab, llama_vocab_bos(vocab));
        const std::string end = piece(vocab, llama_vocab_eos(vocab));
        auto made = std::make_unique<sipp_template>(sipp_template{
            std::move(templates),
            common_chat_template(source, start, end),
            llama_vocab_get_add_bos(vocab) ? start : "",
            llama_vocab_get_add_eos(vocab) ? end : "",
        });
        made->renders_tools = renders_tools(*made);
        made->is_plain = is_plain(*made);
        *out = made.release();
        return SIPP_OK;
    });
}

void sipp_template_free(sipp_template * tmpl) {
    delete tmpl;
}

bool sipp_template_renders_tools(const sipp_template * tmpl) {
    return tmpl->renders_tools;
}

bool sipp_template_renders_calls(const sipp_template * tmpl) {
    return tmpl->parsed.original_caps().supports_tool_calls;
}

sipp_status sipp_template_render(const sipp_template * tmpl, const sipp_message * messages, size_t count,
                                 sipp_rendering ** out, sipp_error error) {
    return guarded(error, SIPP_REFUSED, [&] {
        try {
            auto made = std::make_unique<sipp_rendering>();
            made->parts = render(*tmpl, messages, count);
            strip_added(*tmpl, made->parts);
            *out = made.release();
            return SIPP_OK;
        } catch (const std::exception & e) {
            return sipp::refuse(error, e.what());
        }
    });
}

size_t sipp_rendering_size(const sipp_rendering * rendering) {
    return rendering->parts.size();
}

sipp_part sipp_rendering_part(const sipp_rendering * rendering, size_t index) {
    const auto & part = rendering->parts[index];
    return { part.val.data(), part.val.size(), part.is_input };
}

void sipp_rendering_free(sipp_rendering * rendering) {
    delete rendering;
}
