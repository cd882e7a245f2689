#include "conversation.h"

#include "template_impl.h"

#include "common.h"
#include "json.h"

#include <algorithm>
#include <cctype>
#include <memory>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

using sipp::copy_text;
using sipp::guarded;

struct sipp_chat {
    common_chat_params applied;
    common_chat_parser_params parsing;
    std::vector<llama_token> preserved;
};

bool sipp_template_is_plain(const sipp_template * tmpl) {
    return tmpl->is_plain;
}

static common_chat_tool_choice tool_choice(const std::string & name) {
    if (name == "none") {
        return COMMON_CHAT_TOOL_CHOICE_NONE;
    }
    return name == "required" ? COMMON_CHAT_TOOL_CHOICE_REQUIRED : COMMON_CHAT_TOOL_CHOICE_AUTO;
}

struct takes_no_tools : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

// Where llama.cpp finds out how a template writes tool calls, it makes a grammar for an answer that must have one. Where
// the model decides, it makes one only if a call has a beginning to be known by.
static void check_takes_tools(const sipp_template & tmpl, const common_chat_params & applied, common_chat_templates_inputs inputs) {
    bool takes = tmpl.parsed.original_caps().supports_tool_calls;
    if (takes && applied.grammar.empty()) {
        inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_REQUIRED;
        takes = !common_chat_templates_apply(tmpl.templates.get(), inputs).grammar.empty();
    }
    if (!takes) {
        throw takes_no_tools("this model's chat template takes no tools");
    }
}

// llama.cpp's grammar for an answer that must call a tool lets the model write any text before the call, also without
// end: the rule `root` has an optional `until-` of its own for it. Reasoning, whose rule is another, stays.
static void forbid_text_before_call(std::string & grammar) {
    const size_t start = grammar.rfind("root ::=", 0) == 0 ? 0 : grammar.find("\nroot ::=");
    if (start == std::string::npos) {
        return;
    }
    const size_t end = std::min(grammar.find('\n', start + 1), grammar.size());
    static const std::regex text(" until-[0-9]+\\?");
    const std::string root = grammar.substr(start, end - start);
    grammar.replace(start, end - start, std::regex_replace(root, text, ""));
}

// The token that is the whole text, or LLAMA_TOKEN_NULL.
static llama_token single_token(const llama_vocab * vocab, const std::string & text) {
    const auto parts = common_tokenize(vocab, text, false, true);
    return parts.size() == 1 ? parts[0] : LLAMA_TOKEN_NULL;
}

sipp_status sipp_chat_new(const sipp_template * tmpl, const llama_vocab * vocab, const char * request, size_t size,
                          sipp_chat ** out, char ** facts, sipp_error error) {
    return guarded(error, SIPP_REFUSED, [&] {
        try {
            const common_json asked = common_json::parse(std::string(request, size));
            common_chat_templates_inputs inputs;
            inputs.messages = common_chat_msgs_parse_oaicompat(asked.at("messages"));
            inputs.tools = common_chat_tools_parse_oaicompat(asked.at("tools"));
            inputs.tool_choice = tool_choice(asked.at("tool_choice"));
            inputs.json_schema = std::string(asked.at("json_schema"));
            inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
            // An answer that must call a tool calls one; otherwise the model could go on with calls for ever.
            inputs.parallel_tool_calls = inputs.tool_choice == COMMON_CHAT_TOOL_CHOICE_AUTO &&
                                         tmpl->parsed.original_caps().supports_parallel_tool_calls;
            const bool has_tools = !inputs.tools.empty() && inputs.tool_choice != COMMON_CHAT_TOOL_CHOICE_NONE;

            auto made = std::make_unique<sipp_chat>();
            made->applied = common_chat_templates_apply(tmpl->templates.get(), inputs);
            if (has_tools) {
                check_takes_tools(*tmpl, made->applied, inputs);
            }
            made->parsing = common_chat_parser_params(made->applied);
            made->parsing.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
            made->parsing.parse_tool_calls = has_tools;
            made->parsing.parser.load(made->applied.parser);
            if (has_tools && inputs.tool_choice == COMMON_CHAT_TOOL_CHOICE_REQUIRED) {
                forbid_text_before_call(made->applied.grammar);
            }
            for (const std::string & text : made->applied.preserved_tokens) {
                const llama_token token = single_token(vocab, text);
                if (token != LLAMA_TOKEN_NULL) {
                    made->preserved.push_back(token);
                }
            }

            common_json told = common_json::object();
            told["prompt"] = made->applied.prompt;
            told["stops"] = common_json::make(made->applied.additional_stops);
            told["preserved"] = common_json::make(made->preserved);
            *facts = copy_text(told.dump_safe());
            *out = made.release();
            return SIPP_OK;
        } catch (const takes_no_tools & e) {
            return sipp::report(error, SIPP_UNSUPPORTED, e.what());
        } catch (const std::exception & e) {
            return sipp::refuse(error, e.what());
        }
    });
}

void sipp_chat_free(sipp_chat * chat) {
    delete chat;
}

// What starts a grammar that waits, as llama.cpp's server has it: a word that is one token is found as that token.
struct triggers {
    std::vector<std::string> patterns;
    std::vector<llama_token> tokens;

    triggers(const sipp_chat & chat, const llama_vocab * vocab) {
        for (const common_grammar_trigger & trigger : chat.applied.grammar_triggers) {
            switch (trigger.type) {
                case COMMON_GRAMMAR_TRIGGER_TYPE_WORD:
                    add_word(chat, vocab, trigger.value);
                    break;
                case COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN:
                    tokens.push_back(trigger.token);
                    break;
                case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN:
                    patterns.push_back(trigger.value);
                    break;
                case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL:
                    patterns.push_back("^(?:" + trigger.value + ")$");
                    break;
            }
        }
    }

private:
    void add_word(const sipp_chat & chat, const llama_vocab * vocab, const std::string & word) {
        const llama_token token = single_token(vocab, word);
        // LLAMA_TOKEN_NULL is never among them.
        if (std::count(chat.preserved.begin(), chat.preserved.end(), token) > 0) {
            tokens.push_back(token);
        } else {
            patterns.push_back(regex_escape(word));
        }
    }
};

static llama_sampler * lazy_grammar(const sipp_chat & chat, const llama_vocab * vocab) {
    const triggers start(chat, vocab);
    std::vector<const char *> patterns;
    for (const std::string & pattern : start.patterns) {
        patterns.push_back(pattern.c_str());
    }
    return llama_sampler_init_grammar_lazy_patterns(vocab, chat.applied.grammar.c_str(), "root", patterns.data(),
                                                    patterns.size(), start.tokens.data(), start.tokens.size());
}

// The grammar covers the answer from where the assistant begins to speak, and the rendering ends after that.
static void accept_generation_prompt(const sipp_chat & chat, const llama_vocab * vocab, llama_sampler * grammar) {
    const std::string & prompt = chat.applied.generation_prompt;
    const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
    const auto tokens = common_tokenize(vocab, prompt, false, true);
    for (size_t i = 0; i < tokens.size(); i++) {
        const std::string text = common_token_to_piece(vocab, tokens[i], true);
        // Some tokenisers put a space before the first token.
        if (i > 0 || text.empty() || !is_space(text[0]) || is_space(prompt[0])) {
            llama_sampler_accept(grammar, tokens[i]);
        }
    }
}

sipp_status sipp_chat_grammar(const sipp_chat * chat, const llama_vocab * vocab, llama_sampler ** sampler, sipp_error error) {
    return guarded(error, SIPP_REFUSED, [&] {
        const common_chat_params & applied = chat->applied;
        *sampler = nullptr;
        if (applied.grammar.empty()) {
            return SIPP_OK;
        }
        llama_sampler * made = applied.grammar_lazy ? lazy_grammar(*chat, vocab)
                                                    : llama_sampler_init_grammar(vocab, applied.grammar.c_str(), "root");
        if (!made) {
            return sipp::report(error, SIPP_REFUSED, "");
        }
        if (!applied.grammar_lazy) {
            try {
                accept_generation_prompt(*chat, vocab, made);
            } catch (...) {
                llama_sampler_free(made);
                throw;
            }
        }
        *sampler = made;
        return SIPP_OK;
    });
}

sipp_status sipp_chat_read(const sipp_chat * chat, const char * text, size_t size, bool is_partial, char ** reading,
                           sipp_error error) {
    return guarded(error, SIPP_REFUSED, [&] {
        const common_chat_msg message = common_chat_parse(std::string(text, size), is_partial, chat->parsing);
        common_json calls = common_json::array();
        for (const common_chat_tool_call & call : message.tool_calls) {
            common_json entry = common_json::object();
            entry["id"] = call.id;
            entry["name"] = call.name;
            entry["arguments"] = call.arguments;
            calls.push_back(std::move(entry));
        }
        common_json told = common_json::object();
        told["content"] = message.content;
        told["reasoning"] = message.reasoning_content;
        told["calls"] = std::move(calls);
        *reading = copy_text(told.dump_safe());
        return SIPP_OK;
    });
}
