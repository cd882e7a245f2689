#include "guard.h"

#include "guarded.h"

#include "common.h"
#include "json-schema-to-grammar.h"
#include "json.h"
#include "llama-grammar.h"
#include "log.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <vector>

using sipp::guarded;
using sipp::guarded_computation;
using sipp::report;

static thread_local int throwing = 0;

sipp::assertions_throw::assertions_throw() {
    throwing++;
}

sipp::assertions_throw::~assertions_throw() {
    throwing--;
}

static void on_assertion(const char * message) {
    const std::string text = message;
    if (throwing > 0) {
        // Without the folder that llama.cpp was built in.
        throw std::runtime_error(text.substr(text.find_last_of("/\\") + 1));
    }
    std::fprintf(stderr, "%s\n", message);
}

sipp_status sipp_model_load(const char * path, const llama_model_params * params, llama_model ** model, sipp_error error) {
    return guarded(error, SIPP_FAILED, [&] {
        *model = llama_model_load_from_file(path, *params);
        return *model ? SIPP_OK : report(error, SIPP_FAILED, "");
    });
}

sipp_status sipp_context_new(llama_model * model, const llama_context_params * params, llama_context ** context,
                             sipp_error error) {
    return guarded(error, SIPP_FAILED, [&] {
        *context = llama_init_from_model(model, *params);
        return *context ? SIPP_OK : report(error, SIPP_FAILED, "");
    });
}

sipp_status sipp_tokenize(const llama_vocab * vocab, const char * text, int32_t size, bool add_special, bool parse_special,
                          llama_token * tokens, int32_t capacity, int32_t * count, sipp_error error) {
    return guarded(error, SIPP_FAILED, [&] {
        *count = llama_tokenize(vocab, text, size, tokens, capacity, add_special, parse_special);
        return SIPP_OK;
    });
}

static sipp_status compute(llama_context * context, const llama_batch * batch, bool decodes, int32_t * code) {
    *code = decodes ? llama_decode(context, *batch) : llama_encode(context, *batch);
    llama_synchronize(context);
    return SIPP_OK;
}

sipp_status sipp_compute(llama_context * context, const llama_batch * batch, bool decodes, int32_t * code, sipp_error error) {
    return guarded_computation(error, [&] { return compute(context, batch, decodes, code); });
}

sipp_status sipp_probe(llama_context * context, const llama_batch * batch, bool decodes, int32_t * code, sipp_error error) {
    const int32_t threads = llama_n_threads(context);
    const int32_t threads_batch = llama_n_threads_batch(context);
    llama_set_n_threads(context, 1, 1);
    const sipp_status status =
        guarded(error, SIPP_FAILED, [&] { return compute(context, batch, decodes, code); });
    llama_set_n_threads(context, threads, threads_batch);
    return status;
}

sipp_status sipp_schema_to_grammar(const char * schema, size_t size, char ** grammar, sipp_error error) {
    return guarded(error, SIPP_REFUSED, [&] {
        *grammar = sipp::copy_text(json_schema_to_grammar(common_json::parse(std::string(schema, size))));
        return SIPP_OK;
    });
}

char * sipp::copy_text(const std::string & text) {
    char * copy = static_cast<char *>(std::malloc(text.size() + 1));
    if (!copy) {
        throw std::bad_alloc();
    }
    std::memcpy(copy, text.c_str(), text.size() + 1);
    return copy;
}

void sipp_text_free(char * text) {
    std::free(text);
}

// llama_sampler_init_grammar parses too, but writes the reason of a failure to stderr and returns null. This parser is
// the one it uses; what fails here is refused with its reason, and nothing that passes here fails there unseen.
static void check_grammar(const llama_vocab * vocab, const std::string & grammar) {
    llama_grammar_parser parser(vocab);
    const char * position = grammar.c_str();
    while (*position == ' ' || *position == '\t' || *position == '\r' || *position == '\n') {
        position++;
    }
    while (*position) {
        if (*position == '#') {
            position += std::strcspn(position, "\r\n");
            position += std::strspn(position, " \t\r\n");
            continue;
        }
        position = parser.parse_rule(position);
    }
    for (const auto & [name, id] : parser.symbol_ids) {
        if (id >= parser.rules.size() || parser.rules[id].empty()) {
            throw std::invalid_argument("rule `" + name + "` is used but not defined");
        }
    }
    if (parser.symbol_ids.find("root") == parser.symbol_ids.end()) {
        throw std::invalid_argument("there is no rule `root`");
    }
}

sipp_status sipp_grammar_new(const llama_vocab * vocab, const char * grammar, llama_sampler ** sampler, sipp_error error) {
    return guarded(error, SIPP_REFUSED, [&] {
        check_grammar(vocab, grammar);
        *sampler = llama_sampler_init_grammar(vocab, grammar, "root");
        return *sampler ? SIPP_OK : report(error, SIPP_REFUSED, "");
    });
}

struct sampler_deleter {
    void operator()(llama_sampler * sampler) const {
        llama_sampler_free(sampler);
    }
};
using sampler_ptr = std::unique_ptr<llama_sampler, sampler_deleter>;

struct sipp_sampler {
    sampler_ptr constraints;
    sampler_ptr choice;
    // Kept between tokens: with a vocabulary of 128,000 tokens it has 1.5 MB.
    std::vector<llama_token_data> candidates;

    bool constrained() const {
        return llama_sampler_chain_n(constraints.get()) > 0;
    }
};

sipp_status sipp_sampler_new(llama_sampler * constraints, llama_sampler * choice, int32_t vocabulary, sipp_sampler ** sampler,
                             sipp_error error) {
    sampler_ptr owned_constraints(constraints);
    sampler_ptr owned_choice(choice);
    return guarded(error, SIPP_FAILED, [&] {
        auto made = std::make_unique<sipp_sampler>();
        made->constraints = std::move(owned_constraints);
        made->choice = std::move(owned_choice);
        made->candidates.resize(static_cast<size_t>(vocabulary));
        *sampler = made.release();
        return SIPP_OK;
    });
}

void sipp_sampler_free(sipp_sampler * sampler) {
    delete sampler;
}

sipp_status sipp_sampler_observe(sipp_sampler * sampler, llama_token token, sipp_error error) {
    return guarded(error, SIPP_FAILED, [&] {
        llama_sampler_accept(sampler->choice.get(), token);
        return SIPP_OK;
    });
}

sipp_status sipp_sampler_sample(sipp_sampler * sampler, llama_context * context, int32_t index, llama_token * token,
                                sipp_error error) {
    return guarded(error, SIPP_FAILED, [&] {
        const float * logits = llama_get_logits_ith(context, index);
        if (!logits) {
            return report(error, SIPP_FAILED, "there are no logits");
        }
        auto & candidates = sampler->candidates;
        for (size_t i = 0; i < candidates.size(); i++) {
            candidates[i] = { static_cast<llama_token>(i), logits[i], 0.0f };
        }
        llama_token_data_array array = { candidates.data(), candidates.size(), -1, false };
        if (sampler->constrained()) {
            llama_sampler_apply(sampler->constraints.get(), &array);
            const bool any = std::any_of(array.data, array.data + array.size,
                                         [](const llama_token_data & c) { return c.logit > -INFINITY; });
            if (!any) {
                return SIPP_NO_CANDIDATE;
            }
        }
        llama_sampler_apply(sampler->choice.get(), &array);
        if (array.selected < 0 || static_cast<size_t>(array.selected) >= array.size) {
            return report(error, SIPP_FAILED, "the samplers chose no token");
        }
        *token = array.data[array.selected].id;
        llama_sampler_accept(sampler->constraints.get(), *token);
        llama_sampler_accept(sampler->choice.get(), *token);
        return SIPP_OK;
    });
}

int32_t sipp_physical_cores(void) {
    return common_cpu_get_num_math();
}

void sipp_start(void) {
    ggml_set_abort_callback(on_assertion);
    common_log_set_verbosity_thold(-1);
    llama_backend_init();
}
