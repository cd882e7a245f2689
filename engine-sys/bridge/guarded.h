// How a bridge function turns exceptions and assertions into a status.

#pragma once

#include "guard.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <string>

namespace sipp {

inline sipp_status report(sipp_error error, sipp_status status, const std::string & text) {
    if (error.text && error.size > 0) {
        const size_t size = std::min(text.size(), error.size - 1);
        std::memcpy(error.text, text.data(), size);
        error.text[size] = '\0';
    }
    return status;
}

// A text for Rust, to be freed with sipp_text_free.
char * copy_text(const std::string & text);

// While one lives, a failed assertion of llama.cpp on this thread is an exception, and not the end of the process.
//
// llama.cpp asserts what a file must hold to be a sane model, so a bad file would take the host down. The exception
// passes ggml_abort, which is C, but is compiled with unwind tables on every platform that llama.cpp builds for. Only
// for calls that compute nothing: worker threads of a computation would wait for ever for the one that left.
class assertions_throw {
public:
    assertions_throw();
    ~assertions_throw();
    assertions_throw(const assertions_throw &) = delete;
    assertions_throw & operator=(const assertions_throw &) = delete;
};

// Runs `body`, which returns a status; an exception becomes `thrown`.
template <typename Body>
sipp_status guarded(sipp_error error, sipp_status thrown, Body && body) noexcept {
    try {
        const assertions_throw here;
        try {
            return body();
        } catch (const std::exception & e) {
            return report(error, thrown, e.what());
        }
    } catch (...) {
        return thrown;
    }
}

// The same for a computation, whose assertions end the process.
template <typename Body>
sipp_status guarded_computation(sipp_error error, Body && body) noexcept {
    try {
        try {
            return body();
        } catch (const std::exception & e) {
            return report(error, SIPP_FAILED, e.what());
        }
    } catch (...) {
        return SIPP_FAILED;
    }
}

} // namespace sipp
