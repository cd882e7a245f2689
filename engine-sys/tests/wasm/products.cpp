// Compares the products of matrices of `bridge/wasm` with plain loops over the same numbers, and says a line of JSON for each
// kind of weights: how many products, and the largest error. Run by `host-browser/tests/products.test.ts`.

#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

// What is multiplied: `heads` matrices of weights, each by the columns of as many of the input as share it.
struct Shape {
    int64_t depth, rows, columns, heads, shared;
    // Heads lie within columns, as those of a query do.
    bool woven;
};

constexpr int BLOCK = 32;

float random_number() {
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return static_cast<float>(state >> 8) / (1 << 23) - 1;
}

std::vector<float> random_numbers(int64_t count) {
    std::vector<float> numbers(count);
    std::generate(numbers.begin(), numbers.end(), random_number);
    return numbers;
}

// As whole numbers of 8 bits, 32 of which share a scale, and back.
void round_to_eight_bits(float * values) {
    float most = 0;
    for (int i = 0; i < BLOCK; i++) {
        most = std::max(most, std::abs(values[i]));
    }
    const float inverse = 127 / most;
    for (int i = 0; i < BLOCK; i++) {
        values[i] = std::nearbyint(values[i] * inverse) * (most / 127);
    }
}

// The largest difference from plain loops, as a part of the product's size where all terms have one sign.
double error_of(ggml_backend_t backend, ggml_type type, const Shape & shape, bool whole) {
    ggml_context * context = ggml_init({ 1 << 20, nullptr, true });
    const auto [depth, rows, columns, heads, shared, woven] = shape;
    ggml_tensor * weights = ggml_new_tensor_3d(context, type, depth, rows, heads);
    const int64_t all = heads * shared;
    ggml_tensor * input = woven ? ggml_new_tensor_3d(context, GGML_TYPE_F32, depth, all, columns)
                                : ggml_new_tensor_3d(context, GGML_TYPE_F32, depth, columns, all);
    ggml_tensor * product = ggml_mul_mat(context, weights, woven ? ggml_permute(context, input, 0, 2, 1, 3) : input);
    ggml_cgraph * graph = ggml_new_graph(context);
    ggml_build_forward_expand(graph, product);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(context, backend);

    std::vector<float> left = random_numbers(depth * rows * heads), right = random_numbers(depth * columns * all);
    if (type == GGML_TYPE_F32) {
        ggml_backend_tensor_set(weights, left.data(), 0, ggml_nbytes(weights));
    } else {
        std::vector<char> written(ggml_nbytes(weights));
        ggml_quantize_chunk(type, left.data(), written.data(), 0, rows * heads, depth, nullptr);
        ggml_backend_tensor_set(weights, written.data(), 0, written.size());
        ggml_get_type_traits(type)->to_float(written.data(), left.data(), static_cast<int64_t>(left.size()));
    }
    ggml_backend_tensor_set(input, right.data(), 0, ggml_nbytes(input));
    ggml_backend_graph_compute(backend, graph);
    std::vector<float> got(ggml_nelements(product));
    ggml_backend_tensor_get(product, got.data(), 0, ggml_nbytes(product));

    for (size_t i = 0; whole && i < right.size(); i += BLOCK) {
        round_to_eight_bits(right.data() + i);
    }
    double worst = 0;
    for (int64_t head = 0; head < all; head++) {
        for (int64_t column = 0; column < columns; column++) {
            const float * other = right.data() + (woven ? column * all + head : head * columns + column) * depth;
            for (int64_t row = 0; row < rows; row++) {
                const float * one = left.data() + (head / shared * rows + row) * depth;
                double expected = 0, size = 0;
                for (int64_t i = 0; i < depth; i++) {
                    const double term = static_cast<double>(one[i]) * other[i];
                    expected += term;
                    size += std::abs(term);
                }
                const double difference = std::abs(got[(head * columns + column) * rows + row] - expected) / size;
                worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
            }
        }
    }
    ggml_backend_buffer_free(buffer);
    ggml_free(context);
    return worst;
}

struct Kind {
    ggml_type type;
    // Columns are rounded to whole numbers before they are multiplied.
    bool whole;
};

constexpr Kind KINDS[] = {
    { GGML_TYPE_F32, false },   { GGML_TYPE_F16, false }, { GGML_TYPE_BF16, false }, { GGML_TYPE_Q4_0, true },
    { GGML_TYPE_Q5_0, true },   { GGML_TYPE_Q8_0, true }, { GGML_TYPE_IQ4_NL, true }, { GGML_TYPE_Q4_K, true },
    { GGML_TYPE_Q5_K, true },   { GGML_TYPE_Q6_K, true },
};

// Types without a kernel: they are floats where there are many columns.
constexpr ggml_type OTHERS[] = { GGML_TYPE_Q2_K, GGML_TYPE_Q3_K, GGML_TYPE_Q4_1, GGML_TYPE_Q5_1 };

void compare(ggml_backend_t backend, int threads, Kind kind, const std::vector<Shape> & shapes) {
    double worst = 0;
    for (const Shape & shape : shapes) {
        worst = std::max(worst, error_of(backend, kind.type, shape, kind.whole));
    }
    std::printf("{\"type\":\"%s\",\"threads\":%d,\"products\":%zu,\"error\":%g}\n", ggml_type_name(kind.type), threads,
                shapes.size(), std::isinf(worst) ? 1e9 : worst);
}

} // namespace

int main() {
    std::vector<Shape> shapes, uneven, many;
    for (const int64_t columns : { 1, 2, 3, 4, 5, 6, 9, 130 }) {
        for (const int64_t rows : { 1, 7, 8, 67 }) {
            shapes.push_back({ 768, rows, columns, 1, 1, false });
            if (columns > 5) {
                many.push_back({ 768, rows, columns, 1, 1, false });
            }
        }
    }
    shapes.push_back({ 256, 33, 5, 2, 2, true });
    shapes.push_back({ 256, 33, 5, 3, 1, false });
    for (const int64_t columns : { 1, 4, 33 }) {
        for (const int64_t depth : { 1, 3, 64, 301 }) {
            for (const int64_t rows : { 1, 5, 77 }) {
                uneven.push_back({ depth, rows, columns, 2, 3, true });
                uneven.push_back({ depth, rows, columns, 2, 3, false });
            }
        }
    }
    ggml_backend_t backend = ggml_backend_cpu_init();
    for (const int threads : { 1, 3 }) {
#ifndef __EMSCRIPTEN_PTHREADS__
        if (threads > 1) {
            continue;
        }
#endif
        ggml_backend_cpu_set_n_threads(backend, threads);
        for (const Kind & kind : KINDS) {
            compare(backend, threads, kind, shapes);
            if (!kind.whole) {
                compare(backend, threads, kind, uneven);
            }
        }
        for (const ggml_type type : OTHERS) {
            compare(backend, threads, { type, false }, many);
        }
    }
    ggml_backend_free(backend);
}
