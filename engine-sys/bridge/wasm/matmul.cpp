// Products of matrices on WebAssembly, in the place of ggml's own.
//
// ggml multiplies one row by one column at a time there, which reads and widens every number as often as it is used. Here
// many columns are computed in tiles: 8 rows, turned so that a vector holds a number of each of 4, times 4 columns. Few
// columns are computed row by row, with the columns widened once. The linker puts the two functions at the end before
// ggml's (`--wrap`), which asks them first about every operation.

#include "blocks.h"

#include "ggml-cpu-impl.h"
#include "ggml-cpu.h"
#include "ggml.h"
#include "traits.h"

#include <algorithm>
#include <cstddef>
#include <type_traits>

extern "C" {
bool __real_ggml_cpu_extra_compute_forward(ggml_compute_params * params, ggml_tensor * op);
bool __real_ggml_cpu_extra_work_size(int n_threads, const ggml_tensor * op, size_t * size);
}

namespace sipp::wasm {
namespace {

// Rows and columns of a tile.
constexpr int ROWS = 8;
constexpr int COLUMNS = 4;
// Tiles that a thread lays out at once, and how many values of their rows; of floats half as many.
constexpr int TILES = 8;
constexpr int DEPTH = 512;
constexpr int BLOCKS = DEPTH / BLOCK;
constexpr int FLOATS = DEPTH / 2;
// Columns that are passed at once, so that they stay in the cache while the tiles pass.
constexpr int64_t PASSED = 128;
// From so many columns on, laying tiles out is worth its time.
constexpr int64_t MANY = 6;
// Parts of the work for each thread.
constexpr int64_t PARTS = 8;

int64_t parts(int64_t whole, int64_t size) {
    return (whole + size - 1) / size;
}

// A matrix product: for each of `matrices` matrices of weights the columns that are multiplied by it. Where heads share
// keys, it is the columns of all of them.
struct Product {
    const ggml_tensor * weights;
    const ggml_tensor * input;
    const ggml_tensor * output;
    int64_t shared[2];
    int64_t matrices;
    int64_t columns;

    explicit Product(const ggml_tensor * op)
        : weights(op->src[0]), input(op->src[1]), output(op),
          shared{ input->ne[2] / weights->ne[2], input->ne[3] / weights->ne[3] },
          matrices(weights->ne[2] * weights->ne[3]), columns(input->ne[1] * shared[0] * shared[1]) {}

    int64_t rows() const { return weights->ne[1]; }
    int64_t depth() const { return weights->ne[0]; }
    int64_t blocks() const { return depth() / BLOCK; }

    const char * row(int64_t matrix, int64_t row) const {
        const int64_t i2 = matrix % weights->ne[2], i3 = matrix / weights->ne[2];
        return static_cast<const char *>(weights->data) + row * weights->nb[1] + i2 * weights->nb[2] + i3 * weights->nb[3];
    }

    // Where a column stands: its indices in the input and in the output.
    struct Place {
        int64_t i1, i2, i3;
    };

    Place place(int64_t matrix, int64_t column) const {
        const int64_t head = column / input->ne[1];
        return { column % input->ne[1], matrix % weights->ne[2] * shared[0] + head % shared[0],
                 matrix / weights->ne[2] * shared[1] + head / shared[0] };
    }

    const float * column(Place place) const {
        return reinterpret_cast<const float *>(static_cast<const char *>(input->data) + place.i1 * input->nb[1] +
                                               place.i2 * input->nb[2] + place.i3 * input->nb[3]);
    }

    float * result(Place place) const {
        return reinterpret_cast<float *>(static_cast<char *>(output->data) + place.i1 * output->nb[1] +
                                         place.i2 * output->nb[2] + place.i3 * output->nb[3]);
    }

    int64_t number(Place place) const { return (place.i3 * input->ne[2] + place.i2) * input->ne[1] + place.i1; }
};

// A column as whole numbers of 8 bits, widened; and of each block its scale, and the sum of its values.
struct Column {
    const int16_t * numbers;
    const float * scales;
    const float * sums;
};

// The columns of a product as whole numbers, in ggml's work buffer.
struct Columns {
    int16_t * numbers;
    float * scales;
    float * sums;
    int64_t depth;

    static size_t size(const Product & product) {
        const size_t columns = static_cast<size_t>(ggml_nrows(product.input));
        return columns * (product.depth() * sizeof(int16_t) + 2 * product.blocks() * sizeof(float));
    }

    Columns(const Product & product, char * memory) : depth(product.depth()) {
        const int64_t columns = ggml_nrows(product.input);
        numbers = reinterpret_cast<int16_t *>(memory);
        scales = reinterpret_cast<float *>(numbers + columns * depth);
        sums = scales + columns * (depth / BLOCK);
    }

    Column at(int64_t column, int64_t block) const {
        const int64_t own = column * (depth / BLOCK) + block;
        return { numbers + column * depth + block * BLOCK, scales + own, sums + own };
    }

    void write(int64_t column, const float * values) {
        for (int64_t block = 0; block < depth / BLOCK; block++, values += BLOCK) {
            v128_t read[8], largest = wasm_f32x4_splat(0);
            for (int i = 0; i < 8; i++) {
                read[i] = wasm_v128_load(values + 4 * i);
                largest = wasm_f32x4_pmax(largest, wasm_f32x4_abs(read[i]));
            }
            const float most = std::max({ wasm_f32x4_extract_lane(largest, 0), wasm_f32x4_extract_lane(largest, 1),
                                          wasm_f32x4_extract_lane(largest, 2), wasm_f32x4_extract_lane(largest, 3) });
            const v128_t inverse = wasm_f32x4_splat(most == 0 ? 0 : 127 / most);
            int16_t * written = numbers + column * depth + block * BLOCK;
            v128_t sum = wasm_i32x4_splat(0);
            for (int i = 0; i < 4; i++) {
                const auto whole = [&](v128_t value) {
                    return wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(wasm_f32x4_mul(value, inverse)));
                };
                const v128_t first = whole(read[2 * i]), second = whole(read[2 * i + 1]);
                sum = wasm_i32x4_add(sum, wasm_i32x4_add(first, second));
                wasm_v128_store(written + 8 * i, wasm_i16x8_narrow_i32x4(first, second));
            }
            const int total = wasm_i32x4_extract_lane(sum, 0) + wasm_i32x4_extract_lane(sum, 1) +
                              wasm_i32x4_extract_lane(sum, 2) + wasm_i32x4_extract_lane(sum, 3);
            const int64_t own = column * (depth / BLOCK) + block;
            scales[own] = most / 127;
            sums[own] = scales[own] * static_cast<float>(total);
        }
    }
};

// Turns 4 vectors of 4, of rows, into 4 that hold one of each row.
void turn(v128_t v[4]) {
    const v128_t a = wasm_i32x4_shuffle(v[0], v[1], 0, 4, 1, 5), b = wasm_i32x4_shuffle(v[2], v[3], 0, 4, 1, 5);
    const v128_t c = wasm_i32x4_shuffle(v[0], v[1], 2, 6, 3, 7), d = wasm_i32x4_shuffle(v[2], v[3], 2, 6, 3, 7);
    v[0] = wasm_i64x2_shuffle(a, b, 0, 2);
    v[1] = wasm_i64x2_shuffle(a, b, 1, 3);
    v[2] = wasm_i64x2_shuffle(c, d, 0, 2);
    v[3] = wasm_i64x2_shuffle(c, d, 1, 3);
}

// Where the results of a tile go: to `rows` rows of each column, added to what is there but for the first part of the depth.
struct Results {
    float * columns[COLUMNS];
    int rows;
    bool adds;

    void begin(int column, v128_t sums[2]) const {
        sums[0] = sums[1] = wasm_f32x4_splat(0);
        if (adds && rows == ROWS) {
            sums[0] = wasm_v128_load(columns[column]);
            sums[1] = wasm_v128_load(columns[column] + 4);
        } else if (adds) {
            float there[ROWS] = {};
            std::copy_n(columns[column], rows, there);
            sums[0] = wasm_v128_load(there);
            sums[1] = wasm_v128_load(there + 4);
        }
    }

    void end(int column, const v128_t sums[2]) const {
        if (rows == ROWS) {
            wasm_v128_store(columns[column], sums[0]);
            wasm_v128_store(columns[column] + 4, sums[1]);
        } else {
            float written[ROWS];
            wasm_v128_store(written, sums[0]);
            wasm_v128_store(written + 4, sums[1]);
            std::copy_n(written, rows, columns[column]);
        }
    }
};

// Weights of one type of whole numbers.
template <typename T> struct Whole {
    using Input = Column;

    static constexpr bool OFFSET = OFFSETS<T>;
    static constexpr bool WHOLE = true;
    static constexpr bool DOTS = true;

    // 8 rows, as pairs of numbers of each of 4 rows; their scales and offsets.
    struct Tile {
        alignas(16) int16_t numbers[BLOCKS][BLOCK / 2][2][8];
        alignas(16) float scales[BLOCKS][ROWS];
        alignas(16) float offsets[BLOCKS][ROWS];
    };

    static constexpr int64_t DEEP = DEPTH;

    static void lay(Tile & tile, const char * const rows[ROWS], int count, int64_t from, int64_t to, ggml_type) {
        Row<T> readers[ROWS];
        for (int row = 0; row < count; row++) {
            readers[row].blocks = reinterpret_cast<const T *>(rows[row]);
        }
        for (int64_t i = 0; i < (to - from) / BLOCK; i++) {
            Block read[ROWS];
            for (int row = 0; row < ROWS; row++) {
                read[row] = row < count ? readers[row].at(from / BLOCK + i) : Block{};
                tile.scales[i][row] = read[row].scale;
                if (OFFSET) {
                    tile.offsets[i][row] = read[row].offset;
                }
            }
            for (int group = 0; group < 2; group++) {
                for (int part = 0; part < 4; part++) {
                    v128_t pairs[4];
                    for (int row = 0; row < 4; row++) {
                        pairs[row] = read[4 * group + row].numbers[part];
                    }
                    turn(pairs);
                    for (int pair = 0; pair < 4; pair++) {
                        wasm_v128_store(tile.numbers[i][4 * part + pair][group], pairs[pair]);
                    }
                }
            }
        }
    }

    template <int N> static void multiply(const Tile & tile, const Column * columns, int64_t depth, const Results & results) {
        v128_t sums[N][2];
        for (int n = 0; n < N; n++) {
            results.begin(n, sums[n]);
        }
        for (int64_t i = 0; i < depth / BLOCK; i++) {
            v128_t dots[N][2];
            for (int n = 0; n < N; n++) {
                dots[n][0] = dots[n][1] = wasm_i32x4_splat(0);
            }
            for (int pair = 0; pair < BLOCK / 2; pair++) {
                const v128_t low = wasm_v128_load(tile.numbers[i][pair][0]), high = wasm_v128_load(tile.numbers[i][pair][1]);
                for (int n = 0; n < N; n++) {
                    const v128_t both = wasm_v128_load32_splat(columns[n].numbers + i * BLOCK + 2 * pair);
                    dots[n][0] = wasm_i32x4_add(dots[n][0], wasm_i32x4_dot_i16x8(low, both));
                    dots[n][1] = wasm_i32x4_add(dots[n][1], wasm_i32x4_dot_i16x8(high, both));
                }
            }
            for (int group = 0; group < 2; group++) {
                const v128_t scales = wasm_v128_load(tile.scales[i] + 4 * group);
                const v128_t offsets = OFFSET ? wasm_v128_load(tile.offsets[i] + 4 * group) : scales;
                for (int n = 0; n < N; n++) {
                    const v128_t scale = wasm_f32x4_mul(scales, wasm_v128_load32_splat(columns[n].scales + i));
                    const v128_t dot = wasm_f32x4_convert_i32x4(dots[n][group]);
                    sums[n][group] = wasm_f32x4_add(sums[n][group], wasm_f32x4_mul(dot, scale));
                    if (OFFSET) {
                        const v128_t sum = wasm_v128_load32_splat(columns[n].sums + i);
                        sums[n][group] = wasm_f32x4_sub(sums[n][group], wasm_f32x4_mul(offsets, sum));
                    }
                }
            }
        }
        for (int n = 0; n < N; n++) {
            results.end(n, sums[n]);
        }
    }

    // R rows times N columns.
    template <int R, int N>
    static void dot(const char * const rows[R], const Input * columns, int64_t depth, v128_t sums[R][N]) {
        Row<T> read[R];
        float offsets[R][N] = {};
        for (int r = 0; r < R; r++) {
            read[r].blocks = reinterpret_cast<const T *>(rows[r]);
            for (int n = 0; n < N; n++) {
                sums[r][n] = wasm_f32x4_splat(0);
            }
        }
        for (int64_t i = 0; i < depth / BLOCK; i++) {
            for (int r = 0; r < R; r++) {
                const Block block = read[r].at(i);
                for (int n = 0; n < N; n++) {
                    const int16_t * numbers = columns[n].numbers + i * BLOCK;
                    v128_t dots[4];
                    for (int part = 0; part < 4; part++) {
                        dots[part] = wasm_i32x4_dot_i16x8(block.numbers[part], wasm_v128_load(numbers + 8 * part));
                    }
                    const v128_t dot = wasm_i32x4_add(wasm_i32x4_add(dots[0], dots[1]), wasm_i32x4_add(dots[2], dots[3]));
                    const v128_t scale = wasm_f32x4_splat(block.scale * columns[n].scales[i]);
                    sums[r][n] = wasm_f32x4_add(sums[r][n], wasm_f32x4_mul(wasm_f32x4_convert_i32x4(dot), scale));
                    if (OFFSET) {
                        offsets[r][n] += block.offset * columns[n].sums[i];
                    }
                }
            }
        }
        for (int r = 0; OFFSET && r < R; r++) {
            for (int n = 0; n < N; n++) {
                sums[r][n] = wasm_f32x4_sub(sums[r][n], wasm_f32x4_make(offsets[r][n], 0, 0, 0));
            }
        }
    }
};

// 8 rows of floats, turned.
struct FloatTile {
    alignas(16) float values[FLOATS][ROWS];
};

// Weights that are computed as floats: of a type of floats, or of any type (`void`), which ggml makes floats of.
template <typename T> struct Floats {
    using Input = const float *;

    static constexpr bool WHOLE = false;
    static constexpr bool DOTS = !std::is_void_v<T>;

    using Tile = FloatTile;

    static constexpr int64_t DEEP = FLOATS;

    static void lay(Tile & tile, const char * const rows[ROWS], int count, int64_t from, int64_t to, ggml_type type) {
        if constexpr (std::is_void_v<T>) {
            float values[ROWS][FLOATS];
            const char * read[ROWS];
            for (int row = 0; row < count; row++) {
                const char * begin = rows[row] + from / ggml_blck_size(type) * ggml_type_size(type);
                ggml_get_type_traits(type)->to_float(begin, values[row], to - from);
                read[row] = reinterpret_cast<const char *>(values[row]);
            }
            Floats<float>::lay(tile, read, count, 0, to - from, type);
        } else {
            const auto at = [&](int row) { return reinterpret_cast<const T *>(rows[row]) + from; };
            const int64_t depth = to - from, whole = depth / 4 * 4;
            for (int group = 0; group < 2; group++) {
                for (int64_t i = 0; i < whole; i += 4) {
                    v128_t values[4];
                    for (int row = 0; row < 4; row++) {
                        values[row] = 4 * group + row < count ? four(at(4 * group + row) + i) : wasm_f32x4_splat(0);
                    }
                    turn(values);
                    for (int j = 0; j < 4; j++) {
                        wasm_v128_store(tile.values[i + j] + 4 * group, values[j]);
                    }
                }
            }
            for (int64_t i = whole; i < depth; i++) {
                for (int row = 0; row < ROWS; row++) {
                    tile.values[i][row] = row < count ? one(at(row) + i) : 0;
                }
            }
        }
    }

    template <int N> static void multiply(const Tile & tile, const Input * columns, int64_t depth, const Results & results) {
        v128_t sums[N][2];
        for (int n = 0; n < N; n++) {
            results.begin(n, sums[n]);
        }
        for (int64_t i = 0; i < depth; i++) {
            const v128_t low = wasm_v128_load(tile.values[i]), high = wasm_v128_load(tile.values[i] + 4);
            for (int n = 0; n < N; n++) {
                const v128_t value = wasm_v128_load32_splat(columns[n] + i);
                sums[n][0] = wasm_f32x4_add(sums[n][0], wasm_f32x4_mul(low, value));
                sums[n][1] = wasm_f32x4_add(sums[n][1], wasm_f32x4_mul(high, value));
            }
        }
        for (int n = 0; n < N; n++) {
            results.end(n, sums[n]);
        }
    }

    // R rows times N columns, as those of whole numbers.
    template <int R, int N>
    static void dot(const char * const rows[R], const Input * columns, int64_t depth, v128_t sums[R][N]) {
        // So many sums run beside each other that none waits for itself.
        constexpr int BESIDE = R * N == 1 ? 4 : R * N == 2 ? 2 : 1;
        const auto at = [&](int r) { return reinterpret_cast<const T *>(rows[r]); };
        v128_t own[R][N][BESIDE];
        for (auto & of_row : own) {
            for (auto & of_column : of_row) {
                std::fill_n(of_column, BESIDE, wasm_f32x4_splat(0));
            }
        }
        int64_t i = 0;
        for (; i + 4 * BESIDE <= depth; i += 4 * BESIDE) {
            for (int r = 0; r < R; r++) {
                for (int j = 0; j < BESIDE; j++) {
                    const v128_t values = four(at(r) + i + 4 * j);
                    for (int n = 0; n < N; n++) {
                        const v128_t product = wasm_f32x4_mul(values, wasm_v128_load(columns[n] + i + 4 * j));
                        own[r][n][j] = wasm_f32x4_add(own[r][n][j], product);
                    }
                }
            }
        }
        for (int r = 0; r < R; r++) {
            for (int n = 0; n < N; n++) {
                sums[r][n] = own[r][n][0];
                for (int j = 1; j < BESIDE; j++) {
                    sums[r][n] = wasm_f32x4_add(sums[r][n], own[r][n][j]);
                }
                for (int64_t last = i; last < depth; last++) {
                    const float product = one(at(r) + last) * columns[n][last];
                    sums[r][n] = wasm_f32x4_add(sums[r][n], wasm_f32x4_make(product, 0, 0, 0));
                }
            }
        }
    }
};

// A part of the work: some steps of one matrix.
struct Part {
    int64_t matrix, first, last;
};

// The work in parts, each taken by the thread that is free, of `unit` steps or several times so many, at most `most`. The
// same steps of all matrices follow each other, because keys of several heads lie side by side.
template <typename F>
void share(const Product & product, ggml_compute_params * params, int64_t steps, int64_t unit, int64_t most, F && compute) {
    const int64_t wanted = parts(product.matrices * steps, params->nth * PARTS);
    const int64_t size = std::clamp(parts(wanted, unit) * unit, unit, most);
    const int64_t each = parts(steps, size), count = each * product.matrices;
    for (int64_t i = params->ith; i < count; i = ggml_threadpool_chunk_add(params->threadpool, 1)) {
        const int64_t first = i / product.matrices * size;
        compute(Part{ i % product.matrices, first, std::min(first + size, steps) });
    }
}

// Calls `compute` with a number from 1 to `COLUMNS` that is known when it is compiled.
template <typename F> void counted(int64_t count, F && compute) {
    static_assert(COLUMNS == 4);
    switch (count) {
        case 1: compute(std::integral_constant<int, 1>()); break;
        case 2: compute(std::integral_constant<int, 2>()); break;
        case 3: compute(std::integral_constant<int, 3>()); break;
        default: compute(std::integral_constant<int, 4>());
    }
}

// Where columns stand: what is read of them, and where their results go.
template <typename K> struct Stands {
    typename K::Input inputs[PASSED];
    float * outputs[PASSED];
};

template <typename K, typename F>
void tiles(const Product & product, ggml_compute_params * params, typename K::Tile * tiles, F && input) {
    share(product, params, product.rows(), ROWS, TILES * ROWS, [&](const Part & part) {
        const int64_t count = parts(part.last - part.first, ROWS);
        for (int64_t from = 0; from < product.depth(); from += K::DEEP) {
            const int64_t to = std::min(from + K::DEEP, product.depth());
            for (int64_t tile = 0; tile < count; tile++) {
                const int64_t first = part.first + tile * ROWS;
                const int rows = static_cast<int>(std::min<int64_t>(ROWS, part.last - first));
                const char * begins[ROWS];
                for (int row = 0; row < rows; row++) {
                    begins[row] = product.row(part.matrix, first + row);
                }
                K::lay(tiles[tile], begins, rows, from, to, product.weights->type);
            }
            for (int64_t passed = 0; passed < product.columns; passed += PASSED) {
                const int64_t columns = std::min(PASSED, product.columns - passed);
                Stands<K> stands;
                for (int64_t i = 0; i < columns; i++) {
                    const auto place = product.place(part.matrix, passed + i);
                    stands.inputs[i] = input(place, from);
                    stands.outputs[i] = product.result(place) + part.first;
                }
                for (int64_t tile = 0; tile < count; tile++) {
                    Results results;
                    results.rows = static_cast<int>(std::min<int64_t>(ROWS, part.last - part.first - tile * ROWS));
                    results.adds = from > 0;
                    for (int64_t i = 0; i < columns; i += COLUMNS) {
                        const int64_t left = std::min<int64_t>(COLUMNS, columns - i);
                        for (int64_t n = 0; n < left; n++) {
                            results.columns[n] = stands.outputs[i + n] + tile * ROWS;
                        }
                        counted(left, [&](auto n) {
                            K::template multiply<n>(tiles[tile], stands.inputs + i, to - from, results);
                        });
                    }
                }
            }
        }
    });
}

// 4 rows times N columns.
template <typename K, int N>
void dots(const char * const rows[4], const typename K::Input * columns, int64_t depth, float results[N][4]) {
    // Two rows at once share what is read of a column; for more columns there are too few registers.
    constexpr int R = N == 1 ? 2 : 1;
    v128_t sums[N][4];
    for (int row = 0; row < 4; row += R) {
        v128_t own[R][N];
        K::template dot<R, N>(rows + row, columns, depth, own);
        for (int r = 0; r < R; r++) {
            for (int n = 0; n < N; n++) {
                sums[n][row + r] = own[r][n];
            }
        }
    }
    for (int n = 0; n < N; n++) {
        turn(sums[n]);
        const v128_t sum = wasm_f32x4_add(wasm_f32x4_add(sums[n][0], sums[n][1]), wasm_f32x4_add(sums[n][2], sums[n][3]));
        wasm_v128_store(results[n], sum);
    }
}

// Row by row. A step takes one row of each quarter of a matrix: the processor fetches memory ahead for every place where it
// is read in order, and one such place does not keep it busy. Rows that are left make the last step, the last of them as
// often as there are too few.
template <typename K, typename F> void dots(const Product & product, ggml_compute_params * params, F && input) {
    const int64_t quarter = product.rows() / 4, left = product.rows() % 4, steps = quarter + (left > 0 ? 1 : 0);
    share(product, params, steps, 1, steps, [&](const Part & part) {
        for (int64_t i = 0; i < product.columns; i += COLUMNS) {
            const int64_t columns = std::min<int64_t>(COLUMNS, product.columns - i);
            typename K::Input inputs[COLUMNS];
            float * outputs[COLUMNS];
            for (int64_t n = 0; n < columns; n++) {
                const auto place = product.place(part.matrix, i + n);
                inputs[n] = input(place, 0);
                outputs[n] = product.result(place);
            }
            for (int64_t step = part.first; step < part.last; step++) {
                int64_t rows[4];
                const char * begins[4];
                for (int j = 0; j < 4; j++) {
                    rows[j] = step < quarter ? step + j * quarter : 4 * quarter + std::min<int64_t>(j, left - 1);
                    begins[j] = product.row(part.matrix, rows[j]);
                }
                counted(columns, [&](auto n) {
                    float results[n][4];
                    dots<K, n>(begins, inputs, product.depth(), results);
                    for (int column = 0; column < n; column++) {
                        for (int j = 0; j < 4; j++) {
                            outputs[column][rows[j]] = results[column][j];
                        }
                    }
                });
            }
        }
    });
}

// The memory of a product in ggml's work buffer: the columns, if they are made whole numbers, and the threads' tiles.
constexpr size_t LINE = 64;

size_t padded(size_t size) {
    return (size + LINE - 1) / LINE * LINE;
}

template <typename K> size_t tiles_size(const Product & product, int threads) {
    return product.columns < MANY ? 0 : padded(TILES * sizeof(typename K::Tile)) * threads;
}

template <typename K, typename F>
void multiply(const Product & product, ggml_compute_params * params, char * memory, F && input) {
    if (product.columns >= MANY) {
        char * own = memory + padded(TILES * sizeof(typename K::Tile)) * params->ith;
        tiles<K>(product, params, reinterpret_cast<typename K::Tile *>(own), input);
    } else if constexpr (K::DOTS) {
        dots<K>(product, params, input);
    }
}

// What computes a product: `size` bytes of memory, `compute` by every thread.
template <typename K> struct Computed {
    static size_t size(const Product & product, int threads) {
        return padded(K::WHOLE ? Columns::size(product) : 0) + tiles_size<K>(product, threads) + LINE;
    }

    static void compute(const Product & product, ggml_compute_params * params) {
        const auto given = reinterpret_cast<uintptr_t>(params->wdata);
        char * memory = static_cast<char *>(params->wdata) + (padded(given) - given);
        if (params->ith == 0) {
            ggml_threadpool_chunk_set(params->threadpool, params->nth);
        }
        if constexpr (K::WHOLE) {
            Columns columns(product, memory);
            const ggml_tensor * input = product.input;
            for (int64_t i = params->ith; i < ggml_nrows(input); i += params->nth) {
                columns.write(i, product.column({ i % input->ne[1], i / input->ne[1] % input->ne[2],
                                                  i / input->ne[1] / input->ne[2] }));
            }
            ggml_barrier(params->threadpool);
            multiply<K>(product, params, memory + padded(Columns::size(product)), [&](Product::Place place, int64_t from) {
                return columns.at(product.number(place), from / BLOCK);
            });
        } else {
            ggml_barrier(params->threadpool);
            multiply<K>(product, params, memory,
                        [&](Product::Place place, int64_t from) { return product.column(place) + from; });
        }
    }
};

// How a product is computed here; none where ggml does better.
struct Kernel {
    size_t (*size)(const Product &, int);
    void (*compute)(const Product &, ggml_compute_params *);
};

template <typename K> Kernel kernel() {
    return { Computed<K>::size, Computed<K>::compute };
}

bool find(const ggml_tensor * op, Kernel & found) {
    if (op->op != GGML_OP_MUL_MAT) {
        return false;
    }
    const ggml_tensor * weights = op->src[0], * input = op->src[1];
    if (input->type != GGML_TYPE_F32 || input->nb[0] != sizeof(float) || op->type != GGML_TYPE_F32 ||
        op->nb[0] != sizeof(float) || weights->nb[0] != ggml_type_size(weights->type)) {
        return false;
    }
    switch (weights->type) {
        case GGML_TYPE_F32: found = kernel<Floats<float>>(); return true;
        case GGML_TYPE_F16: found = kernel<Floats<ggml_fp16_t>>(); return true;
        case GGML_TYPE_BF16: found = kernel<Floats<ggml_bf16_t>>(); return true;
        case GGML_TYPE_Q4_0: found = kernel<Whole<block_q4_0>>(); return true;
        case GGML_TYPE_Q5_0: found = kernel<Whole<block_q5_0>>(); return true;
        case GGML_TYPE_Q8_0: found = kernel<Whole<block_q8_0>>(); return true;
        case GGML_TYPE_IQ4_NL: found = kernel<Whole<block_iq4_nl>>(); return true;
        case GGML_TYPE_Q4_K: found = kernel<Whole<block_q4_K>>(); return true;
        case GGML_TYPE_Q5_K: found = kernel<Whole<block_q5_K>>(); return true;
        case GGML_TYPE_Q6_K: found = kernel<Whole<block_q6_K>>(); return true;
        default:
            found = kernel<Floats<void>>();
            return ggml_get_type_traits(weights->type)->to_float != nullptr && Product(op).columns >= MANY;
    }
}

} // namespace
} // namespace sipp::wasm

extern "C" {

bool __wrap_ggml_cpu_extra_compute_forward(ggml_compute_params * params, ggml_tensor * op) {
    sipp::wasm::Kernel kernel;
    if (params->use_ref || !sipp::wasm::find(op, kernel)) {
        return __real_ggml_cpu_extra_compute_forward(params, op);
    }
    kernel.compute(sipp::wasm::Product(op), params);
    return true;
}

bool __wrap_ggml_cpu_extra_work_size(int n_threads, const ggml_tensor * op, size_t * size) {
    sipp::wasm::Kernel kernel;
    if (!sipp::wasm::find(op, kernel)) {
        return __real_ggml_cpu_extra_work_size(n_threads, op, size);
    }
    *size = kernel.size(sipp::wasm::Product(op), n_threads);
    return true;
}
}
